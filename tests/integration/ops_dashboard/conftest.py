"""A dashboard per test, on the shared Kafka and Postgres."""

import pytest
from dashboard_world import dashboard_world

from pipeline_service_defaults.migrate import directories_of


@pytest.fixture
async def world(kafka, make_database, tmp_path):
    dsn = await make_database(*directories_of("ops_dashboard"))
    async with dashboard_world(kafka, dsn, tmp_path) as made:
        yield made
