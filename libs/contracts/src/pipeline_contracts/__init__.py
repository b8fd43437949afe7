"""The events that Pipeline's services and the Xero integration exchange over Kafka."""

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import Customer, CustomerCreated, CustomerUpdated
from pipeline_contracts.envelope import (
    MAX_EVENT_BYTES,
    Envelope,
    Record,
    decode,
    encode,
    stable_id,
)
from pipeline_contracts.errors import (
    HeaderInvalid,
    HeaderMissing,
    KeyMismatch,
    NotEncodable,
    PayloadInvalid,
    RecordTooLarge,
    Tombstone,
    UndecodableRecord,
    UnknownEventType,
)
from pipeline_contracts.event import EVENT_TYPES, Event
from pipeline_contracts.invoice import (
    Invoice,
    InvoiceCreated,
    InvoiceLine,
    InvoiceUpdated,
    InvoiceVoided,
    TrackingOption,
)
from pipeline_contracts.money import Money, Quantity
from pipeline_contracts.observed import ObservedInvoice, ObservedLine, XeroInvoiceObserved
from pipeline_contracts.payment import Payment, PaymentRecorded, PaymentReversed
from pipeline_contracts.problems import PROBLEMS, Mover, Problem, ProblemCode
from pipeline_contracts.reconciled import AccountReconciled
from pipeline_contracts.sync import (
    ContactMapped,
    Difference,
    InvoiceSynced,
    OutOfSync,
    SyncFailed,
    SyncResumed,
)
from pipeline_contracts.topics import Topic

__all__ = [
    "EVENT_TYPES",
    "MAX_EVENT_BYTES",
    "PROBLEMS",
    "AccountReconciled",
    "ConnectionStatusChanged",
    "ContactMapped",
    "Customer",
    "CustomerCreated",
    "CustomerUpdated",
    "Difference",
    "Envelope",
    "Event",
    "HeaderInvalid",
    "HeaderMissing",
    "Invoice",
    "InvoiceCreated",
    "InvoiceLine",
    "InvoiceSynced",
    "InvoiceUpdated",
    "InvoiceVoided",
    "KeyMismatch",
    "Money",
    "Mover",
    "NotEncodable",
    "ObservedInvoice",
    "ObservedLine",
    "OutOfSync",
    "PayloadInvalid",
    "Payment",
    "PaymentRecorded",
    "PaymentReversed",
    "Problem",
    "ProblemCode",
    "Quantity",
    "Record",
    "RecordTooLarge",
    "SyncFailed",
    "SyncResumed",
    "Tombstone",
    "Topic",
    "TrackingOption",
    "UndecodableRecord",
    "UnknownEventType",
    "XeroInvoiceObserved",
    "decode",
    "encode",
    "stable_id",
]
