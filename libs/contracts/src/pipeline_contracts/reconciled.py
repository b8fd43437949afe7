"""What comparing an account's books in Pipeline and in Xero, as a whole, came to."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from pipeline_contracts import topics
from pipeline_contracts.event import Event, Value
from pipeline_contracts.fields import Count, Flag, Id, LongText, ShortText, Timestamp, Version, Word
from pipeline_contracts.money import Money

MAX_TOTALS = 2_000
MAX_FINDINGS = 100


class LedgerTotal(Value):
    """The invoices of one currency in both books."""

    currency: Word = Field(description="ISO 4217 code; `XXX` where none is known.")
    invoices: Count = Field(description="Invoices Pipeline has accepted, voided ones included.")
    total: Money = Field(description="Their totals in Pipeline, without those voided.")
    in_xero: Count = Field(description="Of Pipeline's invoices, how many are live in Xero.")
    xero_total: Money = Field(description="Their totals in Xero.")
    difference: Money = Field(description="`total` less `xero_total`, to the cent.")


class StateTotal(LedgerTotal):
    """The same, of the invoices in one state."""

    state: Word = Field(
        description="State of the invoices in Pipeline; `not_linked`: live in Xero under Pipeline's mark, and linked "
        "to no invoice; `left_behind`: in an organisation the account was connected to before."
    )


class Finding(Value):
    """One kind of thing that is not as it should be, in words."""

    kind: Word = Field(description="Which, for programs.")
    count: Version = Field(description="How many.")
    message: LongText = Field(description="What was found.")
    hint: LongText = Field(description="What happens next, or whose move it is.")


class AccountReconciled(Event):
    """Every accepted invoice of an account was accounted for, and compared with Xero."""

    TYPE: ClassVar[str] = "pipeline.account.reconciled.v1"
    TOPIC: ClassVar[str] = topics.SYNC.name
    KEY: ClassVar[str] = "account_id"

    reconciliation: Version = Field(description="1, 2, … per account.")
    tenant_id: Id = Field(description="Xero organisation it was compared with.")
    asked_by: ShortText = Field(
        description="Who asked: `user:<id>`, `service:<name>`, `command:reconcile`, or `schedule`."
    )
    began_at: Timestamp = Field(description="When reading Xero began.")
    finished_at: Timestamp = Field(description="When the last of it was compared.")
    is_clean: Flag = Field(description="Whether nothing was found.")
    totals: tuple[LedgerTotal, ...] = Field(
        max_length=MAX_TOTALS, description="Both books by currency."
    )
    states: tuple[StateTotal, ...] = Field(
        max_length=MAX_TOTALS,
        description="Both books by state and currency; they add up to `totals`.",
    )
    findings: tuple[Finding, ...] = Field(
        max_length=MAX_FINDINGS, description="What was found; empty if it is clean."
    )

    @property
    def revision(self) -> str:
        """The reconciliation's place among the account's."""
        return str(self.reconciliation)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "reconciliation": 12,
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "asked_by": "schedule",
                    "began_at": "2026-03-02T02:14:05Z",
                    "finished_at": "2026-03-02T02:14:31Z",
                    "is_clean": False,
                    "totals": [
                        {
                            "currency": "NZD",
                            "invoices": 3,
                            "total": "387.50",
                            "in_xero": 2,
                            "xero_total": "287.50",
                            "difference": "100.00",
                        }
                    ],
                    "states": [
                        {
                            "currency": "NZD",
                            "invoices": 2,
                            "total": "287.50",
                            "in_xero": 2,
                            "xero_total": "287.50",
                            "difference": "0.00",
                            "state": "synced",
                        },
                        {
                            "currency": "NZD",
                            "invoices": 1,
                            "total": "100.00",
                            "in_xero": 0,
                            "xero_total": "0.00",
                            "difference": "100.00",
                            "state": "waiting_for_contact",
                        },
                    ],
                    "findings": [
                        {
                            "kind": "changed_in_xero",
                            "count": 1,
                            "message": "1 invoice was changed in Xero without our hearing of it.",
                            "hint": "Nothing to do: it is compared again now.",
                        }
                    ],
                }
            ]
        }
    )
