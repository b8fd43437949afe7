"""Whose fault is a failure: the infrastructure's (try again) or the record's (set it aside)?"""

from collections.abc import Iterator
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

_INFRASTRUCTURE = (
    OSError,  # includes ConnectionError and TimeoutError
    KafkaError,
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InvalidTransactionStateError,  # class 25: read-only after a failover, idle too long
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28
    asyncpg.InvalidCatalogNameError,  # class 3D
    asyncpg.TransactionRollbackError,  # class 40: serialization failure, deadlock
    # Class 42: a missing table, column or privilege is a deployment gone wrong. It hits every record alike, so
    # calling it the record's fault would empty a whole topic into the dead letter topic.
    asyncpg.SyntaxOrAccessError,
    asyncpg.InsufficientResourcesError,  # class 53: disk full, too many connections
    asyncpg.ObjectNotInPrerequisiteStateError,  # class 55: lock not available
    asyncpg.OperatorInterventionError,  # class 57: shutdown, statement timeout
    asyncpg.PostgresSystemError,  # class 58
    asyncpg.InternalServerError,  # class XX
    asyncpg.InternalClientError,
    MemoryError,
)


def is_infrastructure(error: BaseException) -> bool:
    """True when trying the same work again later may succeed, whatever the record says.

    An `asyncpg.InterfaceError` counts only without being a `DataError`: asyncpg raises the former for a lost or
    misused connection, and the latter, a subclass, for a value that does not fit its column.
    """
    return any(_is_infrastructure(link) for link in _chain(error))


def told(error: BaseException) -> dict[str, Any]:
    """Fields for the log: one line for the infrastructure's faults, the traceback besides for anything else.

    An outage is thousands of the same error: rendering tracebacks then costs the event loop time that heartbeats and
    leases need, and a renderer that shows local variables would write events' contents into the log.
    """
    first_line = str(error).partition("\n")[0][:200]
    text = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    return {"error": text, "exc_info": None if is_infrastructure(error) else error}


def _is_infrastructure(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
        return False  # a handler that swallowed a failed statement: its bug, though of class 25
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, _INFRASTRUCTURE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was explicitly raised from: a store may wrap the driver's errors."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__
