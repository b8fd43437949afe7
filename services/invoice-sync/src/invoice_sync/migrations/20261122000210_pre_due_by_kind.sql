-- migrate:up

-- What is due is chosen by kind (domain/turns.py): each is found without reading past the others' backlog.
CREATE INDEX invoices_due_new ON invoices (account_id, due_at, ordinal)
    WHERE due_at IS NOT NULL AND synced_version IS NULL;
CREATE INDEX invoices_due_changed ON invoices (account_id, due_at, ordinal)
    WHERE due_at IS NOT NULL AND synced_version IS NOT NULL AND state NOT IN ('synced', 'out_of_sync');
CREATE INDEX invoices_due_look ON invoices (account_id, due_at, ordinal)
    WHERE due_at IS NOT NULL AND synced_version IS NOT NULL AND state IN ('synced', 'out_of_sync');

-- Which kind had the account's last call, so that the next one goes to another, whichever replica makes it.
ALTER TABLE accounts ADD COLUMN last_kind text;

-- migrate:down

ALTER TABLE accounts DROP COLUMN last_kind;
DROP INDEX invoices_due_look;
DROP INDEX invoices_due_changed;
DROP INDEX invoices_due_new;
