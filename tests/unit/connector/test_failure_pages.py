"""Which page explains what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.failures import (
    PAGES,
    Button,
    Failure,
    failure_of_error,
    failure_of_status,
)

MOVES = ("Your move: ", "Our move: ", "Xero's move: ", "An administrator's move: ")


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_says_what_happened_and_whose_move_it_is(failure):
    page = PAGES[failure]
    assert page.title
    assert page.happened.endswith(".")
    assert page.next_move.startswith(MOVES)
    assert page.button in Button


@pytest.mark.parametrize("failure", list(Failure))
def test_our_own_trouble_never_sends_people_to_connect_again(failure):
    page = PAGES[failure]
    assert not (page.next_move.startswith("Our move") and page.button is Button.CONNECT)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("access_denied", Failure.CANCELLED),
        ("server_error", Failure.XERO_DOWN),
        ("temporarily_unavailable", Failure.XERO_DOWN),
        ("unauthorized_client", Failure.CLIENT_REJECTED),
        ("connection_limit_exceeded", Failure.CONNECTION_CAP),
        ("Maximum connections: limit", Failure.CONNECTION_CAP),
        ("rate_limit", Failure.XERO_REFUSED),
        ("invalid_scope", Failure.XERO_REFUSED),
        ("ACCESS_DENIED", Failure.XERO_REFUSED),
    ],
)
def test_an_error_that_xero_sends_back_has_its_page(error, failure):
    assert failure_of_error(error) is failure


@given(st.text())
def test_no_error_is_without_a_page(error):
    assert failure_of_error(error) in PAGES


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, Failure.NOT_SIGNED_IN),
        (403, Failure.NOT_ALLOWED),
        (404, Failure.NOT_FOUND),
        (405, Failure.REQUEST_REFUSED),
        (413, Failure.REQUEST_REFUSED),
        (422, Failure.REQUEST_REFUSED),
        (429, Failure.TOO_MANY_REQUESTS),
        (500, Failure.UNEXPECTED),
        (503, Failure.UNEXPECTED),
    ],
)
def test_a_refusal_has_the_page_of_its_status(status, failure):
    assert failure_of_status(status) is failure
