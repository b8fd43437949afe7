"""The chain of changed settings, and the start date."""

from dataclasses import replace
from datetime import date

import pytest

from invoice_sync.domain import lifecycle
from invoice_sync.domain.account_settings import AccountSettings, SettingChange, change_hash
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.confirm import Seen
from invoice_sync.domain.mapping import desired_snapshot, xero_snapshot
from invoice_sync.domain.outcome import Answer, may_still_land
from invoice_sync.domain.plan import Compare, Create, Known, Stop, decide
from invoice_sync.domain.state import Account, ContactMapping, Intent, IntentRef, Link, State
from invoice_sync.domain.update import Push, judge, look
from pipeline_xero.wire import XeroInvoice

CONTACT = "00000000-0000-0000-0000-0000000000c1"


@pytest.fixture
def change(now):
    return SettingChange("acc-1", 2, now, "user:u", "settings", "{}", '{"a": 1}', b"before")


@pytest.mark.parametrize(
    "tampered",
    [
        {"account_id": "acc-2"},
        {"sequence": 3},
        {"actor": "user:x"},
        {"subject": "account:200"},
        {"before": None},
        {"after": None},
        {"previous_hash": b"other"},
        {"previous_hash": None},
    ],
)
def test_nothing_of_a_change_can_be_altered_without_breaking_its_link(change, tampered):
    assert change_hash(replace(change, **tampered)) != change_hash(change)
    assert change_hash(replace(change)) == change_hash(change)


def known(account, settings, now, *, links=None, **chosen):
    mapped = ContactMapping("acc-1", "tenant-1", "cust-1", CONTACT, "Kim", "x")
    terms = Terms(AccountSettings(**chosen), "200")
    return Known(account, {"cust-1": mapped}, {}, links or {}, settings, terms, now)


def test_an_invoice_before_the_start_date_says_so_with_both_dates(row_of, account, settings, now):
    around = known(account, settings, now, start_date=date(2026, 3, 2))
    decision = decide(row_of(), around)
    assert isinstance(decision, Stop)
    told = decision.step.row.block
    assert told.code == "BEFORE_START_DATE"
    assert "2026-03-01" in told.message
    assert "2026-03-02" in told.message
    assert "start date" in told.hint


def test_on_the_start_date_it_is_sent_with_its_prefix(row_of, account, settings, now):
    around = known(account, settings, now, start_date=date(2026, 3, 1), number_prefix="PL-")
    decision = decide(row_of(), around)
    assert isinstance(decision, Create)
    assert decision.element["InvoiceNumber"] == "PL-INV-1"
    assert '"PL-INV-1"' in decision.sent


def test_what_may_be_in_xero_keeps_its_prefix_and_what_was_refused_takes_the_new_one(
    row_of, account, settings, now
):
    around = known(account, settings, now, number_prefix="B-")
    unknown = row_of(number_prefix="A-", state=State.SYNCING)
    assert decide(unknown, around).element["InvoiceNumber"] == "A-INV-1"
    refused = lifecycle.refused_with(unknown, ["Invoice # must be unique."], now).row
    assert "A-INV-1" in refused.block.message
    assert decide(refused, around).element["InvoiceNumber"] == "B-INV-1"
    in_xero = row_of(number_prefix="A-", synced_version=1, version=2)
    assert lifecycle.refused_with(in_xero, ["No."], now).row.number_prefix == "A-"


def test_an_absent_write_with_a_prefix_is_not_taken_for_a_renumbered_one(row_of, body_of, now):
    intent = Intent(1, "acc-1", "t", "create", "PUT", "Invoices", b"", "k", now, True, 0, now)
    sent = body_of(invoice_number="A-INV-1").model_dump_json()
    row = row_of(sent=sent, number_prefix="A-", intent=IntentRef(1, 0, 1))
    answer = Answer(Account("acc-1"), intent, "https://go.xero.com", now)
    assert not may_still_land(row, [], answer)
    assert may_still_land(replace(row, invoice_number="INV-2"), [], answer)


def test_what_is_in_xero_goes_on_whatever_the_start_date(row_of, account, settings, now):
    link = Link("acc-1", "inv-1", "tenant-1", CONTACT, "INV-1", "AUTHORISED", {}, {}, {}, {}, now)
    around = known(account, settings, now, links={"inv-1": link}, start_date=date(2027, 1, 1))
    assert isinstance(decide(row_of(version=2, synced_version=1), around), Compare)


@pytest.mark.parametrize(("version", "pushes"), [(1, False), (2, True)])
def test_mapping_a_code_anew_changes_an_invoice_in_xero_with_its_next_version_only(
    row_of, body_of, line_of, account, now, version, pushes
):
    body = body_of(lines=[line_of(account_code="200")])
    agreed = desired_snapshot(body, CONTACT)
    anew = body_of(lines=[line_of(account_code="260")])
    read = XeroInvoice.from_json(
        {
            "InvoiceID": CONTACT,
            "InvoiceNumber": "INV-1",
            "Type": "ACCREC",
            "Status": "AUTHORISED",
            "Contact": {"ContactID": CONTACT},
            "DateString": "2026-03-01T00:00:00",
            "DueDateString": "2026-03-31T00:00:00",
            "CurrencyCode": "NZD",
            "LineAmountTypes": "NoTax",
            "Total": 100,
            "LineItems": [
                {
                    "LineItemID": "l-1",
                    "Description": "Work",
                    "Quantity": 2,
                    "UnitAmount": 50,
                    "AccountCode": "200",
                    "TaxType": "NONE",
                    "TaxAmount": 0,
                }
            ],
        }
    )
    in_xero = xero_snapshot(read, {"1": "l-1"})
    link = Link(
        "acc-1",
        "inv-1",
        "tenant-1",
        CONTACT,
        "INV-1",
        "AUTHORISED",
        {"1": "l-1"},
        agreed,
        in_xero,
        in_xero,
        now,
    )
    seen = Seen(read, account, "tenant-1", "https://go.xero.com", now)
    found = look(row_of(version=version, synced_version=1), link, anew, CONTACT, seen)
    verdict = judge(found, seen)
    assert isinstance(verdict, Push) is pushes
    assert pushes or verdict.row.state is State.SYNCED
