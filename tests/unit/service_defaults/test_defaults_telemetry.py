"""Log lines: JSON, allowlisted, redacted, one form for every library."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from pipeline_service_defaults.telemetry import ALLOWED_FIELDS, configure_logging, get_logger


@pytest.fixture
def lines():
    root = logging.getLogger()
    before = (root.handlers, root.level)
    stream = io.StringIO()
    configure_logging("connector", "INFO", extra_fields=("lease_word",), stream=stream)

    def read():
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    read.text = stream.getvalue
    yield read
    root.handlers, root.level = before
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_our_own_lines(lines):
    get_logger("connector.refresh").info("token refreshed", tenant_id="t-1", lease_word="x")
    (line,) = lines()
    assert line["event"] == "token refreshed"
    assert (line["service"], line["level"], line["logger"]) == (
        "connector",
        "info",
        "connector.refresh",
    )
    assert (line["tenant_id"], line["lease_word"]) == ("t-1", "x")
    assert line["timestamp"].endswith("Z")


def test_a_field_not_on_the_list_is_dropped_and_named(lines):
    get_logger("x").info("sent", access_token="hush", invoice_id="i-1", email="a@b.c")
    logging.getLogger("x").info("sent", extra={"refresh_token": "hush", "invoice_id": "i-2"})
    first, second = lines()
    assert (first["invoice_id"], first["dropped"]) == ("i-1", ["access_token", "email"])
    assert (second["invoice_id"], second["dropped"]) == ("i-2", ["refresh_token"])
    assert "hush" not in lines.text()
    assert "a@b.c" not in lines.text()


def test_a_secret_in_an_allowed_text_is_redacted(lines):
    logging.getLogger("x").error("failed for %s", "Bearer abcdefghijk")
    get_logger("x").error("failed", reason="password=hush")
    assert "abcdefghijk" not in lines.text()
    assert "hush" not in lines.text()


def raise_with_secret():
    raise RuntimeError("cannot reach postgresql://app:hush@db/x\nFAKE LINE")


def test_an_exception_is_one_line_and_redacted(lines):
    try:
        raise_with_secret()
    except RuntimeError:
        logging.getLogger("x").exception("failed")
        get_logger("x").exception("failed again")
    assert len(lines()) == 2
    for line in lines():
        assert "RuntimeError" in line["exception"]
    assert "hush" not in lines.text()


def test_nobody_writes_a_line_of_their_own(lines):
    get_logger("x").info('a\r\n{"event": "forged"}\u2028', reason="b\nc")
    assert [line["event"] for line in lines()] == ['a\r\n{"event": "forged"}\u2028']
    assert lines.text().count("\n") == 1


def test_bound_fields_are_on_every_line(lines):
    structlog.contextvars.bind_contextvars(request_id="r-1")
    logging.getLogger("x").info("one")
    structlog.contextvars.unbind_contextvars("request_id")
    logging.getLogger("x").info("two")
    assert [line.get("request_id") for line in lines()] == ["r-1", None]


@pytest.fixture
def after_another_uvicorn():
    """One that was started with a level of its own leaves it behind."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def test_libraries_are_taken_over_and_quiet(after_another_uvicorn, lines):
    for name in ("uvicorn", "uvicorn.error", "faststream", "httpx", "aiokafka"):
        logger = logging.getLogger(name)
        logger.info("about one message")
        logger.warning("%s is unwell", name)
    logging.getLogger("faststream.access.kafka").info("Received")
    logging.getLogger("uvicorn.access").error("GET /x?code=1")
    events = [line["event"] for line in lines()]
    assert [event for event in events if "unwell" in event] == [
        "uvicorn is unwell",
        "uvicorn.error is unwell",
        "faststream is unwell",
        "httpx is unwell",
        "aiokafka is unwell",
    ]
    assert events.count("about one message") == 2  # uvicorn's own two say little and useful things
    assert "Received" not in events
    assert "GET /x?code=1" not in events


def test_the_level_holds(lines):
    logging.getLogger("x").debug("no")
    get_logger("x").debug("no")
    assert lines() == []


def test_no_line_of_ours_loses_a_field():
    lost = [
        f"{file.name}:{call.lineno} {keyword.arg}"
        for folder in ("libs", "services")
        for file in sorted((ROOT / folder).glob("*/src/**/*.py"))
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in LOGGING
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in ALLOWED_FIELDS | {"exc_info"}
    ]
    assert lost == []


ROOT = Path(__file__).resolve().parents[3]
LOGGING = {f"log.{level}" for level in ("debug", "info", "warning", "error", "exception")}
