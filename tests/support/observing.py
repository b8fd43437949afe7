"""An invoice of the simulator's ledger as payment-ingest tells of it."""


def as_observed(invoice: dict) -> dict:
    """The fields of an ObservedInvoice."""
    return {
        "invoice_number": invoice["number"],
        "reference": invoice["reference"],
        "status": invoice["status"],
        "contact_id": invoice["contact_id"],
        "issue_date": invoice["date"],
        "due_date": invoice["due_date"],
        "currency": invoice["currency"],
        "amounts_are": "no_tax",
        "lines": [
            {
                "line_item_id": each["line_id"],
                "description": each["description"],
                "quantity": each["quantity"],
                "unit_amount": each["unit_amount"],
                "account_code": each["account_code"],
                "tax_type": each["tax_type"] or None,
                "tax_amount": each["tax_amount"],
                "line_amount": each["line_amount"],
            }
            for each in invoice["lines"]
        ],
        "total": invoice["total"],
    }
