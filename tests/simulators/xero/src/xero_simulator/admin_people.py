"""What people do inside Xero: it spends no API calls and rings the webhooks like any change."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel

from xero_simulator import contacts, credit_notes, invoices, ledger, payments, seed
from xero_simulator.contacts import Scene
from xero_simulator.documents import blank_document, number, text
from xero_simulator.messages import RuleBroken
from xero_simulator.records import Account, Document, Line, TaxRate
from xero_simulator.state import Books
from xero_simulator.wire import Json, dumps, loads
from xero_simulator.world import World

Result = TypeVar("Result")


class NewUser(BaseModel):
    """A person who can sign in."""

    email: str
    given_name: str = "Pat"
    family_name: str = "Person"
    tenants: list[str] = []


class NewOrganisation(BaseModel):
    """An organisation with the usual accounts and tax rates."""

    name: str
    country: str = "NZ"
    base_currency: str = "NZD"
    currencies: list[str] = []
    users: list[str] = []


class OrganisationChange(BaseModel):
    """Settings a person changes; what is absent stays."""

    name: str | None = None
    currencies: list[str] | None = None
    period_lock_date: date | None = None
    end_of_year_lock_date: date | None = None
    clear_lock_dates: bool = False
    monthly_approval_limit: int | None = None
    numbers_freed_by: list[str] | None = None
    class_: str | None = None


class AccountChange(BaseModel):
    """A new account, or a change of one."""

    name: str | None = None
    type: str | None = None
    account_class: str | None = None
    tax_type: str | None = None
    status: str | None = None
    enable_payments: bool | None = None


class TaxRateChange(BaseModel):
    """A new tax rate."""

    name: str
    rate: Decimal
    classes: list[str] = ["REVENUE", "EXPENSE", "ASSET", "LIABILITY", "EQUITY"]
    status: str = "ACTIVE"


def people_router(world: World) -> APIRouter:  # noqa: C901, PLR0915 -- a table of routes
    """The routes of people's work."""
    router = APIRouter()

    @router.get("/users")
    async def users() -> list[Json]:
        return [_user(user) for user in world.users.values()]

    @router.post("/users", status_code=201)
    async def create_user(body: NewUser) -> Json:
        if world.user_by_email(body.email):
            raise HTTPException(409, f"{body.email} exists")
        for tenant in body.tenants:
            _books(world, tenant)
        user = seed.User(
            world.ids.guid(), body.email, body.given_name, body.family_name, tuple(body.tenants)
        )
        world.users[user.user_id] = user
        return _user(user)

    @router.get("/organisations")
    async def organisations() -> list[Json]:
        return [_organisation(books) for books in world.books.values()]

    @router.post("/organisations", status_code=201)
    async def create_organisation(body: NewOrganisation) -> Json:
        currencies = tuple(dict.fromkeys([body.base_currency, *body.currencies]))
        created = seed.organisation(
            world.ids, body.name, body.country, body.base_currency, currencies, world.clock.now()
        )
        books = world.add_organisation(created)
        for email in body.users:
            user = world.user_by_email(email)
            if user is None:
                raise HTTPException(404, f"no user {email}")
            tenants = (*user.tenant_ids, created.tenant_id)
            world.users[user.user_id] = replace(user, tenant_ids=tenants)
        return _organisation(books)

    @router.patch("/organisations/{tenant}")
    async def change_organisation(tenant: str, body: OrganisationChange) -> Json:
        books = _books(world, tenant)
        _change_organisation(books, body)
        return _organisation(books)

    @router.put("/organisations/{tenant}/accounts/{code}")
    async def put_account(tenant: str, code: str, body: AccountChange) -> Json:
        accounts = _books(world, tenant).organisation.accounts
        known = accounts.get(code) or Account(
            world.ids.guid(), code, code, "REVENUE", "REVENUE", "NONE"
        )
        changes = body.model_dump(exclude_none=True)
        if "account_class" in changes:
            changes["class_"] = changes.pop("account_class")
        accounts[code] = replace(known, **changes)
        return {"code": code, "status": accounts[code].status}

    @router.put("/organisations/{tenant}/tax-rates/{tax_type}")
    async def put_tax_rate(tenant: str, tax_type: str, body: TaxRateChange) -> Json:
        rates = _books(world, tenant).organisation.tax_rates
        rates[tax_type] = TaxRate(
            tax_type, body.name, body.rate, frozenset(body.classes), body.status
        )
        return {"tax_type": tax_type}

    @router.get("/tenants/{tenant}/ledger")
    async def read_ledger(tenant: str) -> Response:
        return _json(ledger.dump(_books(world, tenant)))

    @router.post("/tenants/{tenant}/contacts", status_code=201)
    async def create_contact(tenant: str, request: Request) -> Response:
        body = await _payload(request)
        return _act(world, tenant, lambda scene: _new_contact(scene, body), 201)

    @router.post("/tenants/{tenant}/contacts/{key}")
    async def edit_contact(tenant: str, key: str, request: Request) -> Response:
        body = await _payload(request)

        def act(scene: Scene) -> Json:
            found = scene.books.contacts.get(key) or contacts.numbered(scene.books, key)
            if found is None:
                raise HTTPException(404, f"no contact {key}")
            edited = contacts.edit_contact(scene, found, body, person=True)
            return ledger.contact(edited)

        return _act(world, tenant, act)

    @router.post("/tenants/{tenant}/contacts/{key}/merge-into/{target}")
    async def merge_contact(tenant: str, key: str, target: str) -> Response:
        def act(scene: Scene) -> Json:
            found = scene.books.contacts[key]
            merged = replace(found, status="ARCHIVED", merged_to=target, updated=scene.now)
            scene.books.put_contact(merged)
            # Its documents become the other contact's.
            for document_id in list(scene.books.documents_by_contact.get(key, ())):
                document = scene.books.documents[document_id]
                scene.books.put_document(replace(document, contact_id=target))
            return ledger.contact(merged)

        return _act(world, tenant, act)

    @router.delete("/tenants/{tenant}/contacts/{key}")
    async def delete_contact(tenant: str, key: str) -> Response:
        def act(scene: Scene) -> Json:
            if scene.books.documents_by_contact.get(key):
                raise HTTPException(409, "a contact with documents can only be archived")
            found = scene.books.contacts[key]
            scene.books.drop_contact(found)
            return ledger.contact(found)

        return _act(world, tenant, act)

    @router.post("/tenants/{tenant}/invoices", status_code=201)
    async def create_invoice(tenant: str, request: Request) -> Response:
        body = {"Type": "ACCREC", "Status": "AUTHORISED"} | await _payload(request)
        body.setdefault("DueDate", body.get("Date") or world.clock.now().date().isoformat())
        return _act(
            world,
            tenant,
            lambda scene: ledger.invoice(
                scene.books, invoices.create_invoice(scene, body).document
            ),
            201,
        )

    @router.get("/tenants/{tenant}/invoices/{key}")
    async def read_invoice(tenant: str, key: str) -> Response:
        books = _books(world, tenant)
        return _json(ledger.invoice(books, _invoice(books, key)))

    @router.post("/tenants/{tenant}/invoices/{key}")
    async def edit_invoice(tenant: str, key: str, request: Request) -> Response:
        body = await _payload(request)

        def act(scene: Scene) -> Json:
            written = invoices.update_invoice(scene, _invoice(scene.books, key), body)
            return ledger.invoice(scene.books, written.document)

        return _act(world, tenant, act)

    @router.post("/tenants/{tenant}/payments", status_code=201)
    async def pay(tenant: str, request: Request) -> Response:
        """Pays an invoice: `invoice` (id or number), `amount` (all that is due when absent)."""
        body = await _payload(request)

        def act(scene: Scene) -> Json:
            return ledger.payment(scene.books, _pay(scene, body))

        return _act(world, tenant, act, 201)

    @router.delete("/tenants/{tenant}/payments/{payment_id}")
    async def delete_payment(tenant: str, payment_id: str) -> Response:
        def act(scene: Scene) -> Json:
            found = scene.books.payments.get(payment_id)
            if found is None:
                raise HTTPException(404, f"no payment {payment_id}")
            deletion = {"Status": "DELETED"}
            row = payments.delete_payment(scene, found, deletion, reconciled_allowed=True)
            return ledger.payment(scene.books, row)

        return _act(world, tenant, act)

    @router.post("/tenants/{tenant}/batch-payments", status_code=201)
    async def pay_batch(tenant: str, request: Request) -> Response:
        """Pays several invoices at once: `payments`, each as for one payment."""
        body = await _payload(request)

        def act(scene: Scene) -> Json:
            batch = scene.ids.guid()
            paid = [_pay(scene, row, batch_payment_id=batch) for row in body.get("payments", [])]
            rows = [ledger.payment(scene.books, row) for row in paid]
            return {"batch_payment_id": batch, "payments": rows}

        return _act(world, tenant, act, 201)

    @router.delete("/tenants/{tenant}/batch-payments/{batch}")
    async def delete_batch(tenant: str, batch: str) -> Response:
        def act(scene: Scene) -> Json:
            rows = [row for row in scene.books.payments.values() if row.batch_payment_id == batch]
            for row in rows:
                payments.delete_payment(
                    scene, row, {"Status": "DELETED"}, reconciled_allowed=True, with_batch=True
                )
            return {"batch_payment_id": batch, "deleted": len(rows)}

        return _act(world, tenant, act)

    @router.post("/tenants/{tenant}/credits", status_code=201)
    async def credit(tenant: str, request: Request) -> Response:
        """Credits an invoice by `kind` credit_note, overpayment or prepayment, and allocates it."""
        body = await _payload(request)
        return _act(world, tenant, lambda scene: _credit(scene, body), 201)

    @router.post("/tenants/{tenant}/credits/{source_id}/allocations", status_code=201)
    async def allocate(tenant: str, source_id: str, request: Request) -> Response:
        """Allocates what is left of a credit note, overpayment or prepayment to one more invoice."""
        body = await _payload(request)
        return _act(world, tenant, lambda scene: _allocate(scene, source_id, body), 201)

    @router.post("/tenants/{tenant}/credits/{source_id}/refunds", status_code=201)
    async def refund(tenant: str, source_id: str, request: Request) -> Response:
        """Pays what is left of a credit note, overpayment or prepayment back to the customer."""
        body = await _payload(request)
        return _act(world, tenant, lambda scene: _refund(scene, source_id, body), 201)

    @router.delete("/tenants/{tenant}/allocations/{allocation_id}")
    async def remove_allocation(tenant: str, allocation_id: str) -> Response:
        def act(scene: Scene) -> Json:
            row = scene.books.allocations.get(allocation_id)
            if row is None:
                raise HTTPException(404, f"no allocation {allocation_id}")
            credit_notes.remove_allocation(scene, row)
            return {"allocation_id": allocation_id, "removed": True}

        return _act(world, tenant, act)

    return router


