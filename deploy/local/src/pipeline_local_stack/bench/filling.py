"""Databases with a past: accounts at rest, and as many rows of invoices, payments and webhooks as asked for.

The rows are as narrow as they may be: what is looked at is whether the size of a table matters, not of a row.
"""

import asyncpg

_OF_ACCOUNTS = {
    "invoice_sync": """
WITH filled AS (SELECT 'past-' || a AS account_id, 'past-tenant-' || a AS tenant_id FROM generate_series($1::bigint, $2::bigint) a),
leased AS (INSERT INTO account_leases (account_id) SELECT account_id FROM filled),
mapped AS (
    INSERT INTO contact_mappings (account_id, tenant_id, customer_id, contact_id, mapped_by)
    SELECT account_id, tenant_id, 'customer-' || c, 'contact-' || c, 'bench' FROM filled, generate_series(1, 5) c
), known AS (
    INSERT INTO customers (account_id, customer_id, version, name)
    SELECT account_id, 'customer-' || c, 1, 'Customer ' || c FROM filled, generate_series(1, 5) c
)
INSERT INTO accounts (account_id, status, tenant_id, sequence, reconcile_due_at)
SELECT account_id, 'CONNECTED', tenant_id, 1, now() + interval '1 day' FROM filled
""",
    "payment_ingest": """
WITH filled AS (SELECT 'past-' || a AS account_id, 'past-tenant-' || a AS tenant_id FROM generate_series($1::bigint, $2::bigint) a),
leased AS (INSERT INTO account_leases (account_id) SELECT account_id FROM filled),
swept AS (
    INSERT INTO tenant_sweeps (tenant_id, kind, next_at, requests, part, next_page, page_size, missed)
    SELECT tenant_id, kind, now() + interval '1 day', 0, 'invoices', 1, 100, 0
      FROM filled, unnest(ARRAY['recent', 'deep']) kind
)
INSERT INTO connections (account_id, tenant_id, status, since, sequence)
SELECT account_id, tenant_id, 'CONNECTED', now(), 1 FROM filled
""",
    "connector": """
WITH filled AS (SELECT a, 'past-' || a AS account_id, 'past-tenant-' || a AS tenant_id FROM generate_series($1::bigint, $2::bigint) a),
leased AS (INSERT INTO account_leases (account_id) SELECT account_id FROM filled),
kept AS (
    INSERT INTO token_sets (xero_userid, version, access_token, access_expires_at, refresh_token, refreshed_at, scopes,
                            refresh_after, last_used_at, check_after)
    SELECT 'past-user-' || a, 1, '', now() + interval '1 day', '', now(), '', now() + interval '1 day', now(), now() + interval '1 day'
      FROM filled
), counted AS (INSERT INTO tenant_budgets (tenant_id) SELECT tenant_id FROM filled)
INSERT INTO connections (account_id, status, reason, since, sequence, tenant_id, short_code, base_currency, xero_userid,
                         last_call_at)
SELECT account_id, 'CONNECTED', 'CONNECTED_BY_USER', now(), 1, tenant_id, '!Past1', 'NZD', 'past-user-' || a, now() FROM filled
""",
    "ops_dashboard": """
WITH filled AS (SELECT 'past-' || a AS account_id FROM generate_series($1::bigint, $2::bigint) a),
known AS (
    INSERT INTO customers (generation, account_id, customer_id, version, name)
    SELECT 1, account_id, 'customer-' || c, 1, 'Customer ' || c FROM filled, generate_series(1, 5) c
)
INSERT INTO accounts (generation, account_id, sequence, status) SELECT 1, account_id, 1, 'CONNECTED' FROM filled
""",
}
_OF_ROWS = {
    "invoice_sync": (
        """
INSERT INTO invoices (account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id, currency, total,
                      sequence, synced_version)
SELECT 'past-' || 1 + n % $3, 'inv-' || n, 'synced', 1, 'write', '{}', 'INV-' || n, 'customer-1', 'NZD', 1, 1, 1
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO invoice_links (account_id, invoice_id, tenant_id, xero_invoice_id, xero_number, xero_status, line_item_ids, agreed,
                           base, observed, observed_at)
SELECT 'past-' || 1 + n % $3, 'inv-' || n, 'past-tenant-' || 1 + n % $3, md5(n::text), 'INV-' || n, 'AUTHORISED', '{}', '{}',
       '{}', '{}', now()
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO timeline (account_id, invoice_id, at, kind)
SELECT 'past-' || 1 + n % $3, 'inv-' || n, now(), 'synced' FROM generate_series($1::bigint, $2::bigint) n
""",
        "INSERT INTO inbox (source, event_id) SELECT 'past', md5(n::text) FROM generate_series($1::bigint, $2::bigint) n WHERE $3 > 0",
    ),
    "payment_ingest": (
        """
INSERT INTO xero_invoices (tenant_id, xero_invoice_id, account_id, invoice_id, linked_at, observations)
SELECT 'past-tenant-' || 1 + n % $3, md5(n::text), 'past-' || 1 + n % $3, 'inv-' || n, now(), 1
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO payments (payment_id, tenant_id, xero_invoice_id, kind, xero_payment_id, occurrence, amount, currency, reversed)
SELECT md5(n::text)::uuid, 'past-tenant-' || 1 + n % $3, md5(n::text), 'payment', md5('p' || n), 1, 1, 'NZD', false
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO payment_movements (payment_id, tenant_id, xero_invoice_id, change, event_id, invoice_status, amount_paid, amount_due,
                               found_by, recorded_at, sequence, published_at)
SELECT md5(n::text)::uuid, 'past-tenant-' || 1 + n % $3, md5(n::text), 'recorded', md5('e' || n)::uuid, 'PAID', 1, 0, 'webhook',
       now(), 1, now()
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO payment_sequences (account_id, invoice_id, last_sequence)
SELECT 'past-' || 1 + n % $3, 'inv-' || n, 1 FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO raw_deliveries (body_hash, body, key_position)
SELECT decode(md5(n::text), 'hex'), '', 0 FROM generate_series($1::bigint, $2::bigint) n WHERE $3 > 0
""",
        "INSERT INTO inbox (source, event_id) SELECT 'past', md5(n::text) FROM generate_series($1::bigint, $2::bigint) n WHERE $3 > 0",
    ),
    "connector": (
        """
INSERT INTO connection_changes (account_id, sequence, at, to_status, reason, hash)
SELECT 'past-' || 1 + n % $3, n, now(), 'CONNECTED', 'CONNECTED_BY_USER', '' FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO call_counts (tenant_id, since, calls)
SELECT 'past-tenant-' || 1 + n % $3, now() - interval '5 seconds' * (n / $3), 1 FROM generate_series($1::bigint, $2::bigint) n
ON CONFLICT DO NOTHING
""",
        """
INSERT INTO oauth_states (state_hash, account_id, user_id, user_name, session_hash, verifier, nonce, expires_at)
SELECT decode(md5(n::text), 'hex'), 'past-' || 1 + n % $3, 'u', 'u', '', '', '', now() + interval '1 day'
  FROM generate_series($1::bigint, $2::bigint) n
""",
    ),
    "ops_dashboard": (
        """
INSERT INTO invoices (generation, account_id, invoice_id, changed_at, version, content_version, invoice_number, customer_id,
                      currency, total, sequence, outcome, outcome_version)
SELECT 1, 'past-' || 1 + n % $3, 'inv-' || n, now(), 1, 1, 'INV-' || n, 'customer-1', 'NZD', 1, 1, 'synced', 1
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO payments (generation, account_id, payment_id, invoice_id, sequence, is_reversed, kind, amount, currency, paid_on,
                      found_by, changed_at)
SELECT 1, 'past-' || 1 + n % $3, md5(n::text), 'inv-' || n, 1, false, 'payment', 1, 'NZD', now(), 'webhook', now()
  FROM generate_series($1::bigint, $2::bigint) n
""",
        """
INSERT INTO facts (generation, source, event_id, account_id, subject_kind, subject, type, at, number, details)
SELECT 1, 'past', md5(n::text), 'past-' || 1 + n % $3, 'invoice', 'inv-' || n, 'x', now(), 1, '{}'
  FROM generate_series($1::bigint, $2::bigint) n
""",
    ),
}


async def add_accounts(conn: asyncpg.Connection, service: str, first: int, last: int) -> None:
    """Connected accounts at rest, numbered from `first` to `last`, in the database of a service."""
    await conn.execute(_OF_ACCOUNTS[service], first, last)


async def add_rows(
    conn: asyncpg.Connection, service: str, first: int, last: int, accounts: int
) -> None:
    """What `last - first + 1` invoices left behind in each table of a service, spread over so many accounts.

    As a superuser: each row's parent is certain, and looking it up would be most of the time.
    """
    async with conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        for statement in _OF_ROWS[service]:
            await conn.execute(statement, first, last, accounts)


async def look_over(conn: asyncpg.Connection) -> None:
    """What autovacuum does by itself after such a change, done now, so that plans know the tables' sizes."""
    await conn.execute("VACUUM ANALYZE")
