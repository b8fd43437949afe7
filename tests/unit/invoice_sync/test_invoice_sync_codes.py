"""Pipeline's codes in Xero's words, and what Xero's lists say to them."""

from datetime import timedelta
from decimal import Decimal

import pytest

from invoice_sync.domain import codes
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.blocks import block
from invoice_sync.domain.codes import CodeKind, CodeList, CodeListing, Standing, Terms
from invoice_sync.domain.plan import Create, Reread, Stop
from invoice_sync.domain.state import State
from pipeline_contracts.problems import ProblemCode

ENTRIES = {
    CodeKind.ACCOUNT: {"200": ("REVENUE",), "310": ("EXPENSE",), "abc": ()},
    CodeKind.TAX: {"output2": ("REVENUE", "ASSET"), "input2": ("EXPENSE",)},
    CodeKind.TRACKING: {"region: north": ()},
    CodeKind.ITEM: {"cd": ()},
}


def terms(now, *, mappings=None, kinds=tuple(CodeKind), read=None, tried=None, **settings):
    lists = {kind: CodeList(ENTRIES[kind], read or now, tried or read or now) for kind in kinds}
    return Terms(AccountSettings(**settings), "200", mappings or {}, lists)


def taxed(body_of, *lines, total="115.00", amounts_are="tax_exclusive"):
    return body_of(lines=list(lines), amounts_are=amounts_are, total=total)


def found(body, known):
    return [(each.code, *each.facts.values(), each.fixes) for each in codes.unmapped(body, known)]


UNUSABLE = [
    ({"account_code": "999"}, ProblemCode.ACCOUNT_NOT_MAPPED, "999 on line 1 (Work)", ("account:999",)),
    ({"tax_code": "GST"}, ProblemCode.TAX_NOT_MAPPED, "GST on line 1 (Work)", ("tax:GST",)),
    (
        {"tax_code": "INPUT2"},
        ProblemCode.TAX_NOT_MAPPED,
        "INPUT2 on line 1 (Work)",
        ("tax:INPUT2", "account:"),
    ),
    (
        {"tax_code": "OUTPUT2", "account_code": "310"},
        ProblemCode.TAX_NOT_MAPPED,
        "OUTPUT2 on line 1 (Work)",
        ("tax:OUTPUT2", "account:310"),
    ),
    (
        {"tax_code": "OUTPUT2", "tracking": [{"category": "Region", "option": "West"}]},
        ProblemCode.TRACKING_NOT_MAPPED,
        "Region: West on line 1 (Work)",
        ("tracking:Region: West",),
    ),
    ({"tax_code": "OUTPUT2", "item_code": "LP"}, ProblemCode.ITEM_NOT_MAPPED, "LP on line 1 (Work)", ("item:LP",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "told", "fixes"), UNUSABLE, ids=lambda each: str(each)[:40]
)
def test_a_code_xero_lacks_is_named_with_its_line_and_what_releases_it(
    body_of, line_of, now, line, code, told, fixes
):
    assert found(taxed(body_of, line_of(**line)), terms(now)) == [(code, told, fixes)]
    (first,) = codes.unmapped(taxed(body_of, line_of(**line)), terms(now))
    assert told in block(first.code, **first.facts).message


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"tax_code": "OUTPUT2", "account_code": "200"},
        {"tax_code": "output2", "account_code": "ABC"},
        {"tax_code": "NONE"},
        {"tax_code": "OUTPUT2", "item_code": "CD", "tracking": [{"category": "region", "option": "NORTH"}]},
    ],
)  # fmt: skip
def test_codes_xero_has_stop_nothing(body_of, line_of, now, line):
    assert found(taxed(body_of, line_of(**line)), terms(now)) == []


def test_a_kind_that_was_never_read_stops_nothing(body_of, line_of, now):
    line = line_of(account_code="999", tax_code="GST", item_code="LP")
    assert found(taxed(body_of, line), terms(now, kinds=())) == []
    assert [
        each[0] for each in found(taxed(body_of, line), terms(now, kinds=(CodeKind.ITEM,)))
    ] == [ProblemCode.ITEM_NOT_MAPPED]


def test_the_tax_of_an_invoice_without_tax_is_of_no_account(body_of, line_of, now):
    body = body_of(lines=[line_of(tax_code="GST")])
    assert found(body, terms(now)) == []


