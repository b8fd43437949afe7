-- migrate:up
-- One row per event whose effect is in this database, committed together with that effect.
CREATE TABLE inbox (
    source       text        NOT NULL,
    event_id     text        NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, event_id)
);

-- Rows arrive in time order, so a block-range index is enough to forget old ones, and costs writers nothing.
CREATE INDEX inbox_accepted_at ON inbox USING brin (accepted_at);

-- migrate:down
DROP TABLE inbox;
