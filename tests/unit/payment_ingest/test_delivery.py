import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_ingest.domain.delivery import DocumentRing, Outcome, Ring, read
from payment_ingest.domain.ledger import Kind

TENANT = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
INVOICE = "44aa0707-f718-4f1c-8d53-f2da9ca59533"

# Byte for byte the form shown in Xero's documentation of webhooks.
DOCUMENTED = (
    b'{"events":[{"resourceUrl":"https://api.xero.com/api.xro/2.0/Invoices/44aa0707-f718-4f1c-8d53-f2da9ca59533",'
    b'"resourceId":"44aa0707-f718-4f1c-8d53-f2da9ca59533","eventDateUtc":"2017-06-21T01:15:39.902",'
    b'"eventType":"UPDATE","eventCategory":"INVOICE","tenantId":"c2cc9b6e-9458-4c7d-93cc-f02b81b0594f",'
    b'"tenantType":"ORGANISATION"}],"lastEventSequence":1,"firstEventSequence":1,"entropy":"S0m3r4Nd0mt3xt"}'
)


def body(*events, **more):
    return json.dumps({"events": list(events), **more}).encode()


def event(**changes):
    return {
        "resourceId": INVOICE,
        "tenantId": TENANT,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": "2026-11-22T01:15:39.902",
        **changes,
    }


def test_the_documented_example_rings_for_its_invoice():
    reading = read(DOCUMENTED)
    assert reading.outcome is Outcome.RUNG
    assert reading.rings == (Ring(TENANT, INVOICE),)
    assert (reading.events, reading.first_sequence, reading.last_sequence) == (1, 1, 1)


def test_intent_to_receive_has_no_events_and_sequence_zero():
    reading = read(b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"X"}')
    assert reading.outcome is Outcome.INTENT
    assert (reading.first_sequence, reading.last_sequence) == (0, 0)


def test_many_rings_for_one_invoice_are_one_and_ids_are_compared_in_lower_case():
    reading = read(
        body(event(), event(resourceId=INVOICE.upper(), tenantId=TENANT.upper()), event())
    )
    assert reading.rings == (Ring(TENANT, INVOICE),)
    assert reading.events == 3


CREATED = datetime(2026, 11, 22, 1, 15, 39, 902000, tzinfo=UTC)


def test_news_of_nothing_but_a_creation_is_told_apart_by_the_last_of_its_dates():
    early = event(eventType="CREATE", eventDateUtc="2026-11-22T01:15:38.000")
    (ring,) = read(body(event(eventType="CREATE"), early)).rings
    assert ring == Ring(TENANT, INVOICE, CREATED)


@pytest.mark.parametrize(
    "other",
    [
        {"eventType": "UPDATE"},
        {"eventType": "MERGE"},
        {"eventType": None},
        {"eventDateUtc": None},
        {"eventDateUtc": "yesterday"},
        {"eventDateUtc": 7},
        {"eventDateUtc": "2026-11-22T01:15:39.902+13:00"},
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_whatever_else_is_said_may_be_a_payment(other, first):
    creation = event(eventType="CREATE")
    other = {**creation, **other}
    events = (other, creation) if first else (creation, other)
    assert read(body(*events)).rings == (Ring(TENANT, INVOICE, None),)


@pytest.mark.parametrize(
    "category", ["CREDITNOTE", "PREPAYMENT", "OVERPAYMENT", "PAYMENT", "payment"]
)
def test_a_document_that_can_move_a_balance_rings_by_itself_and_without_its_id_asks_to_look_around(
    category,
):
    named = event(eventCategory=category)
    reading = read(body(named, named))
    kinds = {
        "CREDITNOTE": Kind.CREDIT_NOTE,
        "PREPAYMENT": Kind.PREPAYMENT,
        "OVERPAYMENT": Kind.OVERPAYMENT,
    }
    kind = kinds.get(category, Kind.PAYMENT)
    assert reading.outcome is Outcome.RUNG
    assert (reading.rings, reading.look_around) == ((), frozenset())
    assert reading.documents == (DocumentRing(TENANT, kind, INVOICE),)
    for nameless in ("42", None, "../Users", INVOICE + "\n"):
        reading = read(body(event(eventCategory=category, resourceId=nameless)))
        assert (reading.documents, reading.look_around) == ((), frozenset({TENANT}))
        assert reading.outcome is Outcome.RUNG


@pytest.mark.parametrize("category", ["CONTACT", "SUBSCRIPTION"])
def test_other_known_categories_need_nothing(category):
    reading = read(body(event(eventCategory=category, tenantType="APPLICATION")))
    assert (reading.outcome, reading.not_understood) == (Outcome.NOTHING, 0)


@pytest.mark.parametrize(
    "odd",
    [
        event(eventCategory="TELEPATHY"),
        event(eventCategory=None),
        event(eventCategory=["INVOICE"]),
        event(tenantId="1234"),
        event(tenantId=None),
        event(resourceId="../Users"),
        event(resourceId=INVOICE + "\n"),
        event(resourceId=INVOICE + "\x00"),
        event(resourceId=7),
        {},
        "INVOICE",
        None,
        [event()],
    ],
)
def test_what_is_not_understood_is_counted_and_the_rest_still_rings(odd):
    reading = read(body(odd, event()))
    assert reading.rings == (Ring(TENANT, INVOICE),)
    assert (reading.events, reading.not_understood) == (2, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"not json",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"events":{}}',
        b'{"events":null}',
        b"[" * 100_000,
        b'{"events":[],"x":' + b"9" * 10_000 + b"}",
    ],
)
def test_a_signed_body_that_is_not_the_documented_json_is_unreadable(raw):
    assert read(raw).outcome is Outcome.UNREADABLE


def test_a_body_of_thousands_of_events_is_read_whole():
    many = [event(resourceId=f"00000000-0000-4000-8000-{number:012d}") for number in range(10_000)]
    assert len(read(body(*many)).rings) == 10_000


@pytest.mark.parametrize("sequence", [True, -1, 2**31, 10**30, "1", 1.5, None])
def test_a_sequence_that_is_none_is_left_out(sequence):
    assert read(body(event(), firstEventSequence=sequence)).first_sequence is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw):
    read(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.lists(
        json_values
        | st.fixed_dictionaries(
            {"tenantId": json_values, "eventCategory": json_values, "resourceId": json_values}
        ),
        max_size=5,
    )
)
def test_no_events_make_it_raise_and_only_ids_come_out(events):
    reading = read(json.dumps({"events": events}).encode())
    assert all(len(ring.tenant_id) == len(ring.xero_invoice_id) == 36 for ring in reading.rings)
    assert reading.events == len(events)
