"""What a link made by hand starts from, whatever was linked, changed, disputed or refused before."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.blocks import block
from invoice_sync.domain.contact_fields import FIELDS, compare, element_of, held, wanted
from invoice_sync.domain.contact_links import by_hand
from invoice_sync.domain.state import ContactDifference, ContactMapping, Customer
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.wire import XeroContact

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXTS = st.sampled_from(["1", "2", "3"])
SNAPSHOTS = st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS))
LINK = ContactMapping("acc", "ten", "cust-1", "a", None, "user:1")


def contact(snapshot) -> XeroContact:
    return XeroContact.from_json(
        {"ContactID": "a", "ContactStatus": "ACTIVE"} | element_of(snapshot)
    )


def customer(snapshot) -> Customer:
    return Customer("acc", "cust-1", 2, **snapshot)


def former(agreed, base, disputed=()) -> ContactMapping:
    told = tuple(ContactDifference(name, "", "", "") for name in disputed)
    return replace(LINK, agreed=agreed, base=base, differences=told, problem="CONTACT_ARCHIVED")


@given(SNAPSHOTS, SNAPSHOTS, st.booleans())
def test_linking_to_another_contact_pushes_nothing(desired, observed, was_linked):
    before = replace(former(desired, observed), contact_id="b") if was_linked else None
    made = by_hand(LINK, customer(desired), contact(observed), before, NOW)
    found = compare(desired, made.agreed, made.base, observed)
    assert (found.push, found.differences, made.check_at) == ({}, (), None)


@given(SNAPSHOTS, SNAPSHOTS, SNAPSHOTS, SNAPSHOTS)
def test_linking_to_the_same_one_leaves_what_is_on_its_way_and_settles_what_is_disputed(
    desired, agreed, base, observed
):
    before = compare(desired, agreed, base, observed)
    disputed = [each.field for each in before.differences]
    made = by_hand(LINK, customer(desired), contact(observed), former(agreed, base, disputed), NOW)
    after = compare(desired, made.agreed, made.base, observed)
    assert after.push == before.push
    assert after.differences == made.differences == ()
    assert made.problem is None
    if after.push:
        assert made.check_at == NOW


@given(SNAPSHOTS, SNAPSHOTS, SNAPSHOTS)
def test_a_change_that_xero_refused_is_settled_as_xero_has_it(desired, agreed, observed):
    refused = replace(customer(desired), block=block(ProblemCode.CONTACT_NAME_TAKEN))
    made = by_hand(LINK, refused, contact(observed), former(agreed, agreed), NOW)
    assert compare(desired, made.agreed, made.base, observed).push == {}


def test_of_a_customer_nobody_told_of_only_what_xero_holds_is_known():
    snapshot = dict.fromkeys(FIELDS, "1")
    made = by_hand(LINK, None, contact(snapshot), None, NOW)
    assert (made.agreed, made.base) == (None, held(contact(snapshot)))
    assert made.contact_name == "1"
    assert wanted(customer(snapshot)) == snapshot
