import re

import pytest

from pipeline_contracts import PROBLEMS, Mover, ProblemCode
from pipeline_contracts.problems import _UNKNOWN

EVERY = pytest.mark.parametrize("code", list(ProblemCode))
# Words a bookkeeper does not know, and we do not need.
JARGON = re.compile(
    r"\b(null|exception|payload|API|HTTP|JSON|schema|tenant|timeout|enum|Kafka|ContactID|InvoiceID|UUID)\b"
)


@EVERY
def test_every_code_has_a_sentence_and_a_next_step(code):
    problem = PROBLEMS[code].render()
    assert problem.code is code
    for text in (problem.message, problem.hint):
        assert re.fullmatch(r"[A-Z].{15,}\.", text), text
        assert not re.search(r"[{}]", text), text
        assert "  " not in text
        assert not JARGON.search(text), text


@EVERY
def test_what_goes_on_by_itself_is_retried_and_nothing_else(code):
    problem = PROBLEMS[code]
    assert problem.retryable == (problem.mover is Mover.SYSTEM)


def test_the_codes_promised_to_other_parts_exist():
    promised = {
        "CUSTOMER_NOT_MAPPED", "NOT_CONNECTED", "TOTAL_MISMATCH", "QUANTITY_NEGATIVE", "CURRENCY_UNKNOWN",
        "CURRENCY_NOT_SUBSCRIBED", "ACCOUNT_NOT_MAPPED", "TAX_NOT_MAPPED", "CONTACT_ARCHIVED", "PERIOD_LOCKED",
        "INVOICE_NUMBER_TAKEN", "INVOICE_NOT_EDITABLE", "INVOICE_HAS_PAYMENT", "ORGANISATION_LIMIT",
        "XERO_VALIDATION", "XERO_UNAVAILABLE", "RATE_LIMITED", "OUTCOME_UNKNOWN", "UPDATE_AFTER_VOID",
    }  # fmt: skip
    assert promised <= set(ProblemCode)
    assert set(PROBLEMS) == set(ProblemCode)


def test_facts_are_put_in_as_they_are_known():
    problem = PROBLEMS[ProblemCode.TOTAL_MISMATCH]
    assert problem.placeholders == {"total", "expected"}
    assert problem.render(total="288.00", expected="287.50").message == (
        "The total 288.00 does not match its lines, which add up to 287.50."
    )
    assert problem.render(total="288.00").message == (
        "The total 288.00 does not match its lines, which add up to another amount."
    )


def test_a_fact_is_text_and_never_a_template_nor_a_novel():
    problem = PROBLEMS[ProblemCode.XERO_VALIDATION]
    assert "{total} <b>" in problem.render(detail="{total}\n <b>").message
    assert len(problem.render(detail="x" * 10_000).message) < 400
    assert (
        problem.render(detail="", unknown_fact=1) == problem.render(detail=None) == problem.render()
    )


def test_every_placeholder_can_be_worded_round_and_no_wording_is_left_over():
    used = set().union(*(problem.placeholders for problem in PROBLEMS.values()))
    assert used <= set(_UNKNOWN)
    assert set(_UNKNOWN) <= used


def test_a_fact_cannot_steer_how_the_sentence_is_shown():
    problem = PROBLEMS[ProblemCode.CUSTOMER_NOT_MAPPED]
    told = problem.render(customer="c\u202e\u2066\x1b[31m\x00us\x9bt-1")
    assert told == problem.render(customer="c[31must-1")
    assert problem.render(customer="\u202e") == problem.render()
    # Joiners make one sign of several, and belong to the text.
    family = "\U0001f468\u200d\U0001f469"
    assert family in problem.render(customer=family).message
