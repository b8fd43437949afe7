"""Find invoices in Xero by their numbers: as many in a call as an address can name."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from invoice_sync.deps import Deps
from pipeline_xero.client import Lane
from pipeline_xero.queries import can_be_listed, invoice_numbers, where_text
from pipeline_xero.wire import elements

# Numbers are up to 255 characters; addresses beyond a few thousand are refused on the way.
_NUMBERS_LENGTH = 2_000
_PAGE = 1_000


async def find_by_number(
    deps: Deps,
    account_id: str,
    tenant_id: str,
    numbers: Sequence[str],
    lane: Lane | None = None,
) -> list[Mapping[str, Any]]:
    """Every invoice Xero has under these numbers, with lines. Numbers a list cannot carry are asked for singly.

    Args:
        deps: What the verbs share.
        account_id: The account.
        tenant_id: The organisation that is meant.
        numbers: The numbers as they would be in Xero.
        lane: Whose turn the calls are; this service's own if not named.

    Raises:
        XeroError: Xero could not be asked.
    """
    queries = [{"InvoiceNumbers": invoice_numbers(chunk)} for chunk in _chunks(numbers)]
    queries += [
        {"where": where_text("InvoiceNumber", number)}
        for number in numbers
        if not can_be_listed(number)
    ]
    found: list[Mapping[str, Any]] = []
    for query in queries:
        found += await _all_pages(deps, account_id, tenant_id, query, lane=lane)
    return found


async def written_since(
    deps: Deps, account_id: str, tenant_id: str, since: datetime
) -> list[Mapping[str, Any]]:
    """What our app created in Xero and anybody changed since then, with lines, under whatever numbers it has by now.

    Raises:
        XeroError: Xero could not be asked.
    """
    return await _all_pages(deps, account_id, tenant_id, {"createdByMyApp": "true"}, since=since)


async def _all_pages(
    deps: Deps,
    account_id: str,
    tenant_id: str,
    query: Mapping[str, str],
    *,
    since: datetime | None = None,
    lane: Lane | None = None,
) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for page in count(1):
        # Only paged lists carry line items; in an order that never changes nothing slips between two pages.
        params = {
            **query,
            "order": "InvoiceID ASC",
            "page": str(page),
            "pageSize": str(_PAGE),
            "unitdp": "4",
        }
        reply = await deps.gateway.get(
            account_id,
            "Invoices",
            params=params,
            if_modified_since=since,
            tenant_id=tenant_id,
            lane=lane,
        )
        shown = elements(reply.json(), "Invoices")
        found += shown
        if len(shown) < _PAGE:
            break
    return found


def _chunks(numbers: Sequence[str]) -> list[list[str]]:
    chunks: list[list[str]] = []
    length = 0
    for number in filter(can_be_listed, numbers):
        if not chunks or length + len(number) > _NUMBERS_LENGTH:
            chunks.append([])
            length = 0
        chunks[-1].append(number)
        length += len(number) + 1
    return chunks
