-- migrate:up

-- One row per genuine webhook body, whatever it says: what Xero was answered 200 for is here.
CREATE TABLE deliveries (
    body_hash bytea PRIMARY KEY,
    body bytea NOT NULL,
    key_position smallint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    outcome text,
    events integer,
    not_understood integer,
    first_sequence bigint,
    last_sequence bigint
);

CREATE INDEX deliveries_unprocessed ON deliveries (received_at) WHERE processed_at IS NULL;

-- Who sent a delivery through the machinery again, and why. Rows are only ever added.
CREATE TABLE delivery_replays (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body_hash bytea NOT NULL REFERENCES deliveries (body_hash),
    requested_by text NOT NULL,
    account_id text,
    requested_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX delivery_replays_delivery ON delivery_replays (body_hash);

-- migrate:down
DROP TABLE delivery_replays;
DROP TABLE deliveries;
