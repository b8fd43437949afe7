"""Does a service publish invoices as the contract says? Reads them from a file or a Kafka, and says what is wrong.

`python -m pipeline_contracts.check events.jsonl`, or `--from localhost:9092 --source billing`.
Exit status: 0 nothing is wrong, 1 something is, 2 nothing could be checked.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline_contracts.conformance import Finding, Inspector
from pipeline_contracts.envelope import Record
from pipeline_contracts.record_files import NotARecord, records_in
from pipeline_contracts.topics import INVOICES

Placed = Iterable[tuple[str, Record | NotARecord]]


class CheckError(Exception):
    """Nothing could be checked; the message says why."""


def inspect(placed: Placed, *, source: str | None = None) -> tuple[int, list[Finding]]:
    """How many records were looked at, and everything that is wrong with them.

    Args:
        placed: each record with its place, in order.
        source: look at the events of this `ce_source` only, and at what has none.
    """
    inspector = Inspector()
    found = [each for place, record in placed for each in _look(inspector, place, record, source)]
    return inspector.looked_at, found


def _look(
    inspector: Inspector, place: str, record: Record | NotARecord, source: str | None
) -> list[Finding]:
    if isinstance(record, NotARecord):
        return [Finding(place, "unreadable", "line", str(record))]
    if source is None or _source_of(record) in {None, source}:
        return inspector.look(record, place)
    return []


def _source_of(record: Record) -> str | None:
    raw = dict(record.headers).get("ce_source")
    return None if raw is None else raw.decode(errors="replace")


def main(arguments: list[str] | None = None) -> int:
    """Check what was named, and tell; see the module's docstring for the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_contracts.check",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Exit status: 0 nothing is wrong, 1 something is, 2 nothing could be checked.",
    )
    parser.add_argument("file", nargs="?", help="JSON lines, as `replay` prints them; - for stdin")
    parser.add_argument(
        "--from", dest="servers", metavar="KAFKA", help="read a topic of this Kafka (host:port)"
    )
    parser.add_argument("--topic", default=INVOICES.name, help=f"by default {INVOICES.name}")
    parser.add_argument("--source", help="only events of this ce_source")
    options = parser.parse_args(arguments)
    try:
        if (options.file is None) == (options.servers is None):
            raise CheckError("name a file of JSON lines, or a Kafka with --from")  # noqa: TRY301
        if options.servers is None:
            looked_at, found = inspect(_from_file(options.file), source=options.source)
        else:
            looked_at, found = asyncio.run(
                _inspect_kafka(options.servers, options.topic, options.source)
            )
        if not looked_at and not found:
            raise CheckError("there is nothing to check: no record was found")  # noqa: TRY301
    except CheckError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    sys.stdout.writelines(f"{each}\n" for each in found)
    verdict = f"{len(found)} findings" if found else "nothing is wrong"
    sys.stdout.write(f"{looked_at} records: {verdict}.\n")
    return 1 if found else 0


def _from_file(name: str) -> list[tuple[str, Record | NotARecord]]:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = raw.decode()
    except OSError as error:
        raise CheckError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CheckError(
            f"{name} is no text in UTF-8; write one record as one line of JSON"
        ) from None
    return [(f"line {number}", record) for number, record in records_in(text)]


async def _inspect_kafka(servers: str, topic: str, source: str | None) -> tuple[int, list[Finding]]:
    """As `inspect`, record by record as they are read: a topic may be larger than the memory."""
    try:
        # Checking a file works without the extra `kafka`.
        from pipeline_contracts import kafka_tools  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CheckError(
            f"reading Kafka needs {error.name}: install pipeline-contracts[kafka]"
        ) from error
    try:
        inspector = Inspector()
        found = [
            each
            async for place, record in kafka_tools.read_topic(servers, topic)
            for each in _look(inspector, place, record, source)
        ]
    except kafka_tools.KafkaTrouble as error:
        raise CheckError(str(error)) from error
    return inspector.looked_at, found


if __name__ == "__main__":
    sys.exit(main())
