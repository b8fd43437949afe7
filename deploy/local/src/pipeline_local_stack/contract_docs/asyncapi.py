"""The AsyncAPI 3 document of every topic, made from the models, the topics and the golden records."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pipeline_contracts import EVENT_TYPES, Event
from pipeline_contracts.envelope import MAX_ATTRIBUTE, MAX_EVENT_BYTES
from pipeline_contracts.schemas import reader_schema, schema_id
from pipeline_contracts.topics import EVENT_TOPICS, FOREVER, Topic

Json = dict[str, Any]

_DAY_MS: Final = 24 * 60 * 60 * 1000
_BINDING: Final = "0.5.0"
_PRODUCERS: Final = {
    "pipeline.invoices.v1": "Pipeline's services",
    "pipeline.customers.v1": "Pipeline's services",
    "pipeline.xero.sync.v1": "invoice-sync",
    "pipeline.payments.v1": "payment-ingest",
    "pipeline.xero.connections.v1": "connector",
    "pipeline.xero.changes.v1": "payment-ingest",
}
_FROM_OUTSIDE: Final = {"pipeline.invoices.v1", "pipeline.customers.v1"}

_ABOUT: Final = f"""\
What Pipeline's services and its Xero integration tell each other. Bodies are JSON; the attributes of CloudEvents 1.0 are
Kafka headers (binary mode, `ce_*`). The key of a record is the id of what it is about, so its events stay in order.

**Readers**: an event may come twice (same `ce_source` and `ce_id`); ignore fields, words and `ce_type`s you do not know;
set aside what is no event and go on. **Writers**: no field and no word that is not listed; a body has at most
{MAX_EVENT_BYTES:,} bytes; amounts are decimal strings.

