"""`GET/PUT/DELETE …/code-mappings/{kind}`: what Pipeline's codes are called in Xero."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from invoice_sync.domain.codes import CodeKind, is_tracking_code
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.map_code import map_code, unmap_code
from invoice_sync.store import codes
from invoice_sync.store.codes import CodeMapping
from pipeline_contracts.fields import Id
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["code mappings"])
_PATH = "/v1/accounts/{account_id}/code-mappings/{kind}"
_UNMAPPED: dict[int | str, dict[str, Any]] = {
    404: {"description": "The code is the same in Pipeline and in Xero."}
}
# Pipeline's tracking category and option have up to 1,000 characters each.
_MAX_CODE = 2_002
# Xero's own limits: account codes 10, tax types 50, items 30, tracking names 100 each ("Accounts", "Items", …).
_LONGEST = {
    CodeKind.ACCOUNT: 10,
    CodeKind.TAX: 50,
    CodeKind.ITEM: 30,
    CodeKind.TRACKING: 202,
}


def _text(value: object) -> object:
    is_code = isinstance(value, str) and bool(value) and value.isprintable()
    if not is_code or str(value) != str(value).strip():
        raise ValueError("give Xero's code as a text without space around it")
    return value


# A code may hold a slash, so the address takes whatever stands behind the kind.
Code = Annotated[
    str,
    Path(
        min_length=1,
        max_length=_MAX_CODE,
        pattern=r"^[^\x00]+$",
        description="Pipeline's code; for tracking `Category: Option`.",
    ),
]


class CodeChoice(BaseModel):
    """The code in Xero."""

    model_config = ConfigDict(extra="forbid")

    xero_code: Annotated[str, BeforeValidator(_text)] = Field(
        description="Xero's code; for tracking `Category: Option`."
    )


class CodeMappingView(BaseModel):
    """What a code is called in Xero."""

    kind: CodeKind
    code: str
    xero_code: str
    mapped_by: str
    mapped_at: datetime
    released: int | None = Field(None, description="Invoices released by making this mapping.")
    checked: bool | None = Field(
        None,
        description="On making it: whether Xero has the code. false: Xero could not be asked yet, and decides with the "
        "first invoice that needs it.",
    )


class CodeMappingsView(BaseModel):
    """A page of mappings in the order of codes. A code not listed is the same in both."""

    mappings: list[CodeMappingView]
    next_after: str | None = Field(
        description="Pass as `after` for the next page; null on the last one."
    )


@router.get(_PATH, summary="Codes with another name in Xero")
async def list_code_mappings(
    request: Request,
    account_id: Id,
    kind: CodeKind,
    _: Reader,
    after: Annotated[
        str, Query(max_length=_MAX_CODE, pattern=r"^[^\x00]*$", description="Code to go on behind.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500, description="Mappings per page.")] = 100,
) -> CodeMappingsView:
    """A page of the account's mappings of this kind."""
    async with deps_of(request).pool.acquire() as conn:
        found = await codes.list_mappings(conn, account_id, kind, after=after, limit=limit + 1)
    page = found[:limit]
    return CodeMappingsView(
        mappings=[_view(mapping) for mapping in page],
        next_after=page[-1].code if len(found) > limit else None,
    )


@router.get(_PATH + "/{code:path}", summary="The name of a code in Xero", responses=_UNMAPPED)
async def get_code_mapping(
    request: Request, account_id: Id, kind: CodeKind, code: Code, _: Reader
) -> CodeMappingView:
    """What the code is called in Xero."""
    async with deps_of(request).pool.acquire() as conn:
        found = await codes.find_mapping(conn, account_id, kind, code)
    if found is None:
        raise _unmapped()
    return _view(found)


@router.put(
    _PATH + "/{code:path}",
    summary="Say what a code is called in Xero",
    responses={
        422: {
            "description": "XERO_CODE_UNKNOWN: Xero has no such code, with some it has in `nearest`; XERO_CODE_UNUSABLE: "
            "lines of invoices cannot name it."
        }
    },
)
async def put_code_mapping(
    request: Request, account_id: Id, kind: CodeKind, code: Code, choice: CodeChoice, caller: Writer
) -> CodeMappingView:
    """Refused if Xero has no such code. What waited for it follows by itself; invoices in Xero keep theirs until their
    next version.
    """
    _check(kind, code, choice.xero_code)
    mapped = await map_code(
        deps_of(request), account_id, kind, code, choice.xero_code, name_of(caller)
    )
    request.app.state.worker.wake()
    return _view(mapped.mapping, released=mapped.released, checked=mapped.is_checked)


@router.delete(
    _PATH + "/{code:path}",
    status_code=204,
    summary="Let a code be the same in both again",
    responses=_UNMAPPED,
)
async def delete_code_mapping(
    request: Request, account_id: Id, kind: CodeKind, code: Code, caller: Writer
) -> None:
    """Invoices already in Xero keep their codes."""
    if not await unmap_code(deps_of(request), account_id, kind, code, name_of(caller)):
        raise _unmapped()
    request.app.state.worker.wake()


def _check(kind: CodeKind, code: str, xero_code: str) -> None:
    problems = []
    if len(xero_code) > _LONGEST[kind]:
        limit = _LONGEST[kind]
        problems.append(("body.xero_code", f"Xero's code has at most {limit} characters"))
    if kind is CodeKind.TRACKING:
        problems += [
            (field, "name the category and the option as “Category: Option”")
            for field, value in (("path.code", code), ("body.xero_code", xero_code))
            if not is_tracking_code(value)
        ]
    if problems:
        field, message = problems[0]
        raise Problem(
            422,
            "INVALID_REQUEST",
            "The request is not valid",
            f"{field}: {message}",
            hint="Correct the named fields and send the request again; /docs describes them.",
            errors=[{"field": each, "message": told} for each, told in problems],
        )


def _unmapped() -> Problem:
    return Problem(
        404,
        "CODE_NOT_MAPPED",
        "Not found",
        "The code has no other name in Xero: the same code is used there.",
        hint="Map it with PUT on this address.",
    )


def _view(
    mapping: CodeMapping, *, released: int | None = None, checked: bool | None = None
) -> CodeMappingView:
    return CodeMappingView(
        kind=mapping.kind,
        code=mapping.code,
        xero_code=mapping.xero_code,
        mapped_by=mapping.mapped_by,
        mapped_at=mapping.mapped_at,
        released=released,
        checked=checked,
    )
