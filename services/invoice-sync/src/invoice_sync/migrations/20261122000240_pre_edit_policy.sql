-- migrate:up

-- What becomes of an invoice that was changed both in Pipeline and in Xero, in different places.
ALTER TABLE account_settings
    ADD COLUMN edit_policy text NOT NULL DEFAULT 'block' CHECK (edit_policy IN ('block', 'merge'));

-- migrate:down

ALTER TABLE account_settings DROP COLUMN edit_policy;
