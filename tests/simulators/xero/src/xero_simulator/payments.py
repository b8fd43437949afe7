"""Payments: what may be paid, and how a payment moves its document.

Source: the Payments page (dev/documentation/api/accounting/payments).
"""

from dataclasses import replace

from xero_simulator import messages
from xero_simulator.contacts import Scene
from xero_simulator.documents import check_lock, day, note, number, text
from xero_simulator.invoices import apply_payment
from xero_simulator.messages import RuleBroken
from xero_simulator.money import cents
from xero_simulator.records import Account, Document, Payment
from xero_simulator.state import Books
from xero_simulator.wire import Json

_PAYMENT_TYPES = {
    "ACCREC": "ACCRECPAYMENT",
    "ACCPAY": "ACCPAYPAYMENT",
    "ACCRECCREDIT": "ARCREDITPAYMENT",
    "ACCPAYCREDIT": "APCREDITPAYMENT",
    "RECEIVE-OVERPAYMENT": "AROVERPAYMENTPAYMENT",
    "RECEIVE-PREPAYMENT": "ARPREPAYMENTPAYMENT",
    "SPEND-OVERPAYMENT": "APOVERPAYMENTPAYMENT",
    "SPEND-PREPAYMENT": "APPREPAYMENTPAYMENT",
}
_TARGETS = (
    ("Invoice", "InvoiceID", "InvoiceNumber", "invoice"),
    ("CreditNote", "CreditNoteID", "CreditNoteNumber", "credit_note"),
    ("Overpayment", "OverpaymentID", "", "overpayment"),
    ("Prepayment", "PrepaymentID", "", "prepayment"),
)


def create_payment(scene: Scene, payload: Json, *, batch_payment_id: str = "") -> Payment:
    """Records a payment and settles the document.

    Raises:
        RuleBroken: A rule of the payment tables refuses it.
    """
    document = _document(scene.books, payload)
    if document.status != "AUTHORISED":
        raise RuleBroken(messages.PAYMENT_NOT_AUTHORISED)
    account = _account(scene.books, payload.get("Account"))
    given = number(payload, "Amount")
    if given is None or given <= 0:
        raise RuleBroken(messages.PAYMENT_AMOUNT_INVALID)
    amount = cents(given)
    if amount > document.outstanding:
        raise RuleBroken(messages.PAYMENT_TOO_LARGE)
    paid_on = day(payload, "Date", scene.now.date()) or scene.now.date()
    check_lock(scene, paid_on)
    rate = number(payload, "CurrencyRate") or document.currency_rate
    bank = number(payload, "BankAmount")
    payment = Payment(
        payment_id=scene.ids.guid(),
        document_id=document.document_id,
        account_id=account.account_id,
        date=paid_on,
        amount=amount,
        bank_amount=cents(amount / rate) if bank is None else cents(bank),
        currency_rate=rate,
        payment_type=_PAYMENT_TYPES[document.type],
        updated=scene.now,
        reference=text(payload, "Reference"),
        is_reconciled=bool(payload.get("IsReconciled", False)),
        batch_payment_id=batch_payment_id,
    )
    scene.books.put_payment(payment)
    apply_payment(scene, document, amount, paid_on)
    note(scene, document.document_id, "Paid", f"Payment of {amount} made.")
    return payment


def delete_payment(
    scene: Scene,
    payment: Payment,
    payload: Json,
    *,
    reconciled_allowed: bool,
    with_batch: bool = False,
) -> Payment:
    """POST /Payments/{id}: nothing but Status DELETED is accepted.

    Raises:
        RuleBroken: Another field was sent, or the payment is already deleted or reconciled, or one of a batch, which is
            deleted as a whole.
    """
    if set(payload) != {"Status"} or payload["Status"] != "DELETED":
        raise RuleBroken(messages.PAYMENT_STATUS_ONLY)
    if payment.status == "DELETED":
        raise RuleBroken(messages.PAYMENT_DELETED)
    if payment.batch_payment_id and not with_batch:
        raise RuleBroken(messages.PAYMENT_IN_BATCH)
    if payment.is_reconciled and not reconciled_allowed:
        raise RuleBroken(messages.PAYMENT_RECONCILED)
    check_lock(scene, payment.date)
    deleted = replace(payment, status="DELETED", updated=scene.now)
    scene.books.put_payment(deleted)
    document = scene.books.documents[payment.document_id]
    apply_payment(scene, document, -payment.amount, payment.date)
    note(scene, document.document_id, "Payment Deleted", f"Payment of {payment.amount} deleted.")
    return deleted


def _document(books: Books, payload: Json) -> Document:
    named = [target for target in _TARGETS if isinstance(payload.get(target[0]), dict)]
    if len(named) != 1:
        raise RuleBroken(messages.PAYMENT_DOCUMENT_UNKNOWN)
    field, id_key, number_key, kind = named[0]
    reference: Json = payload[field]
    found = books.documents.get(str(reference.get(id_key) or "").lower())
    if found is None and kind == "invoice" and reference.get(number_key):
        found = next(iter(reversed(books.invoices_numbered(str(reference[number_key])))), None)
    if found is None and kind == "credit_note" and reference.get(number_key):
        found = next(iter(books.credit_notes_numbered(str(reference[number_key]))), None)
    if found is None or found.kind != kind:
        raise RuleBroken(messages.PAYMENT_DOCUMENT_UNKNOWN)
    return found


def _account(books: Books, reference: object) -> Account:
    wanted: Json = reference if isinstance(reference, dict) else {}
    for account in books.organisation.accounts.values():
        by_id = wanted.get("AccountID") == account.account_id
        if by_id or wanted.get("Code") == account.code:
            if account.type != "BANK" and not account.enable_payments:
                break
            return account
    raise RuleBroken(messages.PAYMENT_ACCOUNT_INVALID)
