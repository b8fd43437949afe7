"""What an account's work needs of the outside."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.read_documents import DocumentReader
from payment_ingest.read_invoices import InvoiceReader
from payment_ingest.read_payments import PaymentReader


@dataclass(frozen=True, slots=True)
class Deps:
    """Database, Xero, clock, and whom to wake when there is something to publish."""

    pool: asyncpg.Pool
    reader: InvoiceReader
    payments: PaymentReader
    sweep: SweepTimes
    clock: Callable[[], datetime]
    on_told: Callable[[], None]
    documents: DocumentReader
