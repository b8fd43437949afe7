"""`POST …/reconciliations` and what they found."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from invoice_sync.domain.reconciliation import Named, Total, by_currency, in_words, of_one
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.reconcile_account import ask_reconciliation
from invoice_sync.store import accounts, reconciled, reconciliations
from invoice_sync.store.reconciliations import Reconciliation
from pipeline_contracts.fields import MAX_INT, Id
from pipeline_contracts.money import Money
from pipeline_service_defaults.problems import Problem
from pipeline_xero.queries import invoice_link

router = APIRouter(tags=["reconciliations"])
_PATH = "/v1/accounts/{account_id}/reconciliations"
_NOT_CONNECTED: dict[int | str, dict[str, Any]] = {409: {"description": "Not connected."}}


class TotalView(BaseModel):
    """The invoices of one currency, or of one state and currency, in both books."""

    state: str | None = Field(
        description="Null: all of the currency. `not_linked`: live in Xero under Pipeline's mark, linked to none; "
        "`left_behind`: in an organisation the account was connected to before."
    )
    currency: str
    invoices: int
    total: Money
    in_xero: int
    xero_total: Money
    difference: Money = Field(description="`total` less `xero_total`.")

    @classmethod
    def of(cls, total: Total) -> Self:
        """The view of a total."""
        return cls(
            state=total.state or None,
            currency=total.currency,
            invoices=total.invoices,
            total=total.total,
            in_xero=total.in_xero,
            xero_total=total.xero_total,
            difference=total.difference,
        )


class FindingView(BaseModel):
    """One kind of thing that is not as it should be."""

    kind: str
    count: int
    message: str
    hint: str


class ReconciliationView(BaseModel):
    """A comparison of an account's whole books with Xero's."""

    number: int
    asked_by: str = Field(
        description="Who asked: `user:<id>`, `service:<name>`, `command:reconcile`; `schedule` for those that come by themselves."
    )
    tenant_id: str
    began_at: datetime
    finished_at: datetime | None = Field(description="Null while it is under way.")
    outcome: str | None = Field(description="`clean`, `findings` or `stopped`; null meanwhile.")
    message: str = Field(description="What it came to, in words.")
    xero_invoices: int = Field(description="Sales invoices read in Xero, Pipeline's or not.")
    totals: list[TotalView] = Field(description="Both books by currency.")
    states: list[TotalView] = Field(description="Both books by state and currency.")
    findings: list[FindingView]

    @classmethod
    def of(cls, run: Reconciliation, totals: Sequence[Total]) -> Self:
        """The view of a reconciliation."""
        return cls(
            number=run.number,
            asked_by=run.asked_by,
            tenant_id=run.tenant_id,
            began_at=run.began_at,
            finished_at=run.finished_at,
            outcome=run.outcome,
            message=run.message or f"Under way: {run.xero_invoices} invoices read in Xero so far.",
            xero_invoices=run.xero_invoices,
            totals=[TotalView.of(each) for each in by_currency(totals)],
            states=[TotalView.of(each) for each in totals],
            findings=[
                FindingView(**in_words(kind, count).model_dump())
                for kind, count in sorted(run.findings.items())
            ],
        )


class ReconciliationsView(BaseModel):
    """The newest comparisons of an account's books, the newest first."""

    account_id: str
    reconciliations: list[ReconciliationView]


class NamedView(BaseModel):
    """One thing found."""

    kind: str
    message: str = Field(description="Which invoice, what is the matter, and both amounts.")
    hint: str
    invoice_id: str | None
    invoice_number: str | None
    xero_invoice_id: str | None
    deep_link: str | None = Field(description="Address that opens the invoice in Xero.")
    currency: str | None
    total: Money | None = Field(description="What it came to in Pipeline then.")
    xero_total: Money | None = Field(description="What it came to in Xero then.")
    difference: Money | None = Field(description="`total` less `xero_total`.")
    kept_by: str | None = Field(
        description="Who chose to keep Xero's version, where that is the cause."
    )

    @classmethod
    def of(cls, found: Named, xero_web_url: str, short_code: str | None) -> Self:
        """The view of one thing found."""
        linked = found.xero_invoice_id
        return cls(
            kind=found.kind,
            message=of_one(found),
            hint=in_words(found.kind, 1).hint,
            invoice_id=found.invoice_id,
            invoice_number=found.invoice_number,
            xero_invoice_id=linked,
            deep_link=invoice_link(xero_web_url, short_code, linked) if linked else None,
            currency=found.currency,
            total=found.total,
            xero_total=found.xero_total,
            difference=found.difference,
            kept_by=found.kept_by,
        )


class NamedPage(BaseModel):
    """A page of what a reconciliation found; of each kind the first thousand are named."""

    found: list[NamedView]
    next_after: int | None = Field(
        description="Pass as `after` for the next page; null on the last one."
    )


@router.post(
    _PATH,
    status_code=202,
    summary="Compare an account's whole books with Xero's now",
    responses=_NOT_CONNECTED,
)
async def post_reconciliation(
    request: Request, account_id: Id, caller: Writer
) -> ReconciliationView:
    """Accounts for every invoice and compares each with Xero. One that is under way already is answered instead."""
    run = await ask_reconciliation(deps_of(request).pool, account_id, name_of(caller))
    if run is None:
        raise Problem(
            409,
            "NOT_CONNECTED",
            "Not connected",
            "The account is not connected to Xero, so there is nothing to compare with.",
            hint="Open the Xero card, which names the next step; then ask again.",
        )
    request.app.state.worker.wake()
    return ReconciliationView.of(run, ())


@router.get(_PATH, summary="The newest comparisons of an account's books")
async def get_reconciliations(
    request: Request,
    account_id: Id,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="How many.")] = 10,
) -> ReconciliationsView:
    """Each with both books' totals to the cent, and what was found, in words."""
    async with deps_of(request).pool.acquire() as conn:
        runs = await reconciliations.newest(conn, account_id, limit=limit)
        totals = await reconciliations.totals_of(conn, account_id, [run.number for run in runs])
    return ReconciliationsView(
        account_id=account_id,
        reconciliations=[ReconciliationView.of(run, totals[run.number]) for run in runs],
    )


@router.get(
    _PATH + "/{number}/findings",
    summary="What a reconciliation found, one by one",
    responses={404: {"description": "The account has no such reconciliation."}},
)
async def get_findings(
    request: Request,
    account_id: Id,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    _: Reader,
    after: Annotated[int, Query(ge=0, le=2**62, description="Where to continue behind.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="How many per page.")] = 100,
) -> NamedPage:
    """The invoices behind each finding: by number, with both amounts of then and the page in Xero."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        account, _now = await accounts.find(conn, account_id)
        run = await reconciliations.find(conn, account_id, number)
        found = await reconciled.named(conn, account_id, number, after=after, limit=limit + 1)
    if run is None:
        raise Problem(
            404,
            "RECONCILIATION_UNKNOWN",
            "Not found",
            "The account has no such reconciliation.",
            hint="Use a number that the list of reconciliations shows.",
        )
    page = found[:limit]
    short_code = account.short_code if account.tenant_id == run.tenant_id else None
    return NamedPage(
        found=[NamedView.of(each, deps.xero_web_url, short_code) for each in page],
        next_after=page[-1].id if len(found) > limit else None,
    )
