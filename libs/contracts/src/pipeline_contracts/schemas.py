"""JSON Schemas of the events, for readers and writers without this library.

`python -m pipeline_contracts.schemas --write` renews the committed files, `--publish` also makes them the
last published version, which later changes are held against; without an option the files are compared
with the code.

Of each event there are two. The *reader* schema is the published one: open, it accepts whatever this
library reads. The *writer* schema is closed and says what this library may write; it serves to prove that
each change leaves readers and writers of the last published version working.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pipeline_contracts import EVENT_TYPES
from pipeline_contracts.topics import PUBLIC

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY: Final = Path(__file__).parent / "json_schemas"
"""Where the files lie: `<type>.json` for readers; `published/` has `<type>.{reader,writer}.json` and a catalogue."""

PUBLISHED: Final = "published"
CATALOGUE: Final = f"{PUBLISHED}/catalogue.json"


def schema_id(event_type: str) -> str:
    """The stable `$id` of an event's schema."""
    return f"urn:pipeline:schema:{event_type}"


def reader_schema(event_type: str) -> dict[str, Any]:
    """The schema a reader may hold records of this type against: unknown fields and words pass.

    Raises:
        KeyError: no such event type.
    """
    return _schema(event_type, "validation")


def writer_schema(event_type: str) -> dict[str, Any]:
    """The schema of what this library writes: no other field, no other word.

    Raises:
        KeyError: no such event type.
    """
    schema = _schema(event_type, "serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        part["additionalProperties"] = False
    schema["$id"] += ":writer"
    return schema


def build_event_json_schemas() -> dict[str, dict[str, Any]]:
    """The reader schema of every event by its type."""
    return {event_type: reader_schema(event_type) for event_type in sorted(EVENT_TYPES)}


def _schema(event_type: str, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    schema = EVENT_TYPES[event_type].model_json_schema(mode=mode)
    for part in (schema, *schema.get("$defs", {}).values()):
        for field in part["properties"].values():
            # "Account Id" for account_id tells nobody anything; the description does.
            field.pop("title", None)
    return {"$schema": DIALECT, "$id": schema_id(event_type), **schema}


def files() -> dict[str, str]:
    """Every current file by its name relative to `DIRECTORY`, with its text."""
    return {f"{name}.json": _text(schema) for name, schema in build_event_json_schemas().items()}


def catalogue() -> dict[str, Any]:
    """Where each event is found and what keys it, and how each topic is made."""
    return {
        "events": {
            event_type: {"topic": model.TOPIC, "key": model.KEY}
            for event_type, model in sorted(EVENT_TYPES.items())
        },
        "topics": {
            topic.name: {
                "partitions": topic.partitions,
                "compacted": topic.compacted,
                "retention_ms": topic.retention_ms,
                "max_message_bytes": topic.max_message_bytes,
            }
            for topic in PUBLIC
        },
    }


def published_files() -> dict[str, str]:
    """The files of a published version, were the present state published."""
    return {CATALOGUE: _text(catalogue())} | {
        f"{PUBLISHED}/{event_type}.{role}.json": _text(schema)
        for event_type in sorted(EVENT_TYPES)
        for role, schema in (
            ("reader", reader_schema(event_type)),
            ("writer", writer_schema(event_type)),
        )
    }


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def differences(directory: Path) -> Iterator[str]:
    """One sentence for each file in `directory` that is not what the code says."""
    expected = files()
    for name, text in expected.items():
        path = directory / name
        if not path.exists():
            yield f"{name} is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{name} is not what the code says"
    for path in sorted(directory.glob("*.json")):
        if path.name not in expected:
            yield f"{path.name} belongs to no event"


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write, publish or compare the files; 0 if they agree with the code afterwards."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_contracts.schemas")
    parser.add_argument("--write", action="store_true", help="renew the files from the code")
    parser.add_argument(
        "--publish", action="store_true", help="renew them and make them the last published version"
    )
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where the files lie")
    options = parser.parse_args(arguments)
    if options.write or options.publish:
        _write(options.directory, files())
    if options.publish:
        _write(options.directory, published_files())
    found = list(differences(options.directory))
    if found:
        fix = "run `python -m pipeline_contracts.schemas --write`"
        sys.stderr.write("\n".join(found) + f"\n{fix}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
