"""Which contact a customer is: exact, unique, or nobody's guess."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.matching import (
    Matched,
    Reason,
    Unmatched,
    match_all,
    normal,
    reasons,
    search_word,
    suggest,
)
from invoice_sync.domain.state import Customer
from pipeline_xero.wire import XeroContact


def contact(contact_id, name="Somebody", **fields) -> XeroContact:
    values = {"status": "ACTIVE", "contact_number": None, "account_number": None, "email": None}
    values |= {"tax_number": None, "merged_to": None, "updated_at": None}
    return XeroContact(contact_id, name, **(values | fields))


def customer(customer_id="cust-1", name="Ridgeway University", **fields) -> Customer:
    return Customer("acc", customer_id, 1, name, **fields)


def only(one, contacts, linked=None):
    return match_all([one], contacts, linked or {})[one.customer_id]


def test_its_number_decides_alone():
    ours = contact("a", "Other Name", contact_number="cust-1")
    namesake = contact("b", "Ridgeway University", email="x@y.example")
    assert only(customer(email="x@y.example"), [namesake, ours]) == Matched(ours)


def test_one_contact_of_its_email_or_name_is_meant():
    by_name = contact("a", "ridgeway  UNIVERSITY")
    by_email = contact("b", email="AP@ridgeway.example")
    assert only(customer(), [by_name, contact("z")]) == Matched(by_name)
    assert only(customer(email="ap@ridgeway.example"), [by_email]) == Matched(by_email)


@pytest.mark.parametrize(
    "contacts",
    [
        [contact("a", "Ridgeway University"), contact("b", email="ap@ridgeway.example")],
        [contact("a", email="ap@ridgeway.example"), contact("b", email="ap@ridgeway.example")],
    ],
    ids=["name and email mean different ones", "two of one email"],
)
def test_several_are_never_guessed_between(contacts):
    found = only(customer(email="ap@ridgeway.example"), contacts)
    assert found == Unmatched(tuple(contacts))


def test_a_contact_that_is_somebody_elses_is_not_taken():
    numbered = contact("a", "Ridgeway University", contact_number="cust-2")
    assert only(customer(), [numbered]) == Unmatched((numbered,))
    linked = contact("b", "Ridgeway University")
    assert only(customer(), [linked], {"b": ["cust-7"]}) == Unmatched((linked,))


def test_an_archived_contact_is_found_by_number_only():
    archived = contact("a", "Ridgeway University", status="ARCHIVED")
    assert only(customer(), [archived]) == Unmatched()
    numbered = replace(archived, contact_number="cust-1")
    assert only(customer(), [numbered]) == Matched(numbered)


def test_two_customers_that_mean_one_contact_both_wait():
    one, other = customer("cust-1"), customer("cust-2")
    found = contact("a", "Ridgeway University")
    assert set(match_all([one, other], [found], {}).values()) == {Unmatched((found,))}


def test_a_contact_that_one_more_customer_may_be_is_nobodys():
    by_name, either = contact("a", "Ridgeway University"), contact("b", email="x@y.example")
    sure, torn = customer("cust-1"), customer("cust-2", email="x@y.example")
    found = match_all([sure, torn], [by_name, either], {})
    assert found == {"cust-1": Unmatched((by_name,)), "cust-2": Unmatched((by_name, either))}


@pytest.mark.parametrize(
    ("ours", "theirs", "is_meant"),
    [
        ({"email": "a@x.example"}, {"email": "b@x.example"}, False),
        ({"email": "a@x.example"}, {"email": " A@x.example"}, True),
        ({"email": "a@x.example"}, {}, True),
        ({}, {"email": "b@x.example"}, True),
        ({"tax_number": "NZ 1-2"}, {"tax_number": "13"}, False),
        ({"tax_number": "NZ 1-2"}, {"tax_number": "12"}, True),
        ({"tax_number": "unknown"}, {"tax_number": "12"}, True),
        (
            {"email": "a@x.example", "tax_number": "1"},
            {"email": "a@x.example", "tax_number": "2"},
            False,
        ),
    ],
)
def test_what_both_have_must_not_contradict_the_match(ours, theirs, is_meant):
    namesake = contact("a", "Ridgeway University", **theirs)
    expected = Matched(namesake) if is_meant else Unmatched((namesake,))
    assert only(customer(**ours), [namesake]) == expected


def test_the_number_needs_no_other_proof():
    ours = contact("a", "Other", contact_number="cust-1", email="b@x.example", tax_number="2")
    rival = customer("cust-2", "Other", email="b@x.example")
    found = match_all([customer(email="a@x.example", tax_number="1"), rival], [ours], {})
    assert found == {"cust-1": Matched(ours), "cust-2": Unmatched((ours,))}


NAMES = st.sampled_from(
    ["Kim Li", "kim  li", "\N{FULLWIDTH LATIN CAPITAL LETTER K}im Li", "Lee", ""]
)
EMAILS = st.sampled_from([None, "", "a@x.example", "A@X.example", "b@x.example"])
NUMBERS = st.sampled_from([None, "c-0", "c-1", "c-2", "other"])
CONTACTS = st.lists(
    st.builds(
        lambda name, email, number, status: (name, email, number, status),
        NAMES,
        EMAILS,
        NUMBERS,
        st.sampled_from(["ACTIVE", "ARCHIVED"]),
    ),
    max_size=5,
).map(
    lambda rows: [
        contact(f"id-{place}", name, email=email, contact_number=number, status=status)
        for place, (name, email, number, status) in enumerate(rows)
    ]
)
CUSTOMERS = st.lists(st.tuples(NAMES, EMAILS), min_size=1, max_size=3).map(
    lambda rows: [
        customer(f"c-{place}", name, email=email) for place, (name, email) in enumerate(rows)
    ]
)
LINKED = st.dictionaries(
    st.sampled_from([f"id-{n}" for n in range(5)]), st.just(["c-9"]), max_size=2
)


@given(CUSTOMERS, CONTACTS, LINKED)
def test_whatever_is_linked_is_exact_unique_and_nobody_elses(customers, contacts, linked):
    verdicts = match_all(customers, contacts, linked)
    chosen = [each.contact.contact_id for each in verdicts.values() if isinstance(each, Matched)]
    assert len(chosen) == len(set(chosen))
    for one in customers:
        verdict = verdicts[one.customer_id]
        if not isinstance(verdict, Matched):
            continue
        why = reasons(one, verdict.contact)
        rivals = [
            each
            for each in contacts
            if each != verdict.contact and Reason.SAME_NUMBER in reasons(one, each)
        ]
        assert not rivals
        if Reason.SAME_NUMBER in why:
            continue
        assert {Reason.SAME_EMAIL, Reason.SAME_NAME} & set(why)
        assert verdict.contact.status == "ACTIVE"
        assert not verdict.contact.contact_number
        assert verdict.contact.contact_id not in linked
        also = [
            each
            for each in contacts
            if each != verdict.contact
            and each.status == "ACTIVE"
            and {Reason.SAME_EMAIL, Reason.SAME_NAME} & set(reasons(one, each))
        ]
        assert not also


@given(CUSTOMERS, CONTACTS, LINKED)
def test_the_order_of_neither_side_matters(customers, contacts, linked):
    expected = match_all(customers, contacts, linked)
    for turned in list(permutations(contacts))[:6]:
        assert match_all(customers[::-1], turned, linked) == expected


@given(CUSTOMERS, CONTACTS, LINKED)
def test_who_else_is_looked_at_can_only_raise_doubts(customers, contacts, linked):
    together = match_all(customers, contacts, linked)
    for one in customers:
        alone = match_all([one], contacts, linked)[one.customer_id]
        assert together[one.customer_id] in (
            alone,
            Unmatched((alone.contact,)) if isinstance(alone, Matched) else alone,
        )
        if isinstance(together[one.customer_id], Matched):
            others = [each for each in customers if each != one]
            why = reasons(one, alone.contact)
            assert Reason.SAME_NUMBER in why or not any(
                {Reason.SAME_EMAIL, Reason.SAME_NAME} & set(reasons(each, alone.contact))
                for each in others
                if not any(Reason.SAME_NUMBER in reasons(each, known) for known in contacts)
            )


@given(CUSTOMERS, CONTACTS)
def test_both_sides_are_compared_in_the_same_way(customers, contacts):
    for one, other in [(each, known) for each in customers for known in contacts]:
        swapped = reasons(
            replace(one, name=other.name or "", email=other.email),
            replace(other, name=one.name, email=one.email),
        )
        assert swapped == reasons(one, other)


@given(st.text())
def test_normal_is_settled(text):
    assert normal(normal(text)) == normal(text)


def test_suggestions_come_with_their_reasons_the_strongest_first():
    one = customer(email="ap@ridgeway.example", tax_number="NZ 1")
    numbered = contact("n", contact_number="cust-1")
    mailed = contact("m", email="AP@ridgeway.example", tax_number="NZ 1")
    similar = contact("s", "Ridgeway Uni. University Ltd")
    archived = contact("x", "Ridgeway University", status="ARCHIVED")
    found = suggest(one, [similar, contact("z", "Unlike"), mailed, archived, numbered, similar])
    assert [(each.contact.contact_id, each.reasons) for each in found] == [
        ("n", (Reason.SAME_NUMBER,)),
        ("m", (Reason.SAME_EMAIL, Reason.SAME_TAX_NUMBER)),
        ("s", (Reason.SIMILAR_NAME,)),
    ]


def test_the_longest_telling_word_is_searched_for():
    assert search_word("The Ridgeway Group Ltd.") == "ridgeway"
    assert search_word("Ltd & Co") is None
