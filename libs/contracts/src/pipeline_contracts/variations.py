"""What Kafka and the years do to a stream of events, and a subscriber must survive.

Each variation takes a scenario's records and returns them with one kind of trouble added; none of them changes what a
subscriber should hold in the end.
"""

import json
from collections.abc import Callable, Sequence
from typing import Final

from pipeline_contracts.envelope import Record

Records = Sequence[Record]

UNKNOWN_TYPE: Final = "pipeline.invoice.archived.v1"
"""A type of no release."""


def duplicates(records: Records) -> list[Record]:
    """Every record twice in a row, and then the whole stream once more, as after a relay that died."""
    return [each for record in records for each in (record, record)] + list(records)


def reordered(records: Records) -> list[Record]:
    """Keys in the opposite order; within one key the order stays, as Kafka keeps it."""
    by_key: dict[tuple[str, bytes | None], list[Record]] = {}
    for record in records:
        by_key.setdefault((record.topic, record.key), []).append(record)
    return [record for of_key in reversed(by_key.values()) for record in of_key]


def unknown_type(records: Records) -> list[Record]:
    """Beside every record one of a type that a later release may bring."""
    found: list[Record] = []
    for number, record in enumerate(records):
        new = _with_headers(record, ce_type=UNKNOWN_TYPE, ce_id=f"unknown-{number}")
        found += [new, record]
    return found


def unknown_fields(records: Records) -> list[Record]:
    """Every body with fields, and every record with a header, that a later release may bring."""
    found = []
    for record in records:
        body = json.loads(record.value or b"{}") | {"novelty": {"of": ["a", "later release"]}}
        value = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        added = ("ce_novelty", b"of a later release")
        found.append(Record(record.topic, record.key, value, (*record.headers, added)))
    return found


def unreadable(records: Records) -> list[Record]:
    """Before every record one that is no event: bytes, half a JSON, no body, no headers, somebody else's key."""
    found: list[Record] = []
    for number, record in enumerate(records):
        found += [_BROKEN[number % len(_BROKEN)](record), record]
    return found


def _with_headers(record: Record, **changes: str) -> Record:
    headers = dict(record.headers) | {name: text.encode() for name, text in changes.items()}
    return Record(record.topic, record.key, record.value, tuple(headers.items()))


_BROKEN: Final[tuple[Callable[[Record], Record], ...]] = (
    lambda record: Record(record.topic, record.key, b"\xff\xfe\x00rubbish", record.headers),
    lambda record: Record(record.topic, record.key, (record.value or b"")[:-20], record.headers),
    lambda record: Record(record.topic, record.key, record.value, ()),
    lambda record: Record(record.topic, b"somebody-else", record.value, record.headers),
    lambda record: Record(record.topic, record.key, b"", record.headers),
    lambda record: Record(record.topic, record.key, b'["no", "event"]', record.headers),
    lambda record: _with_headers(record, ce_time="noon"),
)

VARIATIONS: Final[dict[str, Callable[[Records], list[Record]]]] = {
    "duplicates": duplicates,
    "reordered": reordered,
    "unknown-type": unknown_type,
    "unknown-fields": unknown_fields,
    "unreadable": unreadable,
}
"""Every variation by its name on the command line."""
