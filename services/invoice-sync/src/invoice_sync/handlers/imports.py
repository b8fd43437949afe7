"""`POST …/imports`: link what is in Xero already, and what became of each invoice."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from invoice_sync.domain.importing import Outcome
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.import_invoices import ask_import, progress
from invoice_sync.store import imports
from invoice_sync.store.imports import Import
from pipeline_contracts.fields import MAX_INT, Id
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["imports"])
_PATH = "/v1/accounts/{account_id}/imports"
_REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not connected, or an import is under way."}
}


class ImportOrder(BaseModel):
    """An import, or only what it would do."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = Field(description="true: link nothing, only say what would be linked.")


class ImportView(BaseModel):
    """An import and what it came to so far."""

    number: int
    dry_run: bool
    asked_by: str = Field(description="Who asked: `user:<id>` or `service:<name>`.")
    asked_at: datetime
    tenant_id: str
    finished_at: datetime | None = Field(description="Null while it is under way.")
    outcome: str | None = Field(description="`done` or `stopped`; null meanwhile.")
    message: str = Field(description="What it came to, in words.")
    linked: int = Field(description="The same in both, and linked; in a dry run: would be.")
    different: int = Field(description="In Xero under its number, but not the same: not linked.")
    absent: int = Field(description="Not in Xero under its number.")
    ambiguous: int = Field(description="No telling which one it is: not linked.")
    skipped: int = Field(description="Passed over: see its message.")
    left: int = Field(description="Not looked for yet.")

    @classmethod
    def of(cls, run: Import, counts: Mapping[str, int]) -> Self:
        """The view of an import."""
        return cls(
            number=run.number,
            dry_run=run.dry_run,
            asked_by=run.asked_by,
            asked_at=run.asked_at,
            tenant_id=run.tenant_id,
            finished_at=run.finished_at,
            outcome=run.outcome,
            message=run.message
            or f"Under way: {counts['left']} invoices are still to be looked for.",
            **counts,
        )


class ImportsView(BaseModel):
    """The newest imports of an account, the newest first."""

    account_id: str
    imports: list[ImportView]


class ResultView(BaseModel):
    """What became of one invoice."""

    invoice_id: str
    outcome: str
    xero_invoice_id: str | None
    message: str


class ResultsView(BaseModel):
    """A page of an import's results, in the order in which the invoices were accepted."""

    results: list[ResultView]
    next_after: int | None = Field(
        description="Pass as `after` for the next page; null on the last one."
    )


@router.post(
    _PATH, status_code=202, summary="Link invoices that are in Xero already", responses=_REFUSED
)
async def post_import(
    request: Request, account_id: Id, order: ImportOrder, caller: Writer
) -> ImportView:
    """Looks in Xero for every invoice not linked yet, by its number, and links it if nothing differs.

    The invoices in Xero stay as they are. It goes on in the background; its result is read below.
    """
    deps = deps_of(request)
    run, invoices = await ask_import(
        deps.pool, account_id, dry_run=order.dry_run, asked_by=name_of(caller)
    )
    request.app.state.worker.wake()
    return ImportView.of(run, {**dict.fromkeys(Outcome, 0), "left": invoices})


@router.get(_PATH, summary="The newest imports of an account")
async def get_imports(
    request: Request,
    account_id: Id,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="How many.")] = 10,
) -> ImportsView:
    """Each with what it came to."""
    async with deps_of(request).pool.acquire() as conn:
        runs = await imports.newest(conn, account_id, limit=limit)
        counts = await progress(conn, account_id, runs)
    return ImportsView(
        account_id=account_id, imports=[ImportView.of(run, counts[run.number]) for run in runs]
    )


@router.get(
    _PATH + "/{number}/results",
    summary="What became of each invoice of an import",
    responses={404: {"description": "The account has no such import."}},
)
async def get_results(
    request: Request,
    account_id: Id,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    _: Reader,
    outcome: Annotated[
        Literal["linked", "different", "absent", "ambiguous", "skipped"] | None,
        Query(description="Only these."),
    ] = None,
    after: Annotated[int, Query(ge=0, le=MAX_INT, description="Where to continue behind.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="How many per page.")] = 100,
) -> ResultsView:
    """Linked, or why not in words: what differs, and what to do."""
    wanted = None if outcome is None else Outcome(outcome)
    async with deps_of(request).pool.acquire() as conn:
        run = await imports.find(conn, account_id, number)
        found = await imports.results(
            conn, account_id, number, outcome=wanted, after=after, limit=limit + 1
        )
    if run is None:
        raise Problem(
            404,
            "IMPORT_UNKNOWN",
            "Not found",
            "The account has no such import.",
            hint="Use a number that the list of imports shows.",
        )
    page = found[:limit]
    return ResultsView(
        results=[
            ResultView(
                invoice_id=each.invoice_id,
                outcome=each.outcome,
                xero_invoice_id=each.xero_invoice_id,
                message=each.message,
            )
            for each in page
        ],
        next_after=page[-1].place if len(found) > limit else None,
    )
