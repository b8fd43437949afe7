"""Whatever Xero or an invoice holds, its events can be encoded: one that cannot would hold its account for ever."""

from datetime import UTC, datetime

from invoice_sync.domain import lifecycle
from invoice_sync.domain.blocks import block
from invoice_sync.domain.confirm import conflict_block
from invoice_sync.domain.state import Link
from invoice_sync.domain.three_way import FieldDifference
from pipeline_contracts.envelope import encode
from pipeline_contracts.problems import ProblemCode

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def encoded(step):
    return [encode(event, id="1", source="invoice-sync", time=NOW) for event in step.events]


def test_a_refusal_of_thousands_of_lines_can_be_told(row_of):
    errors = tuple(f"Account code '{number}' is not valid. {'x' * 3_000}" for number in range(5000))
    refused = lifecycle.refused_with(row_of(), errors, NOW)
    (record,) = encoded(refused)
    assert b"Account code '0' is not valid" in record.value
    assert (
        "Account code '0'" in block(ProblemCode.XERO_VALIDATION, xero_errors=errors).xero_errors[0]
    )


def test_a_conflict_of_thousands_of_long_lines_can_be_told(row_of):
    link = Link("acc-1", "inv-1", "t-1", "x-1", "INV-1", "AUTHORISED", {}, {}, {}, {}, NOW)
    differences = [
        FieldDifference(f"line {'線' * 250}{n}: description", "前" * 4000, "中" * 4000, "後" * 4000)
        for n in range(5000)
    ]
    why = conflict_block("INV-1", differences, {})
    (record,) = encoded(lifecycle.out_of_sync(row_of(), link, differences, why, None))
    assert record.value is not None
