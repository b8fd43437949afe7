"""Rows that go to the database as one array of its own types: by place, so both must name the same places."""

import pytest

from invoice_sync.domain.intake import Arrival, DesiredState
from invoice_sync.store import invoice_links


@pytest.mark.parametrize(
    ("named", "fields"),
    [
        ("desired_state", DesiredState._fields),
        ("arrival", Arrival._fields),
        ("invoice_link", tuple(each.strip() for each in invoice_links._COLUMNS.split(","))),
    ],
)
async def test_the_database_s_type_has_the_fields_of_ours_in_their_order(sync_pool, named, fields):
    attributes = await sync_pool.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass ORDER BY attnum", named
    )
    assert tuple(row["attname"] for row in attributes) == fields
