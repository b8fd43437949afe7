-- migrate:up

-- kept: the fields (a JSON list of paths) on which a person chose Xero's value and Pipeline has another one still.
-- kept_by: who chose so last.
ALTER TABLE invoice_links
    ADD COLUMN kept text NOT NULL DEFAULT '[]',
    ADD COLUMN kept_by text;

-- Choices made before: what Pipeline and Xero each called agreed is then not the same.
UPDATE invoice_links l
   SET kept_by = r.actor,
       kept = coalesce((SELECT jsonb_agg(a.key ORDER BY a.key)
                          FROM jsonb_each_text(l.agreed::jsonb) a
                         WHERE a.value IS NOT NULL AND a.value IS DISTINCT FROM l.base::jsonb ->> a.key), '[]')::text
  FROM resolutions r
  JOIN invoices i USING (account_id, invoice_id)
 WHERE r.keep = 'xero' AND i.state = 'synced'
   AND l.account_id = r.account_id AND l.invoice_id = r.invoice_id;

-- migrate:down

ALTER TABLE invoice_links DROP COLUMN kept_by, DROP COLUMN kept;
