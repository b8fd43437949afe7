"""A whole small service, to be killed: topic in -> inbox -> effect -> worker -> outbox -> topic out.

Configured by the environment; FAILPOINT says where to die. SIGTERM stops it gracefully.
"""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg
import structlog

from pipeline_contracts.envelope import Envelope, Record
from pipeline_messaging import outbox
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.relay import Relay
from pipeline_messaging.subscriber import subscribe
from pipeline_messaging.worker import AccountWorker, Lease, mark_due

ENV = os.environ
structlog.configure(  # the default renders local variables, slowly enough to lose leases over it
    processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
)


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def handle(conn: asyncpg.Connection, envelopes: list[Envelope]) -> None:
    await conn.executemany(
        "INSERT INTO effects (event_id, account_id, subject) VALUES ($1, $2, $3)",
        [(e.id, e.event.account_id, e.subject) for e in envelopes],
    )
    await mark_due(conn, [e.event.account_id for e in envelopes])


async def process(pool: asyncpg.Pool, lease: Lease) -> datetime | None:
    """Answer each effect once: mark it done and tell the world, in one fenced transaction."""
    todo = await pool.fetch(
        "SELECT position, event_id, subject FROM effects "
        "WHERE account_id = $1 AND NOT done ORDER BY position LIMIT 7",
        lease.account_id,
    )
    if not todo:
        return None
    say("processing")
    await asyncio.sleep(float(ENV.get("WORK_SECONDS", "0")))  # the call to the world outside
    failpoint("service:before_result")
    async with pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        await conn.execute(
            "UPDATE effects SET done = true WHERE position = ANY($1)",
            [row["position"] for row in todo],
        )
        failpoint("service:inside_result")
        await outbox.add(
            conn,
            *(
                Record(
                    ENV["TOPIC_OUT"],
                    row["subject"].encode(),
                    f"answer to {row['event_id']} under epoch {lease.epoch}".encode(),
                    (("ce_id", row["event_id"].encode()),),
                )
                for row in todo
            ),
        )
    failpoint("service:after_result")
    return datetime.now(UTC)


async def main() -> None:
    kafka = KafkaSettings(ENV["KAFKA_BOOTSTRAP_SERVERS"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(ENV["DSN"], min_size=1, max_size=6)
        )
        relay = await stack.enter_async_context(Relay(ENV["DSN"], kafka, batch_rows=20))
        lease_seconds = float(ENV.get("LEASE_SECONDS", "1"))

        async def process_and_wake(lease: Lease) -> datetime | None:
            come_back = await process(pool, lease)
            relay.wake()
            return come_back

        worker = AccountWorker(pool, process_and_wake, concurrency=3, lease_seconds=lease_seconds)
        working = asyncio.create_task(worker.run())
        broker = make_broker(kafka)
        subscribe(
            broker, ENV["TOPIC_IN"], group_id=ENV["GROUP"], pool=pool, handle=handle,
            on_committed=lambda: (worker.wake(), relay.wake()), max_records=25,
        )  # fmt: skip
        async with consuming(broker):
            await stop.wait()
        worker.stop()
        await working
    say("stopped cleanly")


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