def test_the_second_bad_line_is_named_as_such(body_of, line_of, now):
    lines = [line_of("a", account_code="200"), line_of("b", account_code="999", description=" ")]
    ((_, told, _),) = found(body_of(lines=lines), terms(now))
    assert told == "999 on line 2 (b)"


def test_a_default_account_xero_lacks_is_called_the_default(body_of, line_of, now):
    known = Terms(AccountSettings(), "205", {}, terms(now).lists)
    assert found(body_of(lines=[line_of()]), known) == [
        (ProblemCode.ACCOUNT_NOT_MAPPED, "205 (the default) on line 1 (Work)", ("account:",))
    ]


def test_mapped_codes_go_by_xeros_name_and_are_looked_for_there(body_of, line_of, now):
    mappings = {
        (CodeKind.ACCOUNT, "SALES"): "200",
        (CodeKind.TAX, "GST"): "OUTPUT2",
        (CodeKind.ITEM, "DISC"): "CD",
        (CodeKind.TRACKING, "Area: N"): "Region: North",
    }
    known = terms(now, mappings=mappings)
    tracking = [{"category": "Area", "option": "N"}]
    line = line_of(account_code="SALES", tax_code="GST", item_code="DISC", tracking=tracking)
    body = taxed(body_of, line)
    assert found(body, known) == []
    (sent,) = codes.in_xeros_codes(body, known, "").lines
    assert (sent.account_code, sent.tax_code, sent.item_code) == ("200", "OUTPUT2", "CD")
    assert [(each.category, each.option) for each in sent.tracking] == [("Region", "North")]
    gone = terms(now, mappings={**mappings, (CodeKind.ACCOUNT, "SALES"): "999"})
    ((_, told, fixes),) = found(body, gone)
    assert (told, fixes) == ("SALES (in Xero 999) on line 1 (Work)", ("account:SALES",))


def test_nothing_to_rename_is_the_very_same_invoice(body_of, line_of, now):
    body = taxed(body_of, line_of(tax_code="OUTPUT2", account_code="200"))
    assert codes.in_xeros_codes(body, terms(now), "") is body


def test_the_prefix_comes_before_the_number_but_makes_none_of_a_blank_one(body_of, now):
    assert codes.in_xeros_codes(body_of(), terms(now), "PL-").invoice_number == "PL-INV-1"
    blank = body_of(invoice_number=" ")
    assert codes.in_xeros_codes(blank, terms(now), "PL-").invoice_number == " "


@pytest.mark.parametrize(
    ("amounts_are", "total", "lines", "expected"),
    [
        ("tax_exclusive", "115.00", [{}], ["OUTPUT2"]),
        ("tax_exclusive", "100.00", [{}], [None]),
        ("tax_inclusive", "100.00", [{}], ["OUTPUT2"]),
        ("no_tax", "100.00", [{}], [None]),
        ("tax_exclusive", "215.00", [{"tax_code": "NONE"}, {}], ["NONE", "OUTPUT2"]),
        ("tax_exclusive", "115.00", [{"tax_amount": "15.00"}], ["OUTPUT2"]),
    ],
)
def test_the_default_tax_is_for_invoices_whose_total_has_tax(
    body_of, line_of, now, amounts_are, total, lines, expected
):
    body = body_of(lines=[line_of(**each) for each in lines], amounts_are=amounts_are, total=total)
    sent = codes.in_xeros_codes(body, terms(now, default_tax_type="OUTPUT2"), "")
    assert [each.tax_code for each in sent.lines] == expected


@pytest.mark.parametrize(
    ("read", "tried", "standing"),
    [
        (timedelta(0), timedelta(0), Standing.FRESH),
        (timedelta(minutes=4), timedelta(minutes=4), Standing.FRESH),
        (timedelta(hours=1), timedelta(hours=1), Standing.OLD),
        (timedelta(hours=1), timedelta(minutes=1), Standing.UNREADABLE),
    ],
)
def test_only_a_fresh_list_is_believed(decide_on, body_of, line_of, now, read, tried, standing):
    known = terms(now, read=now - read, tried=now - tried)
    body = body_of(lines=[line_of(account_code="999")])
    assert known.lists[CodeKind.ACCOUNT].standing(now) is standing
    decided = decide_on(body, known)
    match standing:
        case Standing.FRESH:
            assert isinstance(decided, Stop)
            assert decided.step.row.state is State.FAILED
            assert decided.step.row.block.waits_for == ("account:999",)
        case Standing.OLD:
            assert decided == Reread(CodeKind.ACCOUNT)
        case Standing.UNREADABLE:
            assert isinstance(decided, Create)


