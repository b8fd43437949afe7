"""Records of Kafka as a file of JSON lines, to be read by people and replayed byte for byte.

Each line is one record: `{"topic": …, "key": …, "headers": {…}, "body": …}`. `body` is the event's JSON, or a text
that stands for its bytes as they are; `body_base64` is for bytes that are no text. A body, a key or headers that are
absent are absent in the record.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from pipeline_contracts.envelope import Record


class NotARecord(Exception):  # noqa: N818 - the name of the thing that was read
    """A line that is no record; the message says what is wrong with it."""


def line_of(record: Record) -> str:
    """The line of a record, without its end."""
    told: dict[str, Any] = {"topic": record.topic}
    if record.key is not None:
        told["key"] = record.key.decode(errors="replace")
    told["headers"] = {
        name: (value or b"").decode(errors="replace") for name, value in record.headers
    }
    if record.value is not None:
        told |= _told_body(record.value)
    return json.dumps(told, ensure_ascii=False)


def _told_body(value: bytes) -> dict[str, Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(value).decode()}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {"body": text}
    # Only what comes back to the same bytes may stand as JSON.
    return {"body": body if isinstance(body, dict) and _compact(body) == text else text}


def _compact(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def record_of(line: str) -> Record:
    """The record that a line stands for.

    Raises:
        NotARecord: it stands for none.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise NotARecord("not JSON; write one record as one line of JSON") from None
    if not isinstance(told, dict):
        raise NotARecord('no record; write {"topic": …, "key": …, "headers": {…}, "body": …}')
    topic, key, headers = told.get("topic"), told.get("key"), told.get("headers", {})
    if not isinstance(topic, str) or not topic:
        raise NotARecord('"topic": missing; name the topic, e.g. "pipeline.invoices.v1"')
    if key is not None and not isinstance(key, str):
        raise NotARecord('"key": not a text; write the key as a string')
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        raise NotARecord('"headers": not an object of texts; write {"ce_type": "…", …}')
    try:
        raw = tuple((name, value.encode()) for name, value in headers.items())
        return Record(topic, None if key is None else key.encode(), _value(told), raw)
    except UnicodeEncodeError:
        raise NotARecord("a text in it is no Unicode; write it as base64") from None


def _value(told: dict[str, Any]) -> bytes | None:
    if "body_base64" in told:
        try:
            return base64.b64decode(told["body_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise NotARecord('"body_base64": not base64') from None
    body = told.get("body")
    if body is None:
        return None
    return (body if isinstance(body, str) else _compact(body)).encode()


def records_in(text: str) -> Iterator[tuple[int, Record | NotARecord]]:
    """Every record of a file with the number of its line; empty lines are passed over."""
    # Not `splitlines`, which would also split at U+2028 inside somebody's description.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, record_of(line)
            except NotARecord as error:
                yield number, error
