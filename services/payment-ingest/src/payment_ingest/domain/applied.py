"""What a credit note, prepayment, overpayment or payment is applied to, beside what the ledger knows of it."""

from collections.abc import Mapping
from decimal import Decimal

Applied = Mapping[str, Decimal]
"""How much of one document goes to which invoice."""


def differing(shown: Applied, known: Applied) -> set[str]:
    """The invoices to which Xero shows another amount applied than the ledger has, or one on one side alone."""
    return {
        invoice
        for invoice in shown.keys() | known.keys()
        if shown.get(invoice, Decimal(0)) != known.get(invoice, Decimal(0))
    }
