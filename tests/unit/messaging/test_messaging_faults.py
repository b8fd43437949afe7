import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError

from pipeline_messaging.faults import is_infrastructure


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        KafkaConnectionError(),
        MemoryError(),
        asyncpg.SerializationError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.AdminShutdownError(),
        asyncpg.QueryCanceledError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.DiskFullError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.ReadOnlySQLTransactionError(),
        asyncpg.UndefinedColumnError(),
        asyncpg.InsufficientPrivilegeError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.InterfaceError("connection is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_worth_another_try(error):
    assert is_infrastructure(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(),
        KeyError(),
        AssertionError(),
        asyncpg.UniqueViolationError(),
        asyncpg.CheckViolationError(),
        asyncpg.NumericValueOutOfRangeError(),
        asyncpg.CharacterNotInRepertoireError(),
        asyncpg.InFailedSQLTransactionError(),
        asyncpg.exceptions.DataError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_records_or_the_handlers_own_fault(error):
    assert not is_infrastructure(error)


def test_a_wrapped_error_is_judged_by_its_cause():
    error = RuntimeError("could not store")
    assert not is_infrastructure(error)
    error.__cause__ = asyncpg.DeadlockDetectedError()
    assert is_infrastructure(error)
