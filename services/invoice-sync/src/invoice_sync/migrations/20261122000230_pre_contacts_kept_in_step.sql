-- migrate:up

-- What Pipeline wanted of a linked contact when both sides last agreed (agreed, in Pipeline's words) and what Xero
-- held then (base): a contact is only changed where Pipeline changed and Xero did not.
-- problem: why Xero takes no invoices for the contact, as last read; refused: Xero refused an invoice because of it
-- since; check_at: when the contact is to be read in Xero; healed_at: when it was last found usable again.
ALTER TABLE contact_mappings
    ADD COLUMN agreed text,
    ADD COLUMN base text,
    ADD COLUMN differences text,
    ADD COLUMN problem text,
    ADD COLUMN refused boolean NOT NULL DEFAULT false,
    ADD COLUMN check_at timestamptz,
    ADD COLUMN healed_at timestamptz;

CREATE INDEX contact_mappings_to_check ON contact_mappings (account_id, tenant_id, check_at)
    WHERE check_at IS NOT NULL;
CREATE INDEX contact_mappings_of_contact ON contact_mappings (account_id, tenant_id, contact_id);

-- No later version of a customer was ever sent before: what is known of it is what its contact was made from.
UPDATE contact_mappings m
   SET agreed = json_build_object(
           'name', btrim(regexp_replace(c.name, '\s+', ' ', 'g')), 'email', coalesce(btrim(c.email), ''),
           'phone', coalesce(btrim(c.phone), ''), 'tax_number', coalesce(btrim(c.tax_number), ''))::text
  FROM customers c
 WHERE c.account_id = m.account_id AND c.customer_id = m.customer_id;

-- A person unlinked it: it waits until a person links it again.
ALTER TABLE customers ADD COLUMN unlinked boolean NOT NULL DEFAULT false;

-- migrate:down

ALTER TABLE customers DROP COLUMN unlinked;
DROP INDEX contact_mappings_of_contact;
DROP INDEX contact_mappings_to_check;
ALTER TABLE contact_mappings
    DROP COLUMN healed_at,
    DROP COLUMN check_at,
    DROP COLUMN refused,
    DROP COLUMN problem,
    DROP COLUMN differences,
    DROP COLUMN base,
    DROP COLUMN agreed;
