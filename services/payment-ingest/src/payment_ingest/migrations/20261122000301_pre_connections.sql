-- migrate:up

-- What the connector last said about each account. `tenant_id` stays known after a disconnect.
CREATE TABLE connections (
    account_id text PRIMARY KEY,
    tenant_id text,
    status text NOT NULL,
    since timestamptz NOT NULL,
    sequence bigint NOT NULL,
    heard_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX connections_tenant ON connections (tenant_id);

-- How far the look-around of each tenant has come. `watermark` is Xero's clock when the last complete
-- sweep began; `began_at` and `next_page` belong to the sweep in progress. `requests` counts who asked for
-- one, so that a request made while a sweep runs leads to another.
CREATE TABLE sweeps (
    tenant_id text PRIMARY KEY,
    watermark timestamptz,
    next_at timestamptz NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    began_at timestamptz,
    next_page integer NOT NULL DEFAULT 1,
    completed_at timestamptz
);

-- migrate:down
DROP TABLE sweeps;
DROP TABLE connections;
