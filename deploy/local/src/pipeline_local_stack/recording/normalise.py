"""Makes recordings of different days the same: ids by the order in which they appear, times by their order."""

import json
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from pipeline_contracts.envelope import Record, decode, stable_id
from pipeline_contracts.errors import NotEncodable
from pipeline_contracts.fields import rfc3339

EPOCH = datetime.fromisoformat("2026-03-02T09:00:00+00:00")
"""When every recording begins."""

_IDS = uuid.UUID("0c6a4b7e-5f0e-5c1e-9d0e-6c1b1d5f7a10")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_SHORT_CODE = re.compile(r"![A-Za-z0-9]{5}\b")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")
_UNIX_TIME = re.compile(r"\b[0-9]{10}\.[0-9]+\b")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = timedelta(days=1)


def normalised(records: Sequence[Record], name: str, recorded_on: date) -> list[Record]:
    """The records of a scenario as they would have been on the day of `EPOCH`, under ids that never change.

    Args:
        records: in the order in which they were told.
        name: the scenario's name; ids are made from it.
        recorded_on: the day of the recording: payments made then were made on the day of `EPOCH`.
    """
    read = [_text_of(record) for record in records]
    replace = _replacement(read, name, recorded_on)
    return [_again(record, _replaced(text, replace)) for record, text in zip(records, read, strict=True)]  # fmt: skip


def _text_of(record: Record) -> dict[str, Any]:
    told = decode(key=record.key, value=record.value, headers=record.headers)
    headers = {name: (value or b"").decode() for name, value in record.headers}
    # Traces are the recording's own, and no reader may rely on them.
    kept = {name: value for name, value in headers.items() if not name.endswith("traceparent")}
    derived = _derived_id(told.event) == told.id
    return {"headers": kept, "body": json.loads(record.value or b""), "derived": derived}


def _derived_id(event: Any) -> str | None:
    try:
        return stable_id(event)
    except NotEncodable:
        return None


def _replacement(
    read: Sequence[dict[str, Any]], name: str, recorded_on: date
) -> Callable[[str], str]:
    whole = json.dumps(read, ensure_ascii=False)
    ids = {
        found: str(uuid.uuid5(_IDS, f"{name}/{place}"))
        for place, found in enumerate(dict.fromkeys(_UUID.findall(whole)))
    }
    times = sorted({match[0] for match in _TIME.finditer(whole)}, key=datetime.fromisoformat)
    moments = {
        found: rfc3339(EPOCH + timedelta(seconds=place)) for place, found in enumerate(times)
    }
    days = {(recorded_on + offset * _DAY).isoformat() for offset in (-1, 0, 1)}

    def replace(text: str) -> str:
        if _TIME.fullmatch(text):
            return moments[text]
        if _DATE.fullmatch(text):
            return EPOCH.date().isoformat() if text in days else text
        text = _UUID.sub(lambda match: ids[match[0]], text)
        text = _UNIX_TIME.sub(f"{EPOCH.timestamp():.0f}", text)
        return _SHORT_CODE.sub("!Ab1Cd", text)

    return replace


def _replaced(part: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(part, str):
        return replace(part)
    if isinstance(part, dict):
        return {name: _replaced(each, replace) for name, each in part.items()}
    return [_replaced(each, replace) for each in part] if isinstance(part, list) else part


def _again(record: Record, told: dict[str, Any]) -> Record:
    value = json.dumps(told["body"], ensure_ascii=False, separators=(",", ":")).encode()
    key = told["headers"]["ce_subject"].encode()
    headers = told["headers"]
    raw = tuple((name, text.encode()) for name, text in headers.items())
    if told["derived"]:
        event = decode(key=key, value=value, headers=raw).event
        raw = tuple((n, stable_id(event).encode() if n == "ce_id" else v) for n, v in raw)
    return Record(record.topic, key, value, raw)
