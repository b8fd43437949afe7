"""An account's connection to its Xero organisation: the three statuses, their reasons, and what people are told."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """As shown on the Xero card and in the troubleshooting guide."""

    CONNECTED = "CONNECTED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a status, named as the guide names it
    DISCONNECTED = "DISCONNECTED"


class Reason(StrEnum):
    """Why a connection has the status it has."""

    NEVER_CONNECTED = "NEVER_CONNECTED"
    CONNECTED_BY_USER = "CONNECTED_BY_USER"
    REFRESHED = "REFRESHED"
    EXPIRED_UNUSED = "EXPIRED_UNUSED"
    REFRESH_REJECTED = "REFRESH_REJECTED"
    CLIENT_REJECTED = "CLIENT_REJECTED"
    KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
    KEY_LOST = "KEY_LOST"
    REVOKED_IN_XERO = "REVOKED_IN_XERO"
    DISCONNECTED_BY_USER = "DISCONNECTED_BY_USER"
    XERO_UNAVAILABLE = "XERO_UNAVAILABLE"
    SCOPES_MISSING = "SCOPES_MISSING"
    ORGANISATION_SWITCHED = "ORGANISATION_SWITCHED"
    DAY_BUDGET_LOW = "DAY_BUDGET_LOW"
    DAY_BUDGET_RESTORED = "DAY_BUDGET_RESTORED"


@dataclass(frozen=True, slots=True)
class Words:
    """What happened, and whose move it is, in a sentence each."""

    message: str
    hint: str


WORDS: Final[dict[Reason, Words]] = {
    Reason.NEVER_CONNECTED: Words(
        "This account has not been connected to Xero yet.",
        "An administrator can press Connect to Xero.",
    ),
    Reason.CONNECTED_BY_USER: Words(
        "Invoices and payments are kept in step with Xero.", "Nothing to do."
    ),
    Reason.REFRESHED: Words(
        "Xero accepted the renewed authorisation; syncing continues.", "Nothing to do."
    ),
    Reason.EXPIRED_UNUSED: Words(
        "The authorisation was not used for 60 days, so Xero let it expire.",
        "An administrator presses Connect to Xero and signs in; waiting invoices then continue by themselves.",
    ),
    Reason.REFRESH_REJECTED: Words(
        "Xero no longer accepts this authorisation.",
        "An administrator presses Connect to Xero and signs in; waiting invoices then continue by themselves.",
    ),
    Reason.CLIENT_REJECTED: Words(
        "Xero does not accept Pipeline's own credentials at the moment.",
        "Pipeline's operators have to correct them; after that, press Refresh Token. There is no need to reconnect.",
    ),
    Reason.KEY_UNAVAILABLE: Words(
        "The stored authorisation cannot be read because its encryption key is not available.",
        "Pipeline's operators have to restore the key; after that, press Refresh Token.",
    ),
    Reason.KEY_LOST: Words(
        "The stored authorisation was erased, because its encryption key is lost.",
        "An administrator presses Connect to Xero and signs in; waiting invoices then continue by themselves.",
    ),
    Reason.REVOKED_IN_XERO: Words(
        "Somebody disconnected Pipeline from inside Xero.",
        "If that was not intended, an administrator presses Connect to Xero.",
    ),
    Reason.DISCONNECTED_BY_USER: Words(
        "This account was disconnected from Xero. Mappings and history are kept.",
        "An administrator can press Connect to Xero to continue where it stopped.",
    ),
    Reason.XERO_UNAVAILABLE: Words(
        "Xero is not answering at the moment. The connection itself is in order.",
        "Nothing to do: the connector keeps trying. Refresh Token tries at once.",
    ),
    Reason.SCOPES_MISSING: Words(
        "Xero's authorisation no longer covers everything that syncing needs.",
        "An administrator presses Connect to Xero and grants all permissions; waiting invoices then continue by themselves.",
    ),
    Reason.ORGANISATION_SWITCHED: Words(
        "This account now keeps its books in another Xero organisation.",
        "Check the customers' mappings: those of the former organisation do not apply here.",
    ),
    Reason.DAY_BUDGET_LOW: Words(
        "Most of the calls that Xero allows in a day are spent. Payments go on; other work slows down until Xero's day ends.",
        "Nothing to do: what waits is sent when Xero allows more calls.",
    ),
    Reason.DAY_BUDGET_RESTORED: Words(
        "Xero allows calls again; what waited is being sent.", "Nothing to do."
    ),
}

REFRESHABLE: Final = frozenset({Reason.CLIENT_REJECTED, Reason.KEY_UNAVAILABLE})
"""Reasons of an expired token that pressing Refresh Token can cure: the grant itself was not refused."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The person who did something; None in its place means the system or Xero."""

    user_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """A Xero organisation as far as a connection needs it."""

    tenant_id: str
    tenant_name: str
    short_code: str | None = None
    base_currency: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """One account's link to Xero, as recorded. An account without a row is `never_connected`."""

    account_id: str
    status: Status
    reason: Reason
    since: datetime | None
    changed_by: str | None = None
    sequence: int = 0
    tenant_id: str | None = None
    tenant_name: str | None = None
    short_code: str | None = None
    base_currency: str | None = None
    xero_userid: str | None = None
    connected_at: datetime | None = None
    connected_by: str | None = None
    connected_by_name: str | None = None
    fenced_at: datetime | None = None
    last_call_at: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether calls to Xero may start."""
        return self.status is Status.CONNECTED and self.fenced_at is None

    @property
    def can_refresh(self) -> bool:
        """Whether Refresh Token can work: there is a grant, and Xero has not refused it."""
        match self.status:
            case Status.CONNECTED:
                return self.fenced_at is None
            case Status.TOKEN_EXPIRED:
                return self.fenced_at is None and self.reason in REFRESHABLE
            case Status.DISCONNECTED:
                return False

    @property
    def can_connect(self) -> bool:
        """Whether Connect to Xero makes sense: not while connected, nor when a refresh would do."""
        return self.status is not Status.CONNECTED and not self.can_refresh

    @property
    def can_disconnect(self) -> bool:
        """Whether there is anything to disconnect."""
        return self.status is not Status.DISCONNECTED

    @property
    def words(self) -> Words:
        """The message and hint for the present reason."""
        return WORDS[self.reason]


def never_connected(account_id: str) -> Connection:
    """The connection of an account that has no row."""
    return Connection(account_id, Status.DISCONNECTED, Reason.NEVER_CONNECTED, None)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Somebody pressed Disconnect, or Xero no longer lists the organisation."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Refused:
    """The authorisation cannot be renewed for `reason`."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Renewed:
    """A refresh worked."""