Under one `ce_type` only optional fields and words are added. Anything else is a new type in a topic of the next version.
"""

_HEADERS: Final[Json] = {
    "type": "object",
    "required": ["ce_specversion", "ce_type", "ce_source", "ce_id", "ce_time"],
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0", "description": "Of CloudEvents."},
        "ce_type": {"type": "string", "maxLength": MAX_ATTRIBUTE, "description": "Which event."},
        "ce_source": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ATTRIBUTE,
            "description": "The service that speaks.",
        },
        "ce_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ATTRIBUTE,
            "description": "Unique per source, the same whenever the event is published again: deduplicate on both.",
        },
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened, RFC 3339 in UTC.",
        },
        "ce_subject": {"type": "string", "description": "The key of the record once more."},
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C trace context, if there is one."},
        "ce_traceparent": {"type": "string", "description": "The same, as CloudEvents name it."},
    },
}

_DEAD_LETTER_HEADERS: Final[Json] = {
    "type": "object",
    "description": "The headers as read, and these.",
    "required": ["x-dlq-topic", "x-dlq-partition", "x-dlq-offset", "x-dlq-code", "x-dlq-reason"],
    "properties": {
        "x-dlq-topic": {"type": "string", "description": "Where it was read."},
        "x-dlq-partition": {"type": "string", "description": "Its partition there."},
        "x-dlq-offset": {"type": "string", "description": "Its offset there."},
        "x-dlq-code": {
            "type": "string",
            "description": "Why, for programs, e.g. `PAYLOAD_INVALID`.",
        },
        "x-dlq-reason": {"type": "string", "description": "Why, in words, with the fix."},
    },
}


@dataclass(frozen=True, slots=True)
class Example:
    """A record that was really published, with what is odd about it."""

    name: str
    note: str
    key: str
    headers: Mapping[str, str]
    body: Json


def golden_examples(folder: Path) -> dict[str, list[Example]]:
    """The golden records by event type, the plainest first."""
    found: dict[str, list[Example]] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: (len(path.name), path.name)):
        golden = json.loads(path.read_text(encoding="utf-8"))
        headers = dict(golden["headers"])
        found.setdefault(headers["ce_type"], []).append(
            Example(path.stem, golden["note"], golden["key"], headers, json.loads(golden["value"]))
        )
    return found


def channel_name(topic: Topic) -> str:
    """`pipeline.xero.sync.v1` is `xero-sync`."""
    return "-".join(topic.name.removeprefix("pipeline.").split(".")[:-1])


def kept(retention_ms: int, *, compacted: bool) -> str:
    """How long records are kept, in words."""
    if compacted:
        return "the newest per key, for ever"
    return "for ever" if retention_ms == FOREVER else f"{retention_ms // _DAY_MS} days"


def events_of(topic: Topic) -> list[type[Event]]:
    """The events that a topic carries."""
    return [model for _, model in sorted(EVENT_TYPES.items()) if topic.name == model.TOPIC]


def document(examples: Mapping[str, Sequence[Example]], dead: Sequence[Topic]) -> Json:
    """The document; `dead` are the dead letter topics."""
    channels = {channel_name(topic): _channel(topic) for topic in EVENT_TOPICS}
    channels |= {
        f"{channel_name(topic)}-dead-letters": _dead_letters(topic, letters)
        for topic, letters in zip(EVENT_TOPICS, dead, strict=True)
    }
    schemas: Json = {}
    messages = {
        model.__name__: _message(model, examples[name], schemas)
        for name, model in sorted(EVENT_TYPES.items())
    }
    return {
        "asyncapi": "3.0.0",
        "id": "urn:pipeline:xero",
        "info": {
            "title": "Pipeline ↔ Xero: events",
            "version": version("pipeline-contracts"),
            "description": _ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Pipeline's Kafka.",
                "variables": {"bootstrap": {"default": "kafka:9092"}},
            }
        },
        "channels": channels,
        "operations": dict(_operations()),
        "components": {
            "messages": {**messages, "DeadLetter": _dead_letter()},
            "schemas": {"CloudEventHeaders": _HEADERS, **dict(sorted(schemas.items()))},
        },
    }


def _channel(topic: Topic) -> Json:
    events = events_of(topic)
    return {
        "address": topic.name,
        "title": channel_name(topic),
        "description": f"From {_PRODUCERS[topic.name]}. Kept {kept(topic.retention_ms, compacted=topic.compacted)}.",
        "messages": {
            model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in events
        },
        "bindings": _topic_binding(topic),
    }


def _dead_letters(topic: Topic, letters: Topic) -> Json:
    return {
        "address": letters.name,
        "title": f"{channel_name(topic)}-dead-letters",
        "description": f"What its reader could not use of `{topic.name}`, byte for byte. "
        f"Kept {kept(letters.retention_ms, compacted=False)}.",
        "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
        "bindings": _topic_binding(letters),
    }


def _topic_binding(topic: Topic) -> Json:
    return {
        "kafka": {
            "topic": topic.name,
            "partitions": topic.partitions,
            "topicConfiguration": {
                "cleanup.policy": ["compact" if topic.compacted else "delete"],
                "retention.ms": topic.retention_ms,
                "max.message.bytes": topic.max_message_bytes,
            },
            "bindingVersion": _BINDING,
        }
    }


def _operations() -> Iterator[tuple[str, Json]]:
    for topic in EVENT_TOPICS:
        name = channel_name(topic)
        takes = topic.name in _FROM_OUTSIDE
        yield (
            f"{'receive' if takes else 'send'}-{name}",
            {
                "action": "receive" if takes else "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"{'Publish here' if takes else 'Subscribe here'}: "
                + ", ".join(model.__name__ for model in events_of(topic)),
            },
        )
        yield (
            f"send-{name}-dead-letters",
            {"action": "send", "channel": {"$ref": f"#/channels/{name}-dead-letters"}},
        )


def _message(model: type[Event], examples: Sequence[Example], schemas: Json) -> Json:
    schema = copy.deepcopy(reader_schema(model.TYPE))
    for name, part in schema.pop("$defs", {}).items():
        schemas[name] = _moved(part)
    for unwanted in ("$schema", "$id", "examples"):
        schema.pop(unwanted, None)
    schemas[model.__name__] = _moved(schema)
    return {
        "name": model.TYPE,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/CloudEventHeaders"},
                {"type": "object", "properties": {"ce_type": {"const": model.TYPE}}},
            ]
        },
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "correlationId": {"location": "$message.header#/ce_id"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The `{model.KEY}` of the body."},
                "bindingVersion": _BINDING,
            }
        },
        "x-json-schema": schema_id(model.TYPE),
        "x-key": model.KEY,
        "examples": [
            {
                "name": each.name,
                "summary": each.note,
                "headers": dict(each.headers),
                "payload": each.body,
            }
            for each in examples
        ],
    }


def _moved(schema: Any) -> Any:
    """A schema whose references point at the document's components instead of its own parts."""
    if isinstance(schema, dict):
        return {
            name: part.replace("#/$defs/", "#/components/schemas/")
            if name == "$ref"
            else _moved(part)
            for name, part in schema.items()
        }
    return [_moved(part) for part in schema] if isinstance(schema, list) else schema


def _dead_letter() -> Json:
    return {
        "name": "dead-letter",
        "title": "DeadLetter",
        "summary": "A record that could not be used, byte for byte, with where it stood and why.",
        "contentType": "application/octet-stream",
        "headers": _DEAD_LETTER_HEADERS,
        "payload": {"description": "The bytes as read, whatever they are."},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "As read."},
                "bindingVersion": _BINDING,
            }
        },
    }
