-- migrate:up

-- Whose version of an invoice in conflict a person chose, and the fingerprint of the picture that was seen. It takes
-- effect once, on that very picture: any other state of either side makes it void.
CREATE TABLE resolutions (
    account_id  text NOT NULL,
    invoice_id  text NOT NULL,
    keep        text NOT NULL CHECK (keep IN ('pipeline', 'xero')),
    fingerprint text NOT NULL,
    actor       text NOT NULL,
    chosen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, invoice_id),
    FOREIGN KEY (account_id, invoice_id) REFERENCES invoices (account_id, invoice_id)
);

-- is_paid: whether something was paid or credited when last seen; xero_updated_at: Xero's own time of that state.
ALTER TABLE invoice_links
    ADD COLUMN is_paid boolean NOT NULL DEFAULT false,
    ADD COLUMN xero_updated_at timestamptz;

-- migrate:down

ALTER TABLE invoice_links DROP COLUMN xero_updated_at, DROP COLUMN is_paid;
DROP TABLE resolutions;
