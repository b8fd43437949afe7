"""The dashboard's pages and streams."""

from collections.abc import Sequence

from fastapi import APIRouter


def routers() -> Sequence[APIRouter]:
    """Every part's routes."""
    from ops_dashboard.handlers import (  # noqa: PLC0415 - the parts import this package
        actions,
        connections,
        events,
        failures,
        invoices,
        odd_records,
        overview,
        payments,
        reading,
    )

    parts = (
        overview,
        connections,
        invoices,
        failures,
        payments,
        odd_records,
        reading,
        actions,
        events,
    )
    return [part.router for part in parts]
