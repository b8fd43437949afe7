"""Customers' names, to search by."""

from collections.abc import Mapping

from ops_dashboard.domain.facts import short
from pipeline_contracts.customer import Customer
from pipeline_messaging.connection import Connection


async def keep(
    conn: Connection, generation: int, newest: Mapping[tuple[str, str], Customer]
) -> None:
    """Store the newest name of each customer, unless a newer one is known."""
    events = [newest[key] for key in sorted(newest)]
    await conn.execute(
        """
        INSERT INTO customers AS c (generation, account_id, customer_id, version, name)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int[], $5::text[])
        ON CONFLICT (generation, account_id, customer_id) DO UPDATE
           SET version = excluded.version, name = excluded.name WHERE c.version < excluded.version
        """,
        generation,
        [event.account_id for event in events],
        [event.customer_id for event in events],
        [event.version for event in events],
        [short(event.name) for event in events],
    )
