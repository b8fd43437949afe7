"""Read invoices that are in Xero: up to fifty in a call, and what is odd about one of them is its own affair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invoice_sync.deps import Deps
from invoice_sync.domain.state import Link
from pipeline_xero.answers import Reply
from pipeline_xero.client import Lane
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.errors import NotFound, RequestRejected, UnexpectedAnswer, XeroError
from pipeline_xero.queries import ids
from pipeline_xero.wire import elements


@dataclass(frozen=True, slots=True)
class Read:
    """What reading one invoice showed."""

    invoice: XeroInvoice | None
    """None when Xero has it no more, or when ``error`` says why that is not known."""
    correlation_id: str | None = None
    error: XeroError | None = None


async def read_in_xero(deps: Deps, links: Sequence[Link], lane: Lane) -> dict[str, Read]:
    """Read the linked invoices of one account.

    Xero may refuse many for one of them, or answer more than can be taken in: then they are read in halves, down to
    that one. What a list does not show is asked for by itself, because "gone" has consequences.

    Args:
        deps: What the verbs share.
        links: The links, of one account and one organisation.
        lane: Whose turn the calls are.

    Returns:
        For each ``invoice_id`` what was read.

    Raises:
        XeroError: Xero cannot be asked now.
    """
    if not links:
        return {}
    if len(links) == 1:
        return {links[0].invoice_id: await _alone(deps, links[0], lane)}
    try:
        reply = await _get(deps, links[0], "Invoices", _many(links), lane)
        listed = _by_id(reply)
    except (RequestRejected, UnexpectedAnswer):
        middle = len(links) // 2
        first = await read_in_xero(deps, links[:middle], lane)
        return first | await read_in_xero(deps, links[middle:], lane)
    reads: dict[str, Read] = {}
    for link in links:
        source = listed.get(link.xero_invoice_id.lower())
        # Only paged lists carry line items; without them every line would look removed.
        if source is None or "LineItems" not in source:
            reads[link.invoice_id] = await _alone(deps, link, lane)
        else:
            reads[link.invoice_id] = _read(source, reply)
    return reads


def _many(links: Sequence[Link]) -> dict[str, str]:
    asked = ids([link.xero_invoice_id for link in links])
    return {"IDs": asked, "page": "1", "pageSize": str(len(links))}


def _by_id(reply: Reply) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("InvoiceID")).lower(): each for each in elements(reply.json(), "Invoices")}


async def _alone(deps: Deps, link: Link, lane: Lane) -> Read:
    path = f"Invoices/{link.xero_invoice_id}"
    try:
        reply = await _get(deps, link, path, {}, lane)
        found = elements(reply.json(), "Invoices")
    except NotFound as error:
        if error.by_gateway:
            raise
        return Read(None)
    except (RequestRejected, UnexpectedAnswer) as error:
        return Read(None, error=error)
    if len(found) != 1:
        return Read(None, error=UnexpectedAnswer(f"{path}: {len(found)} invoices answered"))
    return _read(found[0], reply)


def _read(source: Mapping[str, Any], reply: Reply) -> Read:
    try:
        return Read(XeroInvoice.from_json(source), reply.correlation_id)
    except UnexpectedAnswer as error:
        return Read(None, reply.correlation_id, error)


async def _get(deps: Deps, link: Link, path: str, params: Mapping[str, str], lane: Lane) -> Reply:
    return await deps.gateway.get(
        link.account_id,
        path,
        params={**params, "unitdp": "4"},
        tenant_id=link.tenant_id,
        lane=lane,
    )
