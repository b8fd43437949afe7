"""What the pages need, built once in `app.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ops_dashboard.clients.api import PaymentIngest
from ops_dashboard.clients.invoice_sync import InvoiceSync
from ops_dashboard.settings import Settings
from ops_dashboard.watch_accounts import AccountWatch
from pipeline_service_defaults.database import Pool


@dataclass(frozen=True, slots=True)
class Deps:
    """Database, the services that are asked, the watch for live updates, and the clock."""

    settings: Settings
    pool: Pool
    invoice_sync: InvoiceSync
    payment_ingest: PaymentIngest | None
    """None where its address is not configured."""
    watch: AccountWatch
    clock: Callable[[], datetime]
