"""Reads the three ledgers of a running stack, for the judge: topics from their beginning, Xero's books, the answers."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import CONNECTIONS, INVOICES, PAYMENTS, SYNC, Topic
from pipeline_local_stack.ledgers import InvoiceKey, Ledgers, documents_of, settlements_of
from pipeline_local_stack.plain_http import NOBODY
from pipeline_local_stack.stack import Stack
from pipeline_local_stack.xero_admin import XeroAdmin

_AT_ONCE = 8
_READ = (INVOICES, SYNC, CONNECTIONS, PAYMENTS)


async def read_ledgers(
    stack: Stack,
    *,
    accounts: Collection[str] = (),
    invoices: Collection[InvoiceKey] = (),
    edited_in_xero: Collection[str] = (),
    organisations: Collection[str] | None = None,
) -> Ledgers:
    """Everything the judge needs, once the system has come to rest.

    Args:
        stack: the running stack.
        accounts: those whose summary is asked for.
        invoices: those whose state is asked for.
        edited_in_xero: the InvoiceIDs of what people changed in Xero.
        organisations: the names of those whose books are read; None: all.
    """
    records = await read_topics(stack.broker.bootstrap_servers, _READ)
    states, counts = await _answers(stack, accounts, invoices)
    with contextlib.closing(XeroAdmin(stack.urls["simulator"])) as first:
        calls = await asyncio.to_thread(first.calls)
        names = [row["name"] for row in await asyncio.to_thread(first.organisations)]
    documents, settlements = [], []
    for name in names:
        if organisations is not None and name not in organisations:
            continue
        with contextlib.closing(XeroAdmin(stack.urls["simulator"], name)) as organisation:
            books = await asyncio.to_thread(organisation.ledger)
        documents += documents_of(books, organisation.tenant_id)
        settlements += settlements_of(books, organisation.tenant_id)
    return Ledgers(
        published=records[INVOICES.name],
        announced=records[SYNC.name],
        connections=records[CONNECTIONS.name],
        documents=documents,
        calls=calls,
        states=states,
        counts=counts,
        edited_in_xero=frozenset(edited_in_xero),
        payments=records[PAYMENTS.name],
        settlements=settlements,
    )


async def read_topics(bootstrap_servers: str, topics: Sequence[Topic]) -> dict[str, list[Record]]:
    """Every record that the topics hold by now, in the order of each partition, as bytes."""
    found: dict[str, list[Record]] = {topic.name: [] for topic in topics}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(t.name, p) for t in topics for p in range(t.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                found[partition.topic] += [
                    Record(each.topic, each.key, each.value, tuple(each.headers))
                    for each in records
                ]
    finally:
        await consumer.stop()
    return found


async def _answers(
    stack: Stack, accounts: Collection[str], invoices: Collection[InvoiceKey]
) -> tuple[dict[InvoiceKey, str], dict[str, dict[str, int]]]:
    """What invoice-sync answers to another service of Pipeline."""
    token = stack.identities.service_token("pipeline-backend", "invoice-sync")
    turns = asyncio.Semaphore(_AT_ONCE)
    async with httpx.AsyncClient(
        base_url=f"{stack.urls['invoice-sync']}/v1/accounts",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
        verify=NOBODY,
    ) as http:

        async def state_of(key: InvoiceKey) -> str:
            async with turns:
                reply = await http.get(f"/{key.account_id}/invoices/{key.invoice_id}/sync")
            return str(reply.raise_for_status().json()["state"])

        states = await asyncio.gather(*map(state_of, invoices))
        counts = {}
        for account_id in accounts:
            reply = await http.get(f"/{account_id}/summary")
            counts[account_id] = reply.raise_for_status().json()["states"]
    return dict(zip(invoices, states, strict=True)), counts