def test_what_xero_refused_waits_for_the_code_it_named_or_for_all_of_the_kind(
    body_of, line_of, now
):
    lines = [line_of("1", account_code="A"), line_of("2", account_code="B"), line_of("3")]
    known = terms(now, mappings={(CodeKind.ACCOUNT, "B"): "260"})
    body = body_of(lines=lines)
    code = ProblemCode.ACCOUNT_NOT_MAPPED
    assert codes.candidates(body, code, {"account_code": "260"}, known) == ("account:B",)
    assert codes.candidates(body, code, {}, known) == ("account:", "account:A", "account:B")


def test_a_reading_releases_what_is_there_now_and_was_not_before(now):
    known = terms(now, mappings={(CodeKind.ACCOUNT, "SALES"): "260"})
    waited = [
        "account:SALES",
        "account:200",
        "account:999",
        "item:LP",
        "tracking:Region: North",
        "tax:INPUT2",
    ]
    read = {
        CodeKind.ACCOUNT: CodeListing({**ENTRIES[CodeKind.ACCOUNT], "260": ("REVENUE",)}),
        CodeKind.TAX: CodeListing({"input2": ("EXPENSE", "REVENUE")}),
        CodeKind.TRACKING: CodeListing(ENTRIES[CodeKind.TRACKING]),
    }
    # 200 was there before: Xero refused it all the same, and the same list again is no news.
    assert codes.newly_usable(waited, known, read) == ["account:SALES", "tax:INPUT2"]
    never_read = terms(now, kinds=())
    assert "account:200" in codes.newly_usable(waited, never_read, read)


def test_what_xeros_lists_hold_that_a_line_may_name():
    accounts = [
        {"Code": "200", "Status": "ACTIVE", "Type": "REVENUE", "Class": "REVENUE"},
        {"Code": "201", "Status": "ARCHIVED", "Type": "REVENUE", "Class": "REVENUE"},
        {"Code": "090", "Status": "ACTIVE", "Type": "BANK", "Class": "ASSET"},
        {"Code": "610", "Type": "CURRENT", "SystemAccount": "DEBTORS"},
        {"Type": "BANK"},
        {"Code": "Ab1"},
    ]
    assert codes.entries_of(CodeKind.ACCOUNT, accounts) == {"200": ("REVENUE",), "ab1": ()}
    rates = [
        {"TaxType": "OUTPUT2", "Status": "ACTIVE", "CanApplyToExpenses": False},
        {"TaxType": "OLD", "Status": "DELETED"},
    ]
    found = codes.entries_of(CodeKind.TAX, rates)
    assert found == {"output2": ("ASSET", "EQUITY", "LIABILITY", "REVENUE")}
    tracking = [
        {
            "Name": "Region",
            "Status": "ACTIVE",
            "Options": [
                {"Name": "North", "Status": "ACTIVE"},
                {"Name": "Old", "Status": "ARCHIVED"},
            ],
        },
        {"Name": "Gone", "Status": "ARCHIVED", "Options": [{"Name": "X"}]},
        {"Name": "Empty", "Options": None},
    ]
    assert codes.entries_of(CodeKind.TRACKING, tracking) == {"region: north": ()}
    assert codes.entries_of(CodeKind.ITEM, [{"Code": "CD"}, {"Name": "no code"}]) == {"cd": ()}


def test_the_rate_of_a_tax_is_kept_where_it_can_be_reckoned_with():
    one = {"TaxComponents": [{"Name": "GST", "Rate": 15}]}
    two = {"TaxComponents": [{"Name": "GST", "Rate": 5}, {"Name": "PST", "Rate": 7}]}
    listed = [
        {"TaxType": "OUTPUT2", "EffectiveRate": Decimal("15.0000"), **one},
        {"TaxType": "CA", "EffectiveRate": Decimal("12.35"), **two},
        {"TaxType": "PLAIN", "EffectiveRate": 0},
        {"TaxType": "ODD", "EffectiveRate": -1},
        {"TaxType": "NO RATE"},
        {"EffectiveRate": 7},
    ]
    assert codes.rates_of(listed) == {"output2": Decimal(15), "plain": Decimal(0)}
