"""Verdicts of writes sent with summarizeErrors=false."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.outcomes import rejected_elements
from pipeline_xero.wire import ZERO_GUID, ElementStatus, element_result, element_results

NAMED = "ae1e8a3a-5a0c-4f6e-9f3a-000000000001"


@pytest.mark.parametrize(
    ("element", "status", "entity_id"),
    [
        # A plain success leaves StatusAttributeString out (recorded).
        ({"InvoiceID": NAMED, "HasErrors": False}, ElementStatus.OK, NAMED),
        ({"InvoiceID": NAMED, "StatusAttributeString": "OK"}, ElementStatus.OK, NAMED),
        # The published example of an accepted credit note still lists a validation message.
        (
            {
                "InvoiceID": NAMED,
                "StatusAttributeString": "OK",
                "ValidationErrors": [{"Message": "stale"}],
            },
            ElementStatus.OK,
            NAMED,
        ),
        (
            {
                "InvoiceID": NAMED,
                "StatusAttributeString": "WARNING",
                "Warnings": [{"Message": "w"}],
            },
            ElementStatus.WARNING,
            NAMED,
        ),
        # A refused delete echoes the wish, id included.
        (
            {"InvoiceID": NAMED, "Status": "DELETED", "StatusAttributeString": "ERROR"},
            ElementStatus.ERROR,
            None,
        ),
        ({"InvoiceID": ZERO_GUID, "StatusAttributeString": "ERROR"}, ElementStatus.ERROR, None),
        ({"InvoiceID": NAMED, "HasErrors": True}, ElementStatus.ERROR, None),
        ({"InvoiceID": NAMED, "HasValidationErrors": True}, ElementStatus.ERROR, None),
        (
            {"InvoiceID": ZERO_GUID, "ValidationErrors": [{"Message": "m"}]},
            ElementStatus.ERROR,
            None,
        ),
        ({"InvoiceID": ZERO_GUID}, ElementStatus.UNCLEAR, None),
        ({}, ElementStatus.UNCLEAR, None),
        ({"InvoiceID": ZERO_GUID, "StatusAttributeString": "OK"}, ElementStatus.UNCLEAR, None),
        ({"InvoiceID": NAMED, "StatusAttributeString": "PENDING"}, ElementStatus.UNCLEAR, None),
    ],
)
def test_the_verdict(element, status, entity_id):
    result = element_result(element, "Invoices")
    assert (result.status, result.entity_id) == (status, entity_id)
    assert result.accepted == (entity_id is not None)


def test_results_keep_the_order_and_their_messages():
    reply = {
        "Status": "OK",
        "Invoices": [
            {
                "InvoiceID": ZERO_GUID,
                "InvoiceNumber": "INV-1",
                "StatusAttributeString": "ERROR",
                "ValidationErrors": [
                    {"Message": "Invoice # must be unique."},
                    {"Message": "Invoice # must be unique."},
                ],
            },
            {"InvoiceID": NAMED.upper(), "InvoiceNumber": "INV-2"},
        ],
    }
    first, second = element_results(reply, "Invoices", expected=2)
    assert first.errors == ("Invoice # must be unique.",)
    assert first.source["InvoiceNumber"] == "INV-1"
    assert second.entity_id == NAMED


def test_a_missing_element_is_not_guessed():
    with pytest.raises(UnexpectedAnswer, match="2 sent, 1 answered"):
        element_results({"Invoices": [{}]}, "Invoices", expected=2)
    with pytest.raises(UnexpectedAnswer, match="1 sent, 0 answered"):
        element_results({}, "Invoices", expected=1)


def test_the_elements_of_a_refusal():
    problem = {
        "Elements": [
            {"ContactID": ZERO_GUID, "ValidationErrors": [{"Message": "a"}, {"Message": "b"}]},
            {"InvoiceID": NAMED, "ValidationErrors": []},
        ]
    }
    first, second = rejected_elements(problem)
    assert (first.entity_id, first.messages) == (None, ("a", "b"))
    assert (second.entity_id, second.messages) == (NAMED, ())
    assert rejected_elements({}) == ()


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers())


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["InvoiceID", "StatusAttributeString", "HasErrors", "ValidationErrors", "Warnings"]
        ),
        VALUES | st.lists(st.dictionaries(st.just("Message"), VALUES, max_size=1), max_size=3),
    )
)
def test_an_element_is_never_accepted_without_an_id(element):
    try:
        result = element_result(element, "Invoices")
    except UnexpectedAnswer:
        return
    assert result.accepted == (result.entity_id is not None)
