"""The state of each account's connection to Xero."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipeline_contracts import topics
from pipeline_contracts.event import Event
from pipeline_contracts.fields import Flag, Id, Known, LongText, ShortText, Timestamp, Version, Word

ConnectionStatus = Annotated[Word, Known("CONNECTED", "TOKEN_EXPIRED", "DISCONNECTED")]
"""The three states a connection can be in."""


DAY_REASONS = frozenset({"DAY_BUDGET_LOW", "DAY_BUDGET_RESTORED"})
"""Reasons that say how much of Xero's day is left; the connection itself goes on as before."""


class ConnectionStatusChanged(Event):
    """An account's connection to Xero is now in this state."""

    TYPE: ClassVar[str] = "pipeline.connection.status_changed.v1"
    TOPIC: ClassVar[str] = topics.CONNECTIONS.name
    KEY: ClassVar[str] = "account_id"

    status: ConnectionStatus = Field(description="`CONNECTED`, `TOKEN_EXPIRED` or `DISCONNECTED`.")
    reason: Word = Field(description="Why, for programs, e.g. `CONSENT_REVOKED`.")
    since: Timestamp = Field(description="When the connection came into this state.")
    changed_by: ShortText | None = Field(
        default=None, description="The person who did it, if one did."
    )
    message: LongText = Field(description="Why, for the account's people.")
    hint: LongText = Field(description="The next step; empty if there is none.")
    can_refresh: Flag = Field(description="Whether the Refresh Token button can help.")
    tenant_id: Id | None = Field(default=None, description="The Xero organisation.")
    tenant_name: ShortText | None = Field(default=None, description="Its name.")
    short_code: Word | None = Field(
        default=None, description="Its short code in Xero's web addresses."
    )
    base_currency: Word | None = Field(default=None, description="Its base currency, ISO 4217.")
    sequence: Version = Field(description="1, 2, … per account, without gaps.")

    @property
    def revision(self) -> str:
        """The event's place in the account's history."""
        return str(self.sequence)

    def goes_on(self, *, status: str | None, sequence: int, tenant_id: str | None) -> bool:
        """Whether a connection last known like this was in use all the while, and only its day's calls changed.

        An event whose predecessor is not known (compacted away, or first of an account) never says so: in between the
        connection may have been gone.
        """
        return (
            self.reason in DAY_REASONS
            and status == self.status == "CONNECTED"
            and sequence == self.sequence - 1
            and (tenant_id or "").lower() == (self.tenant_id or "").lower()
        )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "status": "CONNECTED",
                    "reason": "CONSENT_GIVEN",
                    "since": "2026-03-01T09:30:00Z",
                    "changed_by": "user-3",
                    "message": "Connected to Demo Company (NZ).",
                    "hint": "",
                    "can_refresh": False,
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "tenant_name": "Demo Company (NZ)",
                    "short_code": "!Abc1D",
                    "base_currency": "NZD",
                    "sequence": 1,
                }
            ]
        }
    )
