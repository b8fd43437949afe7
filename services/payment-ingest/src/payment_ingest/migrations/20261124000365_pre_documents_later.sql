-- migrate:up

-- A document that Xero could not show is asked for again later, and by and by left to a sweep.
ALTER TABLE document_doorbells
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN next_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX document_doorbells_next ON document_doorbells (tenant_id, next_at);

-- migrate:down
DROP INDEX document_doorbells_next;
ALTER TABLE document_doorbells DROP COLUMN next_at, DROP COLUMN attempts;