def _act(world: World, tenant: str, action: Callable[[Scene], Json], status: int = 200) -> Response:
    books = _books(world, tenant)
    with books.atomic():
        result = action(world.scene(books, by_app=False))
    world.commit(books)
    return _json(result, status)


def _books(world: World, tenant: str) -> Books:
    books = world.books.get(tenant)
    if books is None:
        raise HTTPException(404, f"no organisation {tenant}")
    return books


async def _payload(request: Request) -> Json:
    # Not FastAPI's own parsing: amounts must stay exact.
    body = loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise HTTPException(400, "an object is expected")
    return body


def _json(body: Any, status: int = 200) -> Response:
    return Response(dumps(body), status, media_type="application/json")


def _new_contact(scene: Scene, body: Json) -> Json:
    return ledger.contact(contacts.create_contact(scene, body))


def _invoice(books: Books, key: str) -> Document:
    found = books.documents.get(key.lower())
    if found is None:
        rows = books.invoices_numbered(key)
        live = [row for row in rows if row.status not in {"VOIDED", "DELETED"}]
        found = next(reversed(live or rows), None)
    if found is None or found.kind != "invoice":
        raise HTTPException(404, f"no invoice {key}")
    return found


def _pay(scene: Scene, body: Json, *, batch_payment_id: str = "") -> Any:
    found = _invoice(scene.books, text(body, "invoice"))
    amount = number(body, "amount")
    row: Json = {
        "Invoice": {"InvoiceID": found.document_id},
        "Account": {"Code": text(body, "account", "090")},
        "Amount": found.outstanding if amount is None else amount,
        "Reference": text(body, "reference"),
        "Date": body.get("date"),
        "IsReconciled": bool(body.get("reconciled", False)),
        "CurrencyRate": body.get("rate"),
    }
    return payments.create_payment(scene, row, batch_payment_id=batch_payment_id)


