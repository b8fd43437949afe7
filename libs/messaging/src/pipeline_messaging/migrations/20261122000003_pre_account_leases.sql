-- migrate:up
-- Which account has work and since when, and who is at it.
--   due_at      when to process next; null: nothing to do until marked
--   wakeups     counts mark_due: a change while an account is processed means it must be looked at again
--   epoch       fencing token, raised by every claim: a write under an older epoch is refused
--   lease_until the holder's time limit by the database's clock; null: free
--   failures    consecutive failed runs, for the backoff
CREATE TABLE account_leases (
    account_id   text PRIMARY KEY,
    due_at       timestamptz,
    wakeups      bigint  NOT NULL DEFAULT 0,
    epoch        bigint  NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    failures     integer NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- Idle accounts are not in this index: a look for work costs the same with 10 accounts as with 10,000.
CREATE INDEX account_leases_due ON account_leases (due_at) WHERE due_at IS NOT NULL;

-- migrate:down
DROP TABLE account_leases;
