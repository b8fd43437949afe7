"""What a person does in Xero's own screens, and what Xero's books hold: the simulator's admin API."""

from decimal import Decimal

import httpx

from pipeline_local_stack.books import XeroInvoice, XeroPayment


class XeroAdmin:
    """The simulator, seen by somebody who works in Xero."""

    def __init__(self, url: str) -> None:
        """Given the simulator's base address."""
        self._http = httpx.Client(base_url=f"{url}/admin", timeout=30)

    def invoices(self) -> list[XeroInvoice]:
        """All invoices in the books."""
        raise NotImplementedError

    def payments(self) -> list[XeroPayment]:
        """All payments in the books."""
        raise NotImplementedError

    def pay(self, invoice_id: str, amount: Decimal) -> None:
        """Record a payment of today in Xero."""
        raise NotImplementedError

    def api_calls(self) -> int:
        """How many calls Xero's API has counted."""
        raise NotImplementedError
