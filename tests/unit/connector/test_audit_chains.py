from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connector.domain.audit import (
    ChangeRecord,
    Head,
    RotationRecord,
    broken_account,
    broken_rotation,
    change_hash,
    rotation_hash,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def chain(length):
    records = []
    for sequence in range(1, length + 1):
        record = ChangeRecord(
            account_id="acc",
            sequence=sequence,
            at=NOW,
            actor="user-1",
            actor_name="Ada",
            from_status="DISCONNECTED" if sequence > 1 else None,
            to_status="CONNECTED",
            reason="CONNECTED_BY_USER",
            tenant_id="t",
            tenant_name="Org",
            previous_hash=records[-1].hash if records else None,
            hash=b"",
        )
        records.append(replace(record, hash=change_hash(record)))
    return records


HEAD = Head("acc", 3, "CONNECTED", "CONNECTED_BY_USER")


def test_a_whole_chain_holds():
    assert broken_account(chain(3), HEAD) is None


@pytest.mark.parametrize(
    "altered",
    [
        {"at": NOW.replace(hour=13)},
        {"actor": "user-2"},
        {"actor_name": None},
        {"from_status": None},
        {"to_status": "DISCONNECTED"},
        {"reason": "REFRESHED"},
        {"tenant_id": "other"},
        {"tenant_name": "Other"},
        {"previous_hash": b"x" * 32},
        {"hash": b"x" * 32},
    ],
)
def test_an_altered_row_is_named(altered):
    records = chain(3)
    records[1] = replace(records[1], **altered)
    assert broken_account(records, HEAD) == (
        "account 'acc', change 2: altered, or not the row that was written"
    )


def test_a_row_altered_with_a_hash_that_fits_breaks_the_next_one():
    records = chain(3)
    forged = replace(records[1], actor="user-2")
    records[1] = replace(forged, hash=change_hash(forged))
    assert "change 3: altered" in (broken_account(records, HEAD) or "")


@pytest.mark.parametrize(("missing", "named"), [(0, "change 1 is"), (1, "change 2 is")])
def test_a_row_taken_out_is_named(missing, named):
    records = chain(3)
    del records[missing]
    assert f"{named} missing before it" in (broken_account(records, HEAD) or "")


def test_a_missing_end_shows_at_the_connection():
    assert broken_account(chain(2), HEAD) == "account 'acc', change 3: missing at the end"
    assert broken_account([], HEAD) == "account 'acc', change 1: missing at the end"
    assert broken_account(chain(3), None) == "account 'acc': the connection is missing"
    assert "the connection is not what change 3 made it" in (
        broken_account(chain(3), replace(HEAD, status="DISCONNECTED")) or ""
    )


def test_an_end_removed_together_with_the_connections_memory_is_not_found():
    # Said in the documentation, with where to look instead; this keeps it honest.
    assert broken_account(chain(2), replace(HEAD, sequence=2)) is None


def rotations():
    records = []
    for sequence, happening in enumerate(("begun", "ended"), start=1):
        record = RotationRecord(
            sequence, NOW, happening, "v2", 0, records[-1].hash if records else None, b""
        )
        records.append(replace(record, hash=rotation_hash(record)))
    return records


def test_key_rotations_are_chained_too():
    assert broken_rotation(rotations()) is None
    first, second = rotations()
    assert "row 1 is missing before it" in (broken_rotation([second]) or "")
    for altered in ({"values_left": 1}, {"key_version": "v3"}, {"happening": "given_up"}):
        assert "key rotation 2: altered" in (
            broken_rotation([first, replace(second, **altered)]) or ""
        )
