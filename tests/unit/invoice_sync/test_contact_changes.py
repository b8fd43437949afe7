"""What Pipeline changes in a contact, and what it leaves because somebody edited it in Xero."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.contact_fields import (
    FIELDS,
    compare,
    element_of,
    fields_of,
    held,
    landed,
    wanted,
)
from invoice_sync.domain.contact_health import LOOK_AGAIN, ContactsRead, look_at
from invoice_sync.domain.state import ContactDifference, ContactMapping, Customer
from pipeline_xero.wire import XeroContact

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def fields(**values):
    return dict.fromkeys(FIELDS, "") | values


def contact(contact_id, **values) -> XeroContact:
    return XeroContact.from_json(
        {"ContactID": contact_id, "Name": "Kim Li", "ContactStatus": "ACTIVE"} | values
    )


def mapping(**values) -> ContactMapping:
    known = {"agreed": fields(name="Kim Li"), "base": fields(name="Kim Li")}
    return ContactMapping("acc", "ten", "cust-1", "a", "Kim Li", "x", **(known | values))


CUSTOMER = Customer("acc", "cust-1", 2, "Kim Li")


def test_a_field_that_only_pipeline_changed_is_pushed_and_nothing_else():
    old = fields(name="Kim", email="a@x")
    found = compare(fields(name="Kim", email="b@x"), old, old, old)
    assert (found.push, found.differences) == ({"email": "b@x"}, ())


def test_a_field_edited_in_xero_is_left():
    old = fields(name="Kim")
    assert compare(old, old, old, fields(name="Kim Ltd")).push == {}


def test_a_field_edited_in_both_is_told_and_the_others_go():
    old = fields(name="Kim", phone="1")
    found = compare(fields(name="Kim B", phone="2"), old, old, fields(name="Kim X", phone="1"))
    assert found.push == {"phone": "2"}
    assert found.differences == (ContactDifference("name", "Kim", "Kim B", "Kim X"),)


def test_an_edit_seen_once_is_not_overwritten_by_a_later_change():
    old = fields(name="Kim")
    first = compare(old, old, old, fields(name="Kim X"))
    later = compare(fields(name="Kim B"), first.agreed, first.base, fields(name="Kim X"))
    assert later.push == {}
    assert [each.field for each in later.differences] == ["name"]


def test_nothing_is_pushed_where_it_is_not_known_what_was_agreed():
    found = compare(fields(name="Kim"), None, None, fields(name="Other"))
    assert (found.push, found.differences) == ({}, ())


TEXTS = st.sampled_from(["", "1", "2", "3"])
SNAPSHOTS = st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS))


@given(SNAPSHOTS, SNAPSHOTS, SNAPSHOTS, SNAPSHOTS)
def test_no_edit_of_xero_is_ever_overwritten(desired, agreed, base, observed):
    found = compare(desired, agreed, base, observed)
    disputed = {each.field for each in found.differences}
    for name in FIELDS:
        if name in found.push:
            assert observed[name] == base[name] != desired[name]
            assert desired[name] != agreed[name]
        if observed[name] != base[name] and desired[name] not in {agreed[name], observed[name]}:
            assert name in disputed
    assert disputed.isdisjoint(found.push)


@given(SNAPSHOTS, SNAPSHOTS, SNAPSHOTS, SNAPSHOTS)
def test_after_a_push_both_agree_on_what_was_pushed(desired, agreed, base, observed):
    first = compare(desired, agreed, base, observed)
    after = {**observed, **first.push}
    again = compare(desired, first.agreed, first.base, after)
    assert again.push == {}
    assert again.differences == first.differences


@given(SNAPSHOTS)
def test_fields_go_to_xero_and_come_back(snapshot):
    assert fields_of(element_of(snapshot)) == snapshot
    assert held(XeroContact.from_json(element_of(snapshot))) == snapshot


def test_a_telephone_number_is_read_whole():
    phone = {
        "PhoneType": "DEFAULT",
        "PhoneCountryCode": "64",
        "PhoneAreaCode": "4",
        "PhoneNumber": "5",
    }
    assert (
        held(contact("a", Phones=[{"PhoneType": "FAX", "PhoneNumber": "9"}, phone]))["phone"]
        == "64 4 5"
    )


def test_a_write_is_there_if_xero_holds_what_it_did_not_hold_before():
    before = fields(name="Kim", email="a")
    assert landed({"name": "Li"}, before, fields(name="Li"))
    assert not landed({"name": "Li"}, before, fields(name="Kim"))
    assert landed({"name": "Kim"}, before, fields(name="Kim"))


def test_a_merged_contact_is_followed_to_the_last_one():
    read = ContactsRead(
        {
            "a": contact("a", ContactStatus="ARCHIVED", MergedToContactID="b"),
            "b": contact("b", ContactStatus="ARCHIVED", MergedToContactID="c"),
            "c": contact("c", Name="Kim & Co"),
        }
    )
    look = look_at(mapping(), CUSTOMER, read, NOW, is_shared=False)
    assert (look.mapping.contact_id, look.mapping.contact_name) == ("c", "Kim & Co")
    assert (look.moved_from, look.happening, look.detail) == ("a", "contact_merged", "a -> b -> c")
    assert look.releases
    assert look.push == {}
    assert look.mapping.base == held(read.found["c"])
    assert look.mapping.agreed == wanted(CUSTOMER)


@pytest.mark.parametrize("ends_in", ["a", "gone"])
def test_a_merge_that_leads_nowhere_is_not_followed_for_ever(ends_in):
    read = ContactsRead(
        {
            "a": contact("a", ContactStatus="ARCHIVED", MergedToContactID="b"),
            "b": contact("b", ContactStatus="ARCHIVED", MergedToContactID=ends_in),
        }
    )
    look = look_at(mapping(), CUSTOMER, read, NOW, is_shared=False)
    assert look.mapping.contact_id == "a"
    assert look.mapping.problem in {"CONTACT_ARCHIVED", "CONTACT_NOT_FOUND"}
    assert not look.releases


def test_an_archived_contact_is_looked_at_again_and_told_once():
    read = ContactsRead({"a": contact("a", ContactStatus="ARCHIVED")})
    look = look_at(mapping(), CUSTOMER, read, NOW, is_shared=False)
    assert (look.mapping.problem, look.mapping.check_at) == ("CONTACT_ARCHIVED", NOW + LOOK_AGAIN)
    assert look.happening == "contact_archived"


def test_a_restored_contact_releases_and_gets_what_pipeline_changed_meanwhile():
    held_back = mapping(problem="CONTACT_ARCHIVED", check_at=NOW)
    read = ContactsRead({"a": contact("a")})
    renamed = replace(CUSTOMER, name="Kim Li Ltd")
    look = look_at(held_back, renamed, read, NOW, is_shared=False)
    assert look.releases
    assert look.mapping.problem is None
    assert look.mapping.healed_at == NOW
    assert look.push == {"name": "Kim Li Ltd"}


def test_a_deleted_contact_waits_for_a_person():
    look = look_at(mapping(), CUSTOMER, ContactsRead({}), NOW, is_shared=False)
    assert (look.mapping.problem, look.mapping.check_at) == ("CONTACT_NOT_FOUND", None)
    assert look.happening == "contact_gone"


def test_a_contact_that_cannot_be_read_is_not_called_gone():
    look = look_at(mapping(), CUSTOMER, ContactsRead({}, frozenset({"a"})), NOW, is_shared=False)
    assert look.mapping.problem is None
    assert look.mapping.check_at == NOW + timedelta(hours=1)


def test_a_contact_of_several_customers_or_with_a_write_under_way_is_left():
    read = ContactsRead({"a": contact("a")})
    renamed = replace(CUSTOMER, name="Kim Li Ltd")
    assert look_at(mapping(), renamed, read, NOW, is_shared=True).push == {}
    under_way = replace(renamed, intent_id=7)
    assert look_at(mapping(), under_way, read, NOW, is_shared=False).push == {}
