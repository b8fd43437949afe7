-- migrate:up

-- The lock dates of the connected organisation as last read there (read_at null: never yet), and the latest day of a
-- document that Xero refused for one of them since the account was connected.
CREATE TABLE lock_dates (
    account_id  text PRIMARY KEY,
    tenant_id   text NOT NULL,
    period_lock date,
    year_lock   date,
    read_at     timestamptz,
    tried_at    timestamptz,
    refused_on  date
);

-- migrate:down

DROP TABLE lock_dates;
