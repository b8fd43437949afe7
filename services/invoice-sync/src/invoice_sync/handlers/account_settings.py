"""`GET/PUT …/settings` and `GET …/settings/changes`."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from invoice_sync.change_settings import change_settings, etag
from invoice_sync.domain.account_settings import (
    AccountSettings,
    EditPolicy,
    InvoiceStatus,
    MappingPolicy,
)
from invoice_sync.domain.setting_audit import SETTINGS
from invoice_sync.handlers.access import Admin, Reader, deps_of, name_of
from invoice_sync.store import account_settings, setting_changes
from pipeline_contracts.fields import Day, Id
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["settings"])
_PATH = "/v1/accounts/{account_id}/settings"


def _one_of(*words: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in words:
            raise ValueError(f"choose one of {', '.join(words)}")
        return value

    return BeforeValidator(check)


def _code(limit: int, example: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value is None:
            return None
        is_code = isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()
        if not is_code or str(value) != str(value).strip():
            raise ValueError(
                f"give Xero's code as a text of 1 to {limit} characters without space around it, such as {example}, "
                "or null for none"
            )
        return value

    return BeforeValidator(check)


def _prefix(value: object) -> object:
    is_text = isinstance(value, str) and len(value) <= _MAX_PREFIX and value.isprintable()
    if not is_text or str(value).lstrip() != value:
        raise ValueError(
            f"give a text of at most {_MAX_PREFIX} characters that does not begin with a space, such as PL-, or an "
            "empty one for none"
        )
    return value


def _day(value: object) -> object:
    if value is None:
        return None
    raised = ValueError('give the calendar day as "YYYY-MM-DD", or null for none')
    if not isinstance(value, str):
        raise raised
    try:
        found = datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        raise raised from None
    return found


_MAX_PREFIX = 20
_MAX_ACCOUNT_CODE = 10
_MAX_TAX_TYPE = 50


class SettingsChoice(BaseModel):
    """All settings of an account. One left out takes its default."""

    model_config = ConfigDict(extra="forbid")

    invoice_status: Annotated[Literal["draft", "authorised"], _one_of("draft", "authorised")] = (
        Field("authorised", description="Status in which invoices are created in Xero.")
    )
    start_date: Annotated[Day | None, BeforeValidator(_day)] = Field(
        None, description="Invoices issued before are not synced, and say so; null syncs all."
    )
    mapping_policy: Annotated[
        Literal["strict", "match", "create"], _one_of("strict", "match", "create")
    ] = Field(
        "create",
        description="What becomes of a customer that is not linked to a contact. strict: a person links it; match: "
        "linked to the one contact with its number, email or name, if there is no doubt; create: linked by its number, "
        "otherwise created.",
    )
    default_account_code: Annotated[str | None, _code(_MAX_ACCOUNT_CODE, "200")] = Field(
        None, description="Xero's account of lines that name none; null: the service's own."
    )
    default_tax_type: Annotated[str | None, _code(_MAX_TAX_TYPE, "OUTPUT2")] = Field(
        None,
        description="Xero's tax type of lines that name no tax, on invoices whose total contains tax.",
    )
    number_prefix: Annotated[str, BeforeValidator(_prefix)] = Field(
        "", description="Put before the numbers of invoices that are not yet in Xero."
    )
    edit_policy: Annotated[Literal["block", "merge"], _one_of("block", "merge")] = Field(
        "block",
        description="What becomes of an invoice changed both in Pipeline and in Xero, in different places. block: it "
        "is out of sync until a person decides; merge: Pipeline's changes go to Xero, and those made in Xero stay.",
    )

    def settings(self) -> AccountSettings:
        """The choice as a value."""
        return AccountSettings(
            invoice_status=InvoiceStatus(self.invoice_status),
            start_date=self.start_date,
            mapping_policy=MappingPolicy(self.mapping_policy),
            default_account_code=self.default_account_code,
            default_tax_type=self.default_tax_type,
            number_prefix=self.number_prefix,
            edit_policy=EditPolicy(self.edit_policy),
        )


class SettingsView(BaseModel):
    """The settings as they are."""

    account_id: str
    version: int = Field(description="How often they were changed; also the ETag.")
    invoice_status: str
    start_date: Day | None
    mapping_policy: str
    default_account_code: str | None
    default_tax_type: str | None
    number_prefix: str
    edit_policy: str
    released: int | None = Field(None, description="Invoices released by this change.")

    @classmethod
    def of(cls, account_id: str, found: AccountSettings, released: int | None = None) -> Self:
        """The view of an account's settings."""
        return cls(
            account_id=account_id,
            version=found.version,
            invoice_status=found.invoice_status,
            start_date=found.start_date,
            mapping_policy=found.mapping_policy,
            default_account_code=found.default_account_code,
            default_tax_type=found.default_tax_type,
            number_prefix=found.number_prefix,
            edit_policy=found.edit_policy,
            released=released,
        )