def _credit(scene: Scene, body: Json) -> Json:
    found = _invoice(scene.books, text(body, "invoice"))
    kind = text(body, "kind", "credit_note")
    amount = number(body, "amount")
    amount = found.outstanding if amount is None else amount
    total = number(body, "total") or amount
    source = _credit_document(scene, kind, found, total)
    scene.books.put_document(source)
    row = {"Invoice": {"InvoiceID": found.document_id}, "Amount": amount, "Date": body.get("date")}
    allocated = credit_notes.allocate(scene, source, row)
    return ledger.allocation(scene.books, allocated)


_REFUNDED = {
    "credit_note": ("CreditNote", "CreditNoteID"),
    "overpayment": ("Overpayment", "OverpaymentID"),
    "prepayment": ("Prepayment", "PrepaymentID"),
}


def _refund(scene: Scene, source_id: str, body: Json) -> Json:
    source = scene.books.documents.get(source_id.lower())
    if source is None or source.kind not in _REFUNDED:
        raise HTTPException(404, f"no credit {source_id}")
    field, id_key = _REFUNDED[source.kind]
    row = {
        field: {id_key: source.document_id},
        "Account": {"Code": text(body, "account", "090")},
        "Amount": number(body, "amount") or source.outstanding,
        "Date": body.get("date"),
    }
    return ledger.payment(scene.books, payments.create_payment(scene, row))


