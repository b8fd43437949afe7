"""The topics of the integration: the one list from which they are created and subscribed to."""

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000
FOREVER: Final = -1
"""`retention.ms` of a topic from which time alone removes nothing."""

_OURS_MAX_BYTES: Final = 1_048_588
# Larger than MAX_EVENT_BYTES on purpose: an oversized invoice must reach its reader, who sets it aside
# with a reason. Refused by the broker it would only be an exception in somebody else's log.
_THEIRS_MAX_BYTES: Final = 3_000_000
# A dead letter is the record as read plus the headers that tell where it came from and why.
_DEAD_LETTER_MAX_BYTES: Final = 3_500_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic.

    Attributes:
        name: the topic's name; its major version is part of it.
        key: the field whose value keys its records (`"as read"` for dead letters).
        compacted: whether only the newest record per key is kept.
        partitions: number of partitions; fixed for life, since keys would move.
        retention_ms: how long records are kept; `FOREVER` for compacted topics.
        max_message_bytes: the broker's limit per record batch.
    """

    name: str
    key: str
    compacted: bool = False
    partitions: int = 6
    retention_ms: int = 30 * _DAY_MS
    max_message_bytes: int = _OURS_MAX_BYTES

    @property
    def dead_letters(self) -> str:
        """Name of the topic that takes what could not be read from this one."""
        return dead_letter_topic(self.name)

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's own words, for creating or checking it."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
        }


def dead_letter_topic(name: str) -> str:
    """Name of the dead letter topic of topic `name`."""
    return f"{name}.dlq"


INVOICES: Final = Topic("pipeline.invoices.v1", "invoice_id", max_message_bytes=_THEIRS_MAX_BYTES)
CUSTOMERS: Final = Topic(
    "pipeline.customers.v1", "customer_id", max_message_bytes=_THEIRS_MAX_BYTES
)
SYNC: Final = Topic(
    "pipeline.xero.sync.v1",
    "invoice_id (ContactMapped: customer_id, AccountReconciled: account_id)",
)
# Kept for ever: they are few and small, and the ledger of payments can be rebuilt from them.
PAYMENTS: Final = Topic("pipeline.payments.v1", "invoice_id", retention_ms=FOREVER)
CONNECTIONS: Final = Topic(
    "pipeline.xero.connections.v1", "account_id", compacted=True, retention_ms=FOREVER
)
CHANGES: Final = Topic("pipeline.xero.changes.v1", "xero_invoice_id")

EVENT_TOPICS: Final = (INVOICES, CUSTOMERS, SYNC, PAYMENTS, CONNECTIONS, CHANGES)
"""The topics that carry events."""

DEAD_LETTER_TOPICS: Final = tuple(
    Topic(
        topic.dead_letters,
        "as read",
        # Long enough for a person to come back from holiday, mend the cause and replay.
        retention_ms=90 * _DAY_MS,
        max_message_bytes=_DEAD_LETTER_MAX_BYTES,
    )
    for topic in EVENT_TOPICS
)
"""One dead letter topic for each topic of events."""

PUBLIC: Final = EVENT_TOPICS + DEAD_LETTER_TOPICS
"""What other teams may build on."""

# Who replayed which dead letter, when. One partition, so that what was done has one order; for ever, as audits are.
REPLAYS: Final = Topic("pipeline.replays.v1", "dead letter", partitions=1, retention_ms=FOREVER)

ALL: Final = (*PUBLIC, REPLAYS)
"""Every topic there is."""