class ChangedView(SettingsView):
    """The settings as a change left them."""

    checked: bool = Field(
        True,
        description="Whether Xero has the default codes chosen anew. false: Xero could not be asked yet, and decides with "
        "the first invoice that needs them.",
    )


class ChangeView(BaseModel):
    """One change of a setting or a code mapping; each hash covers the one before."""

    sequence: int
    at: datetime
    actor: str
    subject: str = Field(description="`settings`, or the mapped code as `kind:code`.")
    before: dict[str, Any] | str | None = Field(
        description="The settings, or the code in Xero; null where a code had no other name."
    )
    after: dict[str, Any] | str | None
    hash: str = Field(
        description="SHA-256 over the hash before it and the change as it was recorded."
    )


class ChangesView(BaseModel):
    """A page of changes, oldest first."""

    changes: list[ChangeView]
    next_after: int | None = Field(
        description="Pass as `after` for the next page; null on the last one."
    )


@router.get(_PATH, summary="How an account wants its invoices in Xero")
async def get_settings(
    request: Request, response: Response, account_id: Id, _: Reader
) -> SettingsView:
    """The settings with their ETag; where nothing was ever chosen, the defaults under version 0."""
    async with deps_of(request).pool.acquire() as conn:
        found = await account_settings.find(conn, account_id)
    response.headers["ETag"] = etag(found.version)
    return SettingsView.of(account_id, found)


@router.put(
    _PATH,
    summary="Change how an account wants its invoices in Xero",
    responses={
        412: {"description": "If-Match does not name the settings as they are now."},
        422: {
            "description": "XERO_CODE_UNKNOWN: Xero has no such default code, with some it has in `nearest`; "
            "XERO_CODE_UNUSABLE: lines of invoices cannot name it."
        },
        428: {"description": "If-Match is missing, or is `*`."},
    },
)
async def put_settings(
    request: Request,
    response: Response,
    account_id: Id,
    choice: SettingsChoice,
    caller: Admin,
    if_match: Annotated[
        str | None, Header(max_length=100, description="The ETag the settings were read with.")
    ] = None,
) -> ChangedView:
    """Replaces them all. What waited for the change follows by itself; what is in Xero already stays as it is."""
    changed = await change_settings(
        deps_of(request),
        account_id,
        choice.settings(),
        version=_version(if_match),
        actor=name_of(caller),
    )
    request.app.state.worker.wake()
    response.headers["ETag"] = etag(changed.settings.version)
    view = ChangedView.of(account_id, changed.settings, changed.released)
    return view.model_copy(update={"checked": changed.is_checked})


@router.get(_PATH + "/changes", summary="Who changed which setting or code mapping")
async def get_changes(
    request: Request,
    account_id: Id,
    _: Reader,
    after: Annotated[int, Query(ge=0, le=2**62, description="Sequence to continue behind.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="Changes per page.")] = 100,
) -> ChangesView:
    """Every change with its actor, from what to what."""
    async with deps_of(request).pool.acquire() as conn:
        found = await setting_changes.changes_of(conn, account_id, after=after, limit=limit + 1)
    page = found[:limit]
    return ChangesView(
        changes=[
            ChangeView(
                sequence=each.change.sequence,
                at=each.change.at,
                actor=each.change.actor,
                subject=each.change.subject,
                before=_told(each.change.subject, each.change.before),
                after=_told(each.change.subject, each.change.after),
                hash=each.hash.hex(),
            )
            for each in page
        ],
        next_after=page[-1].change.sequence if len(found) > limit else None,
    )


def _told(subject: str, kept: str | None) -> dict[str, Any] | str | None:
    """One side of a change as a value. It is kept as the text that its hash covers."""
    if kept is None or subject != SETTINGS:
        return kept
    settings: dict[str, Any] = json.loads(kept)
    return settings


def _version(if_match: str | None) -> int:
    """The version an If-Match names; -1, which none has, where it is no tag of ours."""
    if if_match is None or if_match.strip() == "*":
        raise Problem(
            428,
            "IF_MATCH_MISSING",
            "If-Match names no version",
            "Settings are changed only by somebody who has seen what they replace; `*` names no version of them.",
            hint="Read the settings and send their ETag in If-Match.",
        )
    named = if_match.strip().removeprefix("W/").strip('"')
    return int(named) if named.isascii() and named.isdigit() and len(named) < 10 else -1  # noqa: PLR2004 - an int4
