-- migrate:up

-- What was never in Xero is withdrawn without a word of invoice-sync: after a failure, too, nothing more is to come.
-- What was voided in Xero and accepted here is told as synced with Xero's status: that is no money in Xero.
-- Of what only payments tell, Pipeline and invoice-sync spoke longer ago than their topics are kept: it is in Xero.
ALTER TABLE invoices ALTER COLUMN state SET EXPRESSION AS (
    CASE
        WHEN version = 0 AND outcome IS NULL THEN 'synced'
        WHEN outcome = 'out_of_sync' THEN 'out_of_sync'
        WHEN is_voided AND (outcome IS NULL OR (outcome = 'synced' AND outcome_version >= version)
             OR (link_sequence = 0 AND version > outcome_version)) THEN 'voided'
        WHEN outcome = 'synced' AND outcome_version >= version AND told ->> 'xero_status' IN ('VOIDED', 'DELETED')
             THEN 'voided'
        WHEN outcome IS NULL OR version > outcome_version THEN 'waiting'
        WHEN outcome = 'failed' AND retryable THEN 'retrying'
        ELSE outcome
    END);

-- migrate:down
ALTER TABLE invoices ALTER COLUMN state SET EXPRESSION AS (
    CASE
        WHEN outcome = 'out_of_sync' THEN 'out_of_sync'
        WHEN is_voided AND (outcome IS NULL OR (outcome = 'synced' AND outcome_version >= version)) THEN 'voided'
        WHEN outcome IS NULL OR version > outcome_version THEN 'waiting'
        WHEN outcome = 'failed' AND retryable THEN 'retrying'
        ELSE outcome
    END);
