"""`GET` and `POST …/invoices/{id}/sync/resolve`: an invoice in conflict, and a person's choice."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from invoice_sync.domain.state import Choice, Keep
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.handlers.sync_status import no_invoice
from invoice_sync.handlers.views import ConflictView
from invoice_sync.resolve_conflict import ConflictChanged, find_conflict, resolve_conflict
from pipeline_contracts.fields import Id
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["invoices"])
_PATH = "/v1/accounts/{account_id}/invoices/{invoice_id}/sync/resolve"
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "This account has no such invoice."}
}


class ChoiceBody(BaseModel):
    """Whose version is to stand, and what was seen."""

    model_config = ConfigDict(extra="forbid")

    keep: Literal["pipeline", "xero"] = Field(description="Whose version stands.")
    fingerprint: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="The fingerprint of the conflict as it was shown."
    )


class ChosenView(BaseModel):
    """A choice that is recorded."""

    keep: str
    state: str = Field(description="Where the invoice stands now; it follows by itself.")


@router.get(_PATH, summary="What can be decided on this invoice?", responses=_UNKNOWN)
async def get_resolve(
    request: Request, account_id: Id, invoice_id: Id, _: Reader
) -> ConflictView | None:
    """Where both sides differ, and for each side whether it can be kept, or why not; null if there is no conflict."""
    invoice, conflict = await find_conflict(deps_of(request), account_id, invoice_id)
    if invoice is None:
        raise no_invoice()
    return ConflictView.of(conflict) if conflict else None


@router.post(
    _PATH,
    status_code=202,
    summary="Choose whose version of an invoice stands",
    responses=_UNKNOWN
    | {
        409: {
            "description": "CONFLICT_CHANGED with the new `conflict`; NOTHING_TO_RESOLVE; CHOICE_NOT_POSSIBLE; "
            "ALREADY_CHOSEN; NOT_CONNECTED; TENANT_CHANGED."
        }
    },
)
async def post_resolve(
    request: Request, account_id: Id, invoice_id: Id, body: ChoiceBody, caller: Writer
) -> ChosenView:
    """Pipeline's version is written over Xero's, or Xero's is agreed and told to Pipeline.

    Xero is read anew first: should it have changed since, nothing is overwritten and it is a conflict again.
    """
    choice = Choice(Keep(body.keep), body.fingerprint, name_of(caller))
    try:
        state = await resolve_conflict(deps_of(request), account_id, invoice_id, choice)
    except ConflictChanged as changed:
        raise Problem(
            409,
            "CONFLICT_CHANGED",
            "It changed since",
            "The invoice was changed after you looked at it.",
            hint="Look at the differences shown now, and choose again.",
            conflict=ConflictView.of(changed.conflict).model_dump(mode="json"),
        ) from None
    if state is None:
        raise no_invoice()
    request.app.state.worker.wake()
    return ChosenView(keep=body.keep, state=state)
