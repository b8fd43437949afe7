"""Is every event that the ledger counts as published in the topic, of the same amount, and none besides?

Per tenant and currency.
"""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg

from payment_ingest.domain.ledger import Change
from payment_ingest.rebuild_ledger import told_by
from payment_ingest.store import ledger
from pipeline_contracts import topics
from pipeline_contracts.envelope import Record
from pipeline_messaging import outbox


@dataclass(slots=True)
class TopicSums:
    """What the ledger published, what of it the topic holds, and the events that are on one side only or not alike."""

    published: Decimal = Decimal(0)
    in_topic: Decimal = Decimal(0)
    waiting: Decimal = Decimal(0)
    """Published, and not in Kafka yet: the relay has it."""
    missing: list[uuid.UUID] = field(default_factory=list)
    strange: list[uuid.UUID] = field(default_factory=list)
    unlike: list[uuid.UUID] = field(default_factory=list)
    """On both sides, with different amounts."""

    @property
    def agrees(self) -> bool:
        """Whether both sides hold the same events of the same amounts."""
        return not self.differing

    @property
    def differing(self) -> int:
        """How many events are not the same on both sides."""
        return len(self.missing) + len(self.strange) + len(self.unlike)


async def reconcile_topic(
    pool: asyncpg.Pool, records: AsyncIterator[Record]
) -> dict[tuple[str, str], TopicSums]:
    """Compare by (tenant, currency); an event counts once, however many copies of it the topic holds.

    Args:
        pool: The service's database.
        records: The payments topic, read only after ledger and outbox were: what was published and no longer waited
            then is in the topic for certain.
    """
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        published = await ledger.published(conn)
        told = [told_by(record) for record in await outbox.waiting(conn, topics.PAYMENTS.name)]
    waiting = {one.event_id for one in told if one is not None}
    found: dict[tuple[str, str], TopicSums] = {}
    in_topic: dict[uuid.UUID, tuple[tuple[str, str], Decimal]] = {}
    async for record in records:
        one = told_by(record)
        if one is None or one.event_id in in_topic:
            continue
        key = (str(one.payment.tenant_id), one.payment.currency)
        amount = one.payment.amount if one.change is Change.RECORDED else -one.payment.amount
        in_topic[one.event_id] = key, amount
        found.setdefault(key, TopicSums()).in_topic += amount
    for event_id, (tenant_id, currency, amount) in published.items():
        sums = found.setdefault((tenant_id, currency), TopicSums())
        sums.published += amount
        if event_id not in in_topic and event_id in waiting:
            sums.waiting += amount
        elif event_id not in in_topic:
            sums.missing.append(event_id)
        elif in_topic[event_id] != ((tenant_id, currency), amount):
            sums.unlike.append(event_id)
    async with pool.acquire() as conn:
        since = await ledger.published(conn)
    for event_id in in_topic.keys() - since.keys():
        found[in_topic[event_id][0]].strange.append(event_id)
    return found