def _allocate(scene: Scene, source_id: str, body: Json) -> Json:
    source = scene.books.documents.get(source_id.lower())
    if source is None or source.kind == "invoice":
        raise HTTPException(404, f"no credit {source_id}")
    found = _invoice(scene.books, text(body, "invoice"))
    row = {
        "Invoice": {"InvoiceID": found.document_id},
        "Amount": number(body, "amount"),
        "Date": body.get("date"),
    }
    return ledger.allocation(scene.books, credit_notes.allocate(scene, source, row))


def _credit_document(scene: Scene, kind: str, found: Document, total: Decimal) -> Document:
    sales = found.type == "ACCREC"
    types = {
        "credit_note": "ACCRECCREDIT" if sales else "ACCPAYCREDIT",
        "overpayment": "RECEIVE-OVERPAYMENT" if sales else "SPEND-OVERPAYMENT",
        "prepayment": "RECEIVE-PREPAYMENT" if sales else "SPEND-PREPAYMENT",
    }
    if kind not in types:
        raise RuleBroken(f"kind must be one of {sorted(types)}")
    line = Line(scene.ids.guid(), "Credit", Decimal(1), total, line_amount=total, tax_type="NONE")
    return replace(
        blank_document(scene, kind, types[kind], "AUTHORISED"),
        contact_id=found.contact_id,
        currency=found.currency,
        currency_rate=found.currency_rate,
        line_amount_types="NoTax",
        lines=(line,),
        subtotal=total,
        total=total,
        number=f"CN-{scene.books.take_number('next_credit_note_number'):04d}"
        if kind == "credit_note"
        else "",
    )


def _change_organisation(books: Books, body: OrganisationChange) -> None:
    organisation = books.organisation
    if body.clear_lock_dates:
        organisation.period_lock_date = organisation.end_of_year_lock_date = None
    for name, value in body.model_dump(exclude_unset=True, exclude={"clear_lock_dates"}).items():
        if name == "currencies":
            organisation.currencies = tuple(
                dict.fromkeys([organisation.base_currency, *(value or [])])
            )
        elif name == "numbers_freed_by":
            organisation.numbers_freed_by = frozenset(value or ())
        else:
            setattr(organisation, name, value)


def _user(user: seed.User) -> Json:
    return {
        "user_id": user.user_id,
        "email": user.email,
        "name": f"{user.given_name} {user.family_name}",
        "tenants": list(user.tenant_ids),
    }


def _organisation(books: Books) -> Json:
    row = books.organisation
    return {
        "tenant_id": row.tenant_id,
        "name": row.name,
        "short_code": row.short_code,
        "country": row.country,
        "base_currency": row.base_currency,
        "currencies": list(row.currencies),
        "accounts": sorted(row.accounts),
        "tax_rates": sorted(row.tax_rates),
        "period_lock_date": _day(row.period_lock_date),
        "end_of_year_lock_date": _day(row.end_of_year_lock_date),
        "monthly_approval_limit": row.monthly_approval_limit,
        "numbers_freed_by": sorted(row.numbers_freed_by),
        "contacts": len(books.contacts),
        "invoices": sum(1 for document in books.documents.values() if document.kind == "invoice"),
    }


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None
