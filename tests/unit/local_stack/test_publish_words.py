"""What a person who publishes by hand is told before anything is published."""

import sys
from decimal import Decimal

import httpx
import pytest

from pipeline_local_stack import publish
from pipeline_local_stack.paths import StackError


@pytest.mark.parametrize("text", ["abc", "", "1,000.00", "NaN", "Infinity", "12 NZD"])
def test_what_is_no_amount_is_named_with_an_example(monkeypatch, capsys, text):
    arguments = ["publish", "--number", "N-1", "--customer", "X", f"--amount={text}"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert publish.main() == 1
    told = capsys.readouterr().err
    assert told == f"Not published: --amount is {text!r}; give a plain number such as 115.00.\n"


def test_an_amount_is_taken_as_it_is_typed():
    assert publish.amount_of("115.00") == Decimal("115.00")


def test_a_number_that_was_published_before_is_refused():
    with pytest.raises(StackError, match=r"inv-1 was published before and is synced; choose"):
        publish.check_is_new("inv-1", httpx.Response(200, json={"state": "synced"}))
    publish.check_is_new("inv-1", httpx.Response(404))


def test_what_no_invoice_can_hold_is_named(monkeypatch, capsys):
    stack = {
        "account_id": "demo",
        "urls": {"invoice-sync": "http://127.0.0.1:1"},
        "admin_session_token": "t",
    }
    monkeypatch.setattr(publish, "read_stack_file", lambda: stack)
    arguments = ["publish", "--number", "N" * 300, "--customer", "X", "--amount", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert publish.main() == 1
    told = capsys.readouterr().err
    assert told.startswith("Not published: invoice_id: ")
    assert "errors.pydantic.dev" not in told


def test_who_publishes_for_an_unknown_customer_is_told_what_links_it_and_where_the_id_is_found():
    told = publish.how_to_link("http://localhost:1", "demo", "cust-ridge", "Ridge & Co")
    path = "http://localhost:1/v1/accounts/demo/contact-mappings/cust-ridge"
    assert f"GET {path}/suggestions?name=Ridge%20%26%20Co" in told
    assert f'PUT {path} with {{"contact_id": ' in told
