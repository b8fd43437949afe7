-- migrate:up

-- Choices of Xero's version that replicas of the former release recorded after kept and kept_by were there, which they
-- did not know: without them, Pipeline's next version would be pushed over what the person chose.
UPDATE invoice_links l
   SET kept_by = r.actor,
       kept = coalesce((SELECT jsonb_agg(a.key ORDER BY a.key)
                          FROM jsonb_each_text(l.agreed::jsonb) a
                         WHERE a.value IS NOT NULL AND a.value IS DISTINCT FROM l.base::jsonb ->> a.key), '[]')::text
  FROM resolutions r
  JOIN invoices i USING (account_id, invoice_id)
 WHERE r.keep = 'xero' AND i.state = 'synced' AND l.kept_by IS NULL
   AND l.account_id = r.account_id AND l.invoice_id = r.invoice_id;

-- migrate:down
