-- migrate:up

-- Until `not_before` Xero is not asked for the account: it said to wait, or could not be reached.
ALTER TABLE connections ADD COLUMN not_before timestamptz;

-- migrate:down
ALTER TABLE connections DROP COLUMN not_before;
