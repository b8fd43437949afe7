-- migrate:up

-- The rates of an organisation's taxes in percent, as last read: the tax of an invoice is then known before it is sent.
ALTER TABLE code_lists ADD COLUMN rates jsonb;

-- migrate:down

ALTER TABLE code_lists DROP COLUMN rates;