@dataclass(frozen=True, slots=True)
class FactsLearnt:
    """The organisation told what it had not told before; None for what it lacks."""

    tenant_id: str
    short_code: str | None
    base_currency: str | None


@dataclass(frozen=True, slots=True)
class Connected:
    """An administrator consented in Xero."""

    organisation: Organisation
    xero_userid: str
    by: Actor


@dataclass(frozen=True, slots=True)
class DayRunsLow:
    """Few of the calls that Xero allows the organisation in a day are left."""


@dataclass(frozen=True, slots=True)
class DayRestored:
    """There are plenty of them again."""


Happening = Connected | FactsLearnt | Disconnected | Refused | Renewed | DayRunsLow | DayRestored


def next_connection(  # noqa: PLR0911 - one return per row of the state table
    old: Connection, happening: Happening, *, now: datetime, actor: Actor | None
) -> Connection | None:
    """What `happening` makes of `old`, or None when nothing changes and so nothing may be announced."""
    who = actor.user_id if actor else None
    match happening:
        case Connected(organisation, xero_userid, by):
            return replace(
                old,
                status=Status.CONNECTED,
                reason=Reason.ORGANISATION_SWITCHED
                if old.tenant_id not in {None, organisation.tenant_id}
                else Reason.CONNECTED_BY_USER,
                since=now,
                changed_by=by.user_id,
                sequence=old.sequence + 1,
                tenant_id=organisation.tenant_id,
                tenant_name=organisation.tenant_name,
                short_code=organisation.short_code
                or same_tenant(old, organisation, old.short_code),
                base_currency=organisation.base_currency
                or same_tenant(old, organisation, old.base_currency),
                xero_userid=xero_userid,
                connected_at=now,
                connected_by=by.user_id,
                connected_by_name=by.name,
                fenced_at=None,
            )
        case FactsLearnt():
            return with_facts(old, happening, now)
        case Disconnected(reason):
            if old.status is Status.DISCONNECTED:
                return None
            return changed(old, Status.DISCONNECTED, reason, now, who, keep_tokens=False)
        case Refused(reason):
            if old.status is Status.DISCONNECTED or (old.status, old.reason) == (
                Status.TOKEN_EXPIRED,
                reason,
            ):
                return None
            return changed(old, Status.TOKEN_EXPIRED, reason, now, who, keep_tokens=True)
        case Renewed():
            if old.status is not Status.TOKEN_EXPIRED:
                return None
            return changed(old, Status.CONNECTED, Reason.REFRESHED, now, who, keep_tokens=True)
        case DayRunsLow() | DayRestored():
            return with_day(old, happening, now)


def with_day(
    old: Connection, happening: DayRunsLow | DayRestored, now: datetime
) -> Connection | None:
    """`old` with the news about its day; None when that is known, or no news while calls cannot be made anyway."""
    low = isinstance(happening, DayRunsLow)
    if not old.usable or low == (old.reason is Reason.DAY_BUDGET_LOW):
        return None
    reason = Reason.DAY_BUDGET_LOW if low else Reason.DAY_BUDGET_RESTORED
    return changed(old, Status.CONNECTED, reason, now, None, keep_tokens=True)


def with_facts(old: Connection, learnt: FactsLearnt, now: datetime) -> Connection | None:
    """`old` with what was missing, for the same reason as before; None when that is nothing, or about another one."""
    short_code = old.short_code or learnt.short_code
    base_currency = old.base_currency or learnt.base_currency
    same = (short_code, base_currency) == (old.short_code, old.base_currency)
    if same or old.tenant_id != learnt.tenant_id or not old.usable:
        return None
    return replace(
        old,
        short_code=short_code,
        base_currency=base_currency,
        since=now,
        changed_by=None,
        sequence=old.sequence + 1,
    )


def same_tenant(old: Connection, organisation: Organisation, value: str | None) -> str | None:
    """A remembered fact of the organisation, if it still is the same one."""
    return value if old.tenant_id == organisation.tenant_id else None


def changed(
    old: Connection,
    status: Status,
    reason: Reason,
    now: datetime,
    who: str | None,
    *,
    keep_tokens: bool,
) -> Connection:
    """`old` with another status; the organisation stays bound in every case."""
    return replace(
        old,
        status=status,
        reason=reason,
        since=now,
        changed_by=who,
        sequence=old.sequence + 1,
        xero_userid=old.xero_userid if keep_tokens else None,
        fenced_at=old.fenced_at if keep_tokens else None,
    )
