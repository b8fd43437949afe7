-- migrate:up

-- How many invoices of an account are in each state, asked while a person waits: answered from the index alone.
CREATE INDEX invoices_by_state ON invoices (account_id, state);

-- migrate:down

DROP INDEX invoices_by_state;
