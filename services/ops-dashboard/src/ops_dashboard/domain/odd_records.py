"""Records that are shown as they are: dead letters, and what could not be read. Nothing in them can be trusted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipeline_contracts import topics
from pipeline_contracts.fields import MAX_ID

MOST_BYTES: Final = 16 * 1024
"""Of a value or key that are kept to be shown."""
MOST_HEADERS: Final = 50
LONGEST_HEADER: Final = 1_000
_TAKEN_UP_BY: Final = {
    topics.INVOICES.name: "invoice-sync",
    topics.CUSTOMERS.name: "invoice-sync",
    topics.CHANGES.name: "invoice-sync",
    topics.SYNC.name: "payment-ingest",
}
"""Topics whose dead letters one service alone writes, and takes up again when it is asked to."""
_HEX_WIDTH: Final = 16
_HEX_LINES: Final = 64
_PRINTABLE: Final = range(0x20, 0x7F)

Headers = Sequence[tuple[str, bytes | None]]


class Kept(Protocol):
    """The part of a Kafka record that is read here."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Odd:
    """What is told of such a record beside its bytes."""

    account_id: str | None
    from_topic: str
    from_place: str | None
    code: str
    reason: str
    headers: list[list[str | None]]


def dead_letter(record: Kept) -> Odd:
    """A dead letter: the service that set it aside says in headers where it stood and why."""
    told = {name: _text(value) for name, value in record.headers if name.startswith("x-dlq-")}
    place = (told.get("x-dlq-partition"), told.get("x-dlq-offset"))
    return Odd(
        account_named(record.value),
        told.get("x-dlq-topic") or record.topic.removesuffix(".dlq"),
        None if None in place else f"{place[0]}/{place[1]}",
        (told.get("x-dlq-code") or "UNKNOWN")[:64],
        told.get("x-dlq-reason") or "It was set aside without a reason.",
        _headers(record.headers),
    )


def unreadable(record: Kept, code: str, reason: str) -> Odd:
    """A record of a topic of events that is none."""
    return Odd(
        account_named(record.value),
        record.topic,
        f"{record.partition}/{record.offset}",
        code,
        clean(reason)[:LONGEST_HEADER],
        _headers(record.headers),
    )


def taken_up_by(from_topic: str) -> str | None:
    """The service that takes up what was set aside of a topic; None where a letter does not say whose it is."""
    return _TAKEN_UP_BY.get(from_topic)


def account_named(value: bytes | None) -> str | None:
    """The account that a body names, however broken the rest; None where it names none that could be one."""
    try:
        body: Any = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    named = body.get("account_id") if isinstance(body, Mapping) else None
    if not isinstance(named, str) or not 0 < len(named) <= MAX_ID or clean(named) != named:
        return None
    return named


def clean(text: str) -> str:
    """Text that a database takes: without NUL, and without halves of characters."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def readable(content: bytes) -> str | None:
    """Bytes as text, JSON with its lines broken; None for what is no text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if any(ord(character) < ord(" ") and character not in "\t\r\n" for character in text):
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def hex_lines(content: bytes) -> list[str]:
    """Bytes as programmers read them: where, in hexadecimal, and what is printable of it."""
    lines = []
    for start in range(0, min(len(content), _HEX_WIDTH * _HEX_LINES), _HEX_WIDTH):
        chunk = content[start : start + _HEX_WIDTH]
        shown = "".join(chr(byte) if byte in _PRINTABLE else "." for byte in chunk)
        lines.append(f"{start:06x}  {chunk.hex(' '):<{_HEX_WIDTH * 3}} {shown}")
    return lines


def _headers(headers: Headers) -> list[list[str | None]]:
    return [[clean(name)[:LONGEST_HEADER], _text(value)] for name, value in headers[:MOST_HEADERS]]


def _text(value: bytes | None) -> str | None:
    return None if value is None else clean(value[:LONGEST_HEADER].decode(errors="replace"))
