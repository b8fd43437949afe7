"""The conformance kit and invoice-sync say the same of an invoice: what passes here is not refused there."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.validate import total_mismatch
from pipeline_contracts import InvoiceCreated
from pipeline_contracts.conformance import possible_total

_AMOUNTS = st.decimals("-1000", "1000", places=4)
_LINES = st.lists(
    st.fixed_dictionaries(
        {
            "quantity": st.decimals("0", "100", places=6),
            "unit_amount": _AMOUNTS,
            "discount_rate": st.none() | st.decimals("0", "100", places=3),
            "tax_code": st.sampled_from([None, "", "OUTPUT2"]),
            "tax_amount": st.none() | st.decimals("-50", "50", places=3),
        }
    ),
    min_size=1,
    max_size=4,
)


def invoice(lines, amounts_are, total):
    body = InvoiceCreated.model_config["json_schema_extra"]["examples"][0]
    told = [{"line_id": str(n), "description": "x", **each} for n, each in enumerate(lines)]
    return InvoiceCreated(**{**body, "lines": told, "amounts_are": amounts_are, "total": total})


@given(_LINES, st.sampled_from(["tax_exclusive", "tax_inclusive", "no_tax"]))
def test_both_find_the_same_totals_wrong(lines, amounts_are):
    low, high = possible_total(invoice(lines, amounts_are, "0.00"))
    near = [low, high, low - Decimal("0.01"), high + Decimal("0.01"), (low + high) / 2]
    for total in near:
        told = invoice(lines, amounts_are, total.quantize(Decimal("0.01")))
        assert (low <= told.total <= high) == (total_mismatch(told) is None)
