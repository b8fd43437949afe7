-- migrate:up

-- How far into the future an account has spent its previews: each takes its time from the allowance, none from the queue.
CREATE TABLE preview_allowances (
    account_id  text PRIMARY KEY,
    spent_until timestamptz NOT NULL
);

-- migrate:down

DROP TABLE preview_allowances;
