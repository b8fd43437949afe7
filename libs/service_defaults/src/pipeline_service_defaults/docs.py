"""A readable page of the HTTP interface at ``/docs``: one self-contained document, no script, nothing loaded from
anywhere. ``/openapi.json`` beside it is for programs.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response

from pipeline_service_defaults.problems import MEDIA_TYPE

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
code,.path{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
section{border-top:1px solid #8886;padding:.75rem 0}
h2{font-size:1.05rem;margin:.25rem 0}
.method{display:inline-block;min-width:4.5rem;font-weight:700}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0}
th{font-weight:600}p{margin:.35rem 0}.lock{border:1px solid #8886;border-radius:.3rem;padding:0 .4rem;font-size:.85rem}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
PROBLEM_CONTENT: Final[dict[str, Any]] = {"schema": {"$ref": "#/components/schemas/Problem"}}
PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "An error in words (RFC 9457); more members may follow.",
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "description": "the kind of problem, as a URN"},
        "title": {"type": "string", "description": "the kind of problem, in words"},
        "status": {"type": "integer", "description": "the HTTP status"},
        "code": {"type": "string", "description": "the kind of problem, as a stable word"},
        "detail": {"type": "string", "description": "what happened this time"},
        "hint": {"type": "string", "description": "the next step"},
    },
}
_METHODS = ("get", "put", "post", "delete", "patch")


def install(app: FastAPI) -> None:
    """Add ``/docs`` and ``/openapi.json``; create the application with ``docs_url=None, openapi_url=None``."""

    async def page() -> Response:
        return HTMLResponse(render(described(app)), headers={"Content-Security-Policy": POLICY})

    async def document() -> Response:
        return JSONResponse(described(app))

    app.add_api_route("/docs", page, include_in_schema=False)
    app.add_api_route("/openapi.json", document, include_in_schema=False)


def described(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document, with the errors that are answered for every route in the same way."""
    document = copy.deepcopy(app.openapi())
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI describes its own form of 422, which `problems` replaces.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe_errors(path, operation)
    return document


def _describe_errors(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "4XX" in responses:
        # The route describes all of its refusals together; FastAPI's 422 is one of them.
        responses.pop("422", None)
        return
    for status, words in _errors_of(path, operation):
        responses.setdefault(status, {"description": words})
    for status, answer in responses.items():
        if status[0] in "45" and (status == "422" or "content" not in answer):
            answer["content"] = {MEDIA_TYPE: PROBLEM_CONTENT}


def _errors_of(path: str, operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What routes answer before their own code runs."""
    if operation.get("security"):
        yield "401", "No valid token."
        yield "403", "Not for this caller."
        if "{account_id}" in path:
            yield "404", "There is no such account, for this caller."
    # Where FastAPI reads the body, it documents 422; a route of raw ASGI describes itself.
    if "requestBody" in operation and "422" in operation["responses"]:
        yield "400", "The body cannot be read."
        yield "413", "The body is too large."


def render(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document.get("info", {})
    title = _text(info.get("title", "API"))
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        _paragraphs(info.get("description")),
        "<p>For programs: <a href=/openapi.json>openapi.json</a>. Errors are problem documents (RFC 9457).</p>",
    ]
    for path, operations in document.get("paths", {}).items():
        for method in _METHODS:
            if method in operations:
                parts.extend(_operation(path, method, operations[method]))
    parts.extend(_schemas(document))
    return "".join(parts)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    lock = " <span class=lock>token needed</span>" if operation.get("security") else ""
    yield f"<section><h2><span class=method>{method.upper()}</span> <span class=path>{_text(path)}</span>{lock}</h2>"
    yield f"<p><b>{_text(operation.get('summary', ''))}</b></p>"
    yield _paragraphs(operation.get("description"))
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter<th>In<th>Type<th>Meaning"
        for item in parameters:
            needed = "" if item.get("required") else " (optional)"
            yield (
                f"<tr><td><code>{_text(item['name'])}</code>{needed}<td>{_text(item['in'])}"
                f"<td>{_type(item.get('schema', {}))}<td>{_text(item.get('description', ''))}"
            )
        yield "</table>"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{_text(media)}</code> {_type(content.get('schema', {}))}</p>"
    yield "<table><tr><th>Answer<th>Meaning<th>Body"
    for status, answer in operation.get("responses", {}).items():
        bodies = ", ".join(
            _type(item.get("schema", {})) for item in answer.get("content", {}).values()
        )
        yield f"<tr><td>{_text(status)}<td>{_text(answer.get('description', ''))}<td>{bodies}"
    yield "</table></section>"


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield f"<section id='{_text(name)}'><h2><code>{_text(name)}</code></h2>"
        yield _paragraphs(schema.get("description"))
        if properties := schema.get("properties"):
            required = set(schema.get("required", ()))
            yield "<table><tr><th>Field<th>Type<th>Meaning"
            for field, inner in properties.items():
                needed = "" if field in required else " (optional)"
                yield (
                    f"<tr><td><code>{_text(field)}</code>{needed}<td>{_type(inner)}"
                    f"<td>{_text(inner.get('description', ''))}"
                )
            yield "</table>"
        elif "enum" in schema:
            yield f"<p>{_type(schema)}</p>"
        yield "</section>"


def _type(schema: Mapping[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = _text(str(reference).rsplit("/", 1)[-1])
        return f"<a href='#{name}'>{name}</a>"
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(item) for item in alternatives)
    if "enum" in schema:
        return " | ".join(f"<code>{_text(item)}</code>" for item in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("format") or schema.get("type") or "any"
    return _text(kind)


def _paragraphs(value: Any) -> str:
    blocks = str(value or "").split("\n\n")
    return "".join(f"<p>{_text(block)}</p>" for block in blocks if block.strip())


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)
