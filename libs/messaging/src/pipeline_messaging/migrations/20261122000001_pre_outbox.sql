-- migrate:up
-- Records to publish, written in the transaction of the change they tell about and deleted once the broker has them.
-- `id` is given out before commit, so two transactions may commit in the other order: nothing may read "id > last".
-- `retry_at` is set only on a row the broker refused for good (too large, topic missing); see relay.py.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text        NOT NULL,
    key         bytea,
    value       bytea,
    headers     bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    retry_at    timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

CREATE INDEX outbox_refused ON outbox (retry_at) WHERE retry_at IS NOT NULL;

-- migrate:down
DROP TABLE outbox;
