"""Every secret that a running stack is configured with or holds, and every place of it where none of them may be."""

import io
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from connector.domain.sealing import OuterKeys, parse_keys
from connector.store import token_sets
from pipeline_contracts import topics
from pipeline_local_stack.canaries import Canaries
from pipeline_local_stack.paths import LOGS
from pipeline_local_stack.read_ledgers import read_topics
from pipeline_local_stack.stack import Stack


def watch_what_is_configured(stack: Stack, canaries: Canaries) -> OuterKeys:
    """Look for every secret that the stack was started with; the keys that seal tokens."""
    watch, environment = canaries.watch, stack.children["connector"].env
    keys = Path(environment["TOKEN_KEYS_FILE"]).read_text()
    ring = parse_keys(keys)
    watch("client secret", environment["XERO_CLIENT_SECRET"])
    watch("token keys", keys.strip().partition(":")[2])
    for version, key in ring.keys.items():
        watch(f"token key {version}", key)
    watch("webhook key", stack.children["payment-ingest"].env["XERO_WEBHOOK_KEYS"])
    for name, dsn in stack.dsns.items():
        watch(f"database password of {name}", urlsplit(dsn).password or "")
    watch("database superuser's password", stack.postgres.password)
    for name, signing_key in stack.identities.keys.items():
        watch(f"signing key of {name}", signing_key.private_bytes_raw())
    return ring


async def watch_tokens(stack: Stack, canaries: Canaries, ring: OuterKeys) -> None:
    """Look for every token that is stored now, which only the owner of database and keys can read."""
    conn = await asyncpg.connect(stack.dsns["connector"])
    try:
        for userid in [r[0] for r in await conn.fetch("SELECT xero_userid FROM token_sets")]:
            tokens = await token_sets.find(conn, userid)
            if tokens is None:
                continue  # disconnected since
            canaries.watch_jwt("access token", tokens.access_token(ring))
            canaries.watch("refresh token", tokens.refresh_token(ring))
            if previous := tokens.previous_token(ring):
                canaries.watch("previous refresh token", previous)
    finally:
        await conn.close()


async def records(stack: Stack) -> list[tuple[str, bytes]]:
    """Every record of every topic."""
    found = await read_topics(stack.broker.bootstrap_servers, topics.ALL)
    return [
        (f"topic {record.topic}", b"\n".join((record.key or b"", record.value or b"", headers)))
        for of_topic in found.values()
        for record in of_topic
        for headers in [b"".join(name.encode() + (value or b"") for name, value in record.headers)]
    ]


async def tables(stack: Stack, databases: Collection[str]) -> list[tuple[str, bytes]]:
    """Every table of some databases, as a dump writes it."""
    found = []
    for name in databases:
        conn = await asyncpg.connect(stack.postgres.dsn.rsplit("/", 1)[0] + f"/{name}")
        try:
            for schema, table in await conn.fetch(
                # Of a partitioned table its partitions: it holds no rows itself, and COPY refuses it.
                "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
            ):
                dump = io.BytesIO()
                await conn.copy_from_table(table, schema_name=schema, output=dump)
                found.append((f"table {name}.{table}", dump.getvalue()))
        finally:
            await conn.close()
    return found


def logs() -> list[tuple[str, bytes]]:
    """What every process wrote; the simulator is not ours to keep quiet, it stands for Xero's servers."""
    return [
        (f"log {file.name}", file.read_bytes())
        for file in sorted(LOGS.glob("*.log"))
        if file.stem != "simulator"
    ]
