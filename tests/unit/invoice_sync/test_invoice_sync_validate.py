"""What is refused before a call is spent, each with its code and the facts its sentence names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import currencies
from invoice_sync.domain.blocks import block, mover_of
from invoice_sync.domain.validate import check
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.problems import PROBLEMS, ProblemCode

CASES = [
    ({"currency": "XXQ"}, "CURRENCY_UNKNOWN", "XXQ"),
    ({"currency": "nzd"}, "CURRENCY_UNKNOWN", "nzd"),
    ({"lines": [], "total": "0"}, "NO_LINES", None),
    ({"line": {"quantity": "-1"}}, "QUANTITY_NEGATIVE", "1 (Work)"),
    ({"line": {"description": "  "}}, "DESCRIPTION_MISSING", "1"),
    ({"line": {"description": "x" * 4001}}, "FIELD_TOO_LONG", "description of line 1"),
    ({"line": {"description": "bell\x07"}}, "CHARACTERS_INVALID", "description of line 1"),
    ({"invoice_number": "\x1b[1m"}, "CHARACTERS_INVALID", "invoice number"),
    ({"reference": "\uffff"}, "CHARACTERS_INVALID", "reference"),
    ({"invoice_number": " "}, "INVOICE_NUMBER_MISSING", None),
    ({"invoice_number": "x" * 256}, "FIELD_TOO_LONG", "invoice number"),
    ({"reference": "x" * 256}, "FIELD_TOO_LONG", "reference"),
    ({"due_date": "2026-02-28"}, "DUE_DATE_BEFORE_ISSUE", None),
    ({"currency_rate": "0"}, "CURRENCY_RATE_INVALID", None),
    ({"currency_rate": "1.1234567"}, "CURRENCY_RATE_INVALID", None),
    ({"total": "100.01"}, "TOTAL_MISMATCH", "0.01"),
    ({"total": "99.99"}, "TOTAL_MISMATCH", "0.01"),
    ({"line": {"unit_amount": "-50.00"}, "total": "-100"}, "TOTAL_NEGATIVE", "-100.00"),
]


@pytest.mark.parametrize(("fields", "code", "named"), CASES, ids=lambda each: str(each)[:30])
def test_what_is_wrong_has_its_code_and_says_where(body_of, line_of, fields, code, named):
    changed = dict(fields)
    if "line" in changed:
        changed["lines"] = [line_of(**changed.pop("line"))]
    findings = check(body_of(**changed))
    found = next(each for each in findings if each.code == code)
    told = block(found.code, **found.facts)
    assert named is None or named in told.message
    assert "{" not in told.message + told.hint


def test_two_lines_of_one_identity(body_of, line_of):
    (finding,) = check(body_of(lines=[line_of("1"), line_of("2"), line_of("1")]))
    assert finding.code is ProblemCode.LINE_REPEATED
    assert finding.facts == {"line": "3 (Work)"}


def test_tabs_line_ends_and_letters_of_any_script_are_printable(body_of, line_of):
    assert check(body_of(lines=[line_of(description="a\tb\r\nc 🎸 é 漢 <b>")])) == ()


def test_too_many_tracking_options(body_of, line_of):
    tracking = [{"category": str(number), "option": "x"} for number in range(3)]
    assert [each.code for each in check(body_of(lines=[line_of(tracking=tracking)]))] == [
        ProblemCode.TOO_MANY_TRACKING_OPTIONS
    ]


def test_a_sound_invoice_has_nothing_wrong(body_of):
    assert check(body_of()) == ()


def test_tax_on_top_must_be_in_the_total_to_the_cent(body_of, line_of):
    lines = [line_of(tax_code="OUTPUT2", tax_amount="15.00")]
    assert check(body_of(lines=lines, amounts_are="tax_exclusive", total="115.00")) == ()
    codes = [
        each.code
        for each in check(body_of(lines=lines, amounts_are="tax_exclusive", total="115.01"))
    ]
    assert codes == [ProblemCode.TOTAL_MISMATCH]


def test_an_invoice_that_names_no_tax_has_none(body_of):
    assert check(body_of(amounts_are="tax_exclusive", total="100.00")) == ()
    (finding,) = check(body_of(amounts_are="tax_exclusive", total="115.00"))
    assert finding.code is ProblemCode.TOTAL_MISMATCH


def test_tax_that_xero_works_out_may_be_in_the_total(body_of, line_of):
    lines = [line_of(tax_code="OUTPUT2")]
    assert check(body_of(lines=lines, amounts_are="tax_exclusive", total="115.00")) == ()
    (finding,) = check(body_of(lines=lines, amounts_are="tax_exclusive", total="99.00"))
    assert finding.code is ProblemCode.TOTAL_MISMATCH


@given(
    st.decimals(-(10**14), 10**14, places=4),
    st.decimals(-(10**14), 10**14, places=4),
    st.decimals(-(10**14), 10**14, places=2),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300),
)
def test_no_invoice_the_contracts_let_through_breaks_the_check(quantity, unit, total, text):
    invoice = InvoiceCreated(
        account_id="a",
        invoice_id="i",
        version=1,
        invoice_number=text,
        customer_id="c",
        issue_date="1900-01-01",
        due_date="1900-01-01",
        currency="NZD",
        amounts_are="tax_inclusive",
        lines=[{"line_id": "1", "description": text, "quantity": quantity, "unit_amount": unit}],
        total=total,
    )
    for finding in check(invoice):
        assert block(finding.code, **finding.facts).message


def test_currencies():
    assert currencies.is_known("NZD")
    assert not currencies.is_known("XXX")
    assert not currencies.is_known("")
    assert all(len(code) == 3 and code.isupper() for code in currencies.ISO_4217)


def test_every_code_has_a_mover_and_an_unknown_one_is_for_support():
    assert {mover_of(code) for code in PROBLEMS}
    assert mover_of("FROM_THE_FUTURE") == "support"
