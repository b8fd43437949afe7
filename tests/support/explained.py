"""What each statement of a piece of work read, by Postgres's own account: rows and pages, never time."""

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import asyncpg

_DATA = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_HAS_OTHER_EFFECTS = re.compile(r"pg_(try_)?advisory|pg_notify", re.IGNORECASE)


@dataclass
class Read:
    """One statement, as it was carried out once."""

    statement: str
    rows: int = 0
    """That its scans looked at, whether they passed or not."""
    pages: int = 0
    """Of tables and indexes, from memory or disk."""
    written: int = 0

    @property
    def name(self) -> str:
        return " ".join(self.statement.split())[:160]


class ExplainedConnection(asyncpg.Connection):
    """Has each statement explained with its real rows, undoes that, and then carries it out."""

    reads: ClassVar[list[Read] | None] = None
    """Where what is read is written down; None: nothing is."""

    async def fetch(self, query, *args, **options):
        await self._explain(query, args)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query, *args, **options):
        await self._explain(query, args)
        return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query, *args, **options):
        await self._explain(query, args)
        return await super().fetchval(query, *args, **options)

    async def execute(self, query, *args, **options):
        await self._explain(query, args)
        return await super().execute(query, *args, **options)

    async def _explain(self, query, args):
        reads = type(self).reads
        if reads is None or not _DATA.match(query) or _HAS_OTHER_EFFECTS.search(query):
            return
        inside = self.is_in_transaction()
        await super().execute("SAVEPOINT explained" if inside else "BEGIN")
        try:
            plan = await super().fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}", *args
            )
        finally:
            await super().execute("ROLLBACK TO explained" if inside else "ROLLBACK")
        found = Read(query)
        _walk(json.loads(plan)[0]["Plan"], found, is_top=True)
        reads.append(found)


def _walk(node, found: Read, *, is_top: bool = False) -> None:
    if is_top:
        found.pages = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    if node["Node Type"] == "ModifyTable":
        found.written += sum(round(child["Actual Rows"]) for child in node["Plans"])
    if "Relation Name" in node and "Scan" in node["Node Type"]:
        left_out = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
        rows = round((node["Actual Rows"] + left_out) * node["Actual Loops"])
        found.rows += rows
    for child in node.get("Plans", ()):
        _walk(child, found)


class Reading:
    """`with Reading() as reads:` what all explained connections read meanwhile."""

    def __enter__(self) -> list[Read]:
        ExplainedConnection.reads = []
        return ExplainedConnection.reads

    def __exit__(self, *_: object) -> None:
        ExplainedConnection.reads = None


def grown(small: list[Read], large: list[Read]) -> list[str]:
    """The statements that read more in the large database than in the small one, in words; empty is good.

    The same work was done in both. Rows may differ by a fifth; pages also by the levels by which indexes are deeper, at
    each row that is looked up or written: that grows with the logarithm, a scan with the table.
    """
    before, after = _worst(small), _worst(large)
    found = []
    for statement, read in after.items():
        former = before.get(statement, Read(statement))
        if read.rows > 1.2 * former.rows + 5:
            found.append(f"{former.rows} rows became {read.rows}: {read.name}")
        elif read.pages > 1.2 * former.pages + 3 * (read.rows + read.written) + 40:
            found.append(f"{former.pages} pages became {read.pages}: {read.name}")
    return found


def _worst(reads: list[Read]) -> dict[str, Read]:
    """Of each statement the time when it read most."""
    worst: dict[str, Read] = {}
    for read in reads:
        known = worst.setdefault(read.statement, read)
        if (read.rows, read.pages) > (known.rows, known.pages):
            worst[read.statement] = read
    return worst
