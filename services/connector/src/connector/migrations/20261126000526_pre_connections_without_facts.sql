-- migrate:up transaction:false

-- Connections of which an organisation's short code or currency is missing are looked for every few seconds; without an
-- index that read every connection there is. Built beside the running service; whoever dies here leaves an index that is
-- good, or built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS connections_without_facts ON connections (account_id)
    WHERE status = 'CONNECTED' AND fenced_at IS NULL AND (short_code IS NULL OR base_currency IS NULL);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS connections_without_facts;
