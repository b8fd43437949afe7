"""Pipeline's invoice as Xero's, and both as comparable snapshots."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import contacts, mapping
from invoice_sync.domain.mapping import (
    desired_snapshot,
    in_xeros_words,
    invoices_body,
    is_ours,
    marker,
    pair_lines,
    to_xero,
    xero_snapshot,
)
from invoice_sync.domain.state import Block, Customer
from invoice_sync.domain.three_way import Plan, compare
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_xero.documents import XeroInvoice

CONTACT = "5f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"
XERO_ID = "243216c5-369e-4056-ac67-05388f86dc81"


def test_the_payload_names_the_contact_by_id_only(body_of, line_of, settings):
    lines = [
        line_of(
            "1",
            unit_amount="33.33333",
            discount_rate="10",
            account_code="260",
            tax_code="OUTPUT2",
            tax_amount="1.505",
            item_code="CD",
            tracking=[{"category": "Region", "option": "North"}],
        ),
        line_of("2"),
    ]
    sent = json.loads(
        invoices_body(
            [to_xero(body_of(lines=lines, total="1", currency_rate="1.5"), CONTACT, settings)]
        )
    )["Invoices"][0]
    assert sent["Type"] == "ACCREC"
    assert sent["Status"] == "AUTHORISED"
    assert sent["Contact"] == {"ContactID": CONTACT}
    assert (sent["Date"], sent["DueDate"]) == ("2026-03-01", "2026-03-31")
    assert sent["Url"] == "https://app.pipeline.example/accounts/acc-1/invoices/inv-1"
    assert sent["CurrencyRate"] == 1.5
    assert sent["Reference"] == ""
    first, second = sent["LineItems"]
    assert first["UnitAmount"] == 33.3333
    assert first["TaxAmount"] == 1.51
    assert first["TaxType"] == "OUTPUT2"
    assert first["Tracking"] == [{"Name": "Region", "Option": "North"}]
    assert second["AccountCode"] == "200"
    assert "TaxType" not in second
    assert "LineItemID" not in first


@pytest.mark.parametrize(
    ("amounts_are", "tax", "sent"),
    [
        ("tax_exclusive", {}, "NoTax"),
        ("tax_exclusive", {"tax_code": "OUTPUT2"}, "Exclusive"),
        ("tax_exclusive", {"tax_amount": "0"}, "Exclusive"),
        ("tax_inclusive", {}, "Inclusive"),
        ("no_tax", {}, "NoTax"),
    ],
)
def test_amounts_before_a_tax_nobody_names_carry_none(
    body_of, line_of, settings, amounts_are, tax, sent
):
    invoice = body_of(lines=[line_of(**tax)], amounts_are=amounts_are)
    assert to_xero(invoice, CONTACT, settings)["LineAmountTypes"] == sent


def test_our_marker_is_recognised_and_nobody_elses():
    ours = marker("https://app.pipeline.example", "acc/1", "inv 1")
    assert ours == "https://app.pipeline.example/accounts/acc%2F1/invoices/inv%201"
    assert is_ours({"Url": ours}, ours)
    assert is_ours({"Url": ours.upper() + "/"}, ours)
    assert not is_ours({"Url": ours + "0"}, ours)
    assert not is_ours({"Url": None}, ours)
    assert not is_ours({}, ours)


def test_lines_are_paired_by_id_and_new_ones_by_their_order():
    assert pair_lines(["1", "2"], ["a", "b"], {}) == {"1": "a", "2": "b"}
    # New lines stand before the kept ones in Xero's answer.
    assert pair_lines(["1", "3", "2"], ["n", "a", "b"], {"1": "a", "2": "b"}) == {
        "1": "a",
        "2": "b",
        "3": "n",
    }
    assert pair_lines(["2"], ["b"], {"1": "a", "2": "b"}) == {"2": "b"}


def as_xero(body, settings, **changes) -> XeroInvoice:
    """The invoice as Xero would show it: our payload with its ids and defaults."""
    element = json.loads(invoices_body([to_xero(body, CONTACT, settings)]), parse_float=Decimal)[
        "Invoices"
    ][0]
    for position, item in enumerate(element["LineItems"]):
        item["LineItemID"] = f"line-{position}"
        item.setdefault("TaxType", "OUTPUT2")
        item.setdefault("TaxAmount", 0)
    return XeroInvoice.from_json(element | {"InvoiceID": XERO_ID, "Total": body.total} | changes)


def paired(body) -> dict[str, str]:
    return {line.line_id: f"line-{position}" for position, line in enumerate(body.lines)}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
numbers = st.decimals(0, 10**6, places=6)


@given(st.lists(st.tuples(texts, numbers, numbers), min_size=1, max_size=5), texts, texts)
def test_what_was_sent_and_comes_back_is_no_difference(lines, number, reference):
    body = InvoiceCreated(
        account_id="acc-1",
        invoice_id="inv-1",
        version=1,
        invoice_number=number,
        reference=reference,
        customer_id="cust-1",
        issue_date="2026-03-01",
        due_date="2026-03-31",
        currency="NZD",
        amounts_are="tax_inclusive",
        lines=[
            {"line_id": str(place), "description": text, "quantity": quantity, "unit_amount": unit}
            for place, (text, quantity, unit) in enumerate(lines)
        ],
        total="5.00",
    )
    observed = xero_snapshot(
        as_xero(body, mapping.WriteSettings("https://p.example", "200")), paired(body)
    )
    assert compare(None, desired_snapshot(body, CONTACT), observed).plan is Plan.IN_SYNC


def test_payments_and_status_by_payment_are_never_a_difference(body_of, settings):
    body = body_of()
    before = xero_snapshot(as_xero(body, settings), paired(body))
    paid = as_xero(body, settings, Status="PAID", AmountPaid=100, AmountDue=0, SentToContact=True)
    assert xero_snapshot(paid, paired(body)) == before


@pytest.mark.parametrize("status", ["VOIDED", "DELETED"])
def test_a_withdrawn_document_is_a_difference(body_of, settings, status):
    body = body_of()
    gone = xero_snapshot(as_xero(body, settings, Status=status), paired(body))
    assert compare(None, desired_snapshot(body, CONTACT), gone).plan is Plan.CONFLICT


def test_what_pipeline_did_not_change_keeps_xeros_rendition(body_of):
    agreed = desired_snapshot(body_of(reference="a  b"), CONTACT)
    base = {**agreed, "reference": "A B", "line 1: account_code": "200"}
    wanted = desired_snapshot(body_of(reference="a  b", due_date="2026-04-30"), CONTACT)
    ours = in_xeros_words(wanted, agreed, base)
    assert ours["reference"] == "A B"
    assert ours["due_date"] == "2026-04-30"
    assert compare(base, ours, base).plan is Plan.PUSH
    assert {each.field for each in compare(base, ours, base).differences} == {"due_date"}


def test_a_total_that_was_agreed_to_differ_is_no_change_of_ours_until_pipeline_changes_it(body_of):
    agreed = desired_snapshot(body_of(), CONTACT)
    base = {**agreed, "total": "115"}
    assert in_xeros_words(agreed, agreed, base)["total"] == "115"
    assert in_xeros_words({**agreed, "total": "120"}, agreed, base)["total"] == "120"


def test_a_customer_becomes_a_contact_found_by_its_number():
    customer = Customer("a", "cust-1", 1, " Kim  Li ", "k@example.org", "04", "NZ1")
    assert contacts.to_xero(customer) == {
        "Name": "Kim Li",
        "ContactNumber": "cust-1",
        "EmailAddress": "k@example.org",
        "TaxNumber": "NZ1",
        "Phones": [
            {
                "PhoneType": "DEFAULT",
                "PhoneCountryCode": "",
                "PhoneAreaCode": "",
                "PhoneNumber": "04",
            }
        ],
    }


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
def test_contact_numbers_fit_and_tell_customers_apart(one, other):
    numbers = contacts.contact_number(one), contacts.contact_number(other)
    assert all(len(each) <= 50 for each in numbers)
    assert (numbers[0] == numbers[1]) == (one == other)


@pytest.mark.parametrize(
    ("number", "fits"),
    [("cust-1", True), ("a/b", False), ("..", False), (CONTACT, False), ("ä", False)],
)
def test_which_numbers_can_stand_in_a_path(number, fits):
    assert contacts.fits_a_path(number) is fits


def test_a_customers_steps():
    customer = Customer("a", "c", 1, "Kim", attempts=1)
    sent = contacts.sending(customer, 7, 0, "tenant-1")
    assert (sent.intent_id, sent.due_at) == (7, None)
    taken = contacts.taken(sent, ["The contact name Kim is already assigned to another contact."])
    assert taken.intent_id == 7
    assert taken.block.code == "CONTACT_NAME_TAKEN"
    odd = contacts.refused(sent, ["Email address is not valid."])
    assert odd.block.code == "CONTACT_INVALID"
    assert "Email address is not valid" in odd.block.message
    assert contacts.settled(odd) == replace(customer, attempts=0, tenant_id="tenant-1")
    waiting = contacts.waits(sent, Block("NOT_CONNECTED", "m", "h", retryable=False))
    assert waiting.intent_id is None


_NAMES = ("description", "quantity", "account_code")
_LINES = st.dictionaries(
    st.integers(0, 12).map(lambda number: f"line {number}"),
    st.fixed_dictionaries({name: st.sampled_from(["a", "b", None]) for name in _NAMES}),
    max_size=10,
)


def as_snapshot(lines, prefix="line "):
    return {
        f"{key.replace('line ', prefix)}: {name}": value
        for key, fields in lines.items()
        for name, value in fields.items()
    }


def first_free(ours, theirs):
    """What pairing means, said as simply as can be."""
    free, pairs = list(theirs), {}
    for key, wanted in ours.items():
        for other in free:
            if all(value in {None, theirs[other][name]} for name, value in wanted.items()):
                pairs[key] = other
                free.remove(other)
                break
    return pairs


@given(_LINES, _LINES)
def test_lines_are_paired_each_with_the_first_free_one_that_is_equal(ours, theirs):
    told = {
        key.removeprefix("line "): each.removeprefix("line ")
        for key, each in first_free(ours, theirs).items()
    }
    found = mapping.same_lines(as_snapshot(ours), as_snapshot(theirs, "line xero:"))
    assert found == told
    former = as_snapshot(theirs, "line old-")
    replaced = mapping.replaced_lines(as_snapshot(ours), former, former)
    assert replaced == {key: f"old-{each}" for key, each in told.items()}


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.lists(st.sampled_from("uvwxyz"), unique=True),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")),
)
def test_kept_lines_are_known_by_their_ids_and_the_rest_by_their_order(ours, theirs, known):
    found = pair_lines(ours, theirs, known)
    kept = {key: each for key, each in known.items() if key in ours and each in theirs}
    assert found.items() >= kept.items()
    rest = [each for each in theirs if each not in kept.values()]
    assert [found[key] for key in ours if key in found and key not in kept] == rest[
        : len(found) - len(kept)
    ]


def test_five_thousand_lines_on_both_sides_are_paired_in_few_steps():
    """Counted, not timed: each of Xero's lines is looked at once for each kind of line that Pipeline has."""
    lines = {f"line {number}": {"description": f"Work {number}"} for number in range(5_000)}
    looks = 0

    class Counted(dict):
        def get(self, *args):
            nonlocal looks
            looks += 1
            return super().get(*args)

    theirs = {key: Counted(each) for key, each in lines.items()}
    assert len(mapping._paired(lines, theirs)) == 5_000
    assert looks == 5_000
