"""Why a record could not be read.

::

    UndecodableRecord
    ├── Tombstone          no body at all
    ├── RecordTooLarge     body over MAX_EVENT_BYTES
    ├── HeaderMissing      a CloudEvents header is absent
    ├── HeaderInvalid      a CloudEvents header is there but unreadable or contradictory
    ├── UnknownEventType   no event of these contracts has that type
    ├── PayloadInvalid     the body is not the event it claims to be
    └── KeyMismatch        the record's key, its subject and its body name different aggregates

Each is for ever: the same bytes will be refused again, so they belong with the dead letters.
"""

from typing import ClassVar


class UndecodableRecord(Exception):  # noqa: N818 - the name of the thing set aside, as in the drawn tree
    """A Kafka record that is not an event; its message names the field and the fix."""

    code: ClassVar[str] = "UNDECODABLE"
    """Stable name of the reason, for headers and metrics."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Tombstone(UndecodableRecord):
    """A record without a body."""

    code: ClassVar[str] = "TOMBSTONE"


class RecordTooLarge(UndecodableRecord):
    """A body larger than an event may be."""

    code: ClassVar[str] = "RECORD_TOO_LARGE"


class HeaderMissing(UndecodableRecord):
    """A CloudEvents header is absent."""

    code: ClassVar[str] = "HEADER_MISSING"


class HeaderInvalid(UndecodableRecord):
    """A CloudEvents header is present but cannot be used."""

    code: ClassVar[str] = "HEADER_INVALID"


class UnknownEventType(UndecodableRecord):
    """A type none of the contracts has."""

    code: ClassVar[str] = "UNKNOWN_EVENT_TYPE"


class PayloadInvalid(UndecodableRecord):
    """A body that is not JSON, or not the event its type promises."""

    code: ClassVar[str] = "PAYLOAD_INVALID"


class KeyMismatch(UndecodableRecord):
    """Key, subject and body disagree about the aggregate, so order per key would not be its order."""

    code: ClassVar[str] = "KEY_MISMATCH"


class NotEncodable(ValueError):  # noqa: N818 - the counterpart of UndecodableRecord
    """An event its writer must not publish; the message names the field and the fix."""
