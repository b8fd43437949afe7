"""invoice-sync's HTTP API, as the pages need it."""

from urllib.parse import quote

from ops_dashboard.clients.api import Answer, Api


class InvoiceSync(Api):
    """The client."""

    name = "invoice-sync"

    async def conflict(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """What can be decided on an invoice; an empty body if it is in no conflict."""
        return await self._ask("GET", token, self._sync(account_id, invoice_id, "/resolve"))

    async def status(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """Where the invoice stands, its place in the queue and when it is expected in Xero."""
        return await self._ask("GET", token, self._sync(account_id, invoice_id, ""))

    async def resolve(
        self, token: str, account_id: str, invoice_id: str, keep: str, fingerprint: str
    ) -> Answer:
        """Choose whose version stands, on exactly the picture that the fingerprint names."""
        body = {"keep": keep, "fingerprint": fingerprint}
        return await self._ask("POST", token, self._sync(account_id, invoice_id, "/resolve"), body)

    async def retry(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """Take an invoice up again now."""
        return await self._ask("POST", token, self._sync(account_id, invoice_id, "/retry"))

    async def retry_cause(self, token: str, account_id: str, code: str) -> Answer:
        """Take up every invoice of one cause again."""
        account = quote(account_id, safe="")
        path = f"/v1/accounts/{account}/failures/{quote(code, safe='')}/retry"
        return await self._ask("POST", token, path)

    async def budget(self, token: str, account_id: str) -> Answer:
        """How many calls Xero still takes today."""
        return await self._ask("GET", token, f"/v1/accounts/{quote(account_id, safe='')}/budget")

    def _sync(self, account_id: str, invoice_id: str, rest: str) -> str:
        account, invoice = quote(account_id, safe=""), quote(invoice_id, safe="")
        return f"/v1/accounts/{account}/invoices/{invoice}/sync{rest}"
