"""Outbox, inbox, relay, per-account worker and dead letters: reliable Kafka on Postgres."""

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).parent / "migrations"
"""This library's tables; applied to each service's database before the service's own."""
