"""The AsyncAPI document as one page to read: no script, nothing loaded from elsewhere."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

Json = dict[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")


@dataclass(frozen=True, slots=True)
class Field:
    """A line of the table of a message's or a part's fields."""

    name: str
    kind: str
    part: str | None
    required: bool
    description: str


def page(document: Json) -> str:
    """The page of a document as `asyncapi.document` makes it."""
    environment = Environment(
        loader=PackageLoader("pipeline_local_stack.contract_docs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": _words, "json": _json}
    schemas = document["components"]["schemas"]
    return environment.get_template("contracts.html").render(
        info=document["info"],
        paragraphs=document["info"]["description"].strip().split("\n\n"),
        channels=document["channels"],
        messages=document["components"]["messages"],
        headers=list(fields(schemas["CloudEventHeaders"])),
        dead_letter_headers=list(fields(document["components"]["messages"]["DeadLetter"]["headers"])),
        fields=lambda name: list(fields(schemas[name])),
        parts=lambda name: list(_parts(name, schemas)),
    )  # fmt: skip


def fields(schema: Json) -> Iterator[Field]:
    """The fields of an object."""
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        kind, part = kind_of(field)
        yield Field(name, kind, part, name in required, field.get("description", ""))


def kind_of(schema: Json) -> tuple[str, str | None]:
    """What a field holds, in words, and the part it consists of, if it has a name."""
    if "$ref" in schema:
        part = schema["$ref"].rsplit("/", 1)[-1]
        return part, part
    if schema.get("type") == "array":
        kind, part = kind_of(schema["items"])
        return f"list of {kind}", part
    if "const" in schema:
        return f"“{schema['const']}”", None
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if {"string", "number"} <= {each.get("type") for each in choices}:
        return "decimal string", None
    if choices:
        return kind_of(choices[0])
    times = {"date": "date", "date-time": "time"}
    return times.get(schema.get("format", ""), str(schema.get("type", "anything"))), None


def _parts(name: str, schemas: Json, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The named parts of an object, and theirs, in the order they are met."""
    for field in fields(schemas[name]):
        if field.part is not None and field.part not in seen:
            seen |= {field.part}
            yield field.part
            yield from _parts(field.part, schemas, seen)


def _words(text: str) -> Markup:
    """A sentence with its code and its stress marked up."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_STRONG.sub(r"<strong>\1</strong>", marked))  # noqa: S704 - escaped above


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
