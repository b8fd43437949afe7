"""The service as it runs: on real Kafka with its HTTP interface, and as a process killed at each named step."""

import asyncio
import os
import signal
import sys
import time
import uuid
from datetime import UTC, date, datetime

import pytest
from service_processes import until
from sync_processes import gateway_app, one_of_two_frozen, running_process
from sync_wire import connected, running_app

from invoice_sync.settings import InvoiceSyncSettings
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import encode
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_service_defaults.keys import sign

STEPS = [
    "worker:after_claim",
    "contacts:before_intent",
    "contacts:after_intent",
    "codes:after_read",
    "codes:after_record",
    "invoices:before_intent",
    "invoices:after_intent",
    "send:before",
    "send:after",
    "send:after@2",
    "record_contacts:before",
    "record_contacts:before_commit",
    "record:before",
    "record:before_commit",
    "record:after",
    "record:after@2",
    "worker:after_process",
    "worker:after_release",
]


def person_token(identities, account_id, role="admin", **claims) -> str:
    now = int(time.time())
    values = {
        "iss": "pipeline",
        "aud": "pipeline-xero",
        "sub": "user-1",
        "name": "Dana",
        "account_id": account_id,
        "role": role,
        "iat": now,
        "exp": now + 600,
    }
    return sign(identities[1], values | claims)


def service_token(identities, name="pipeline-backend", audience="invoice-sync") -> str:
    now = int(time.time())
    key = identities[2] if name == "pipeline-backend" else identities[3]
    return sign(key, {"iss": name, "sub": name, "aud": audience, "iat": now, "exp": now + 300})


async def test_from_kafka_to_xero_and_back_and_what_is_broken_is_set_aside(
    service, sync_dsn, wire, identities, serve, serve_with_lifespan, line_of
):
    account_id = service.account_id
    async with serve(gateway_app(service.gateway)) as gateway_url:
        settings = InvoiceSyncSettings(
            database_url=sync_dsn,
            kafka_bootstrap_servers=wire.bootstrap,
            http_port=0,
            auth_issuers_file=identities[0] / "issuers.json",
            service_key_file=identities[0] / "own.pem",
            connector_url=gateway_url,
            consumer_group=wire.prefix,
        )
        async with running_app(settings, serve_with_lifespan) as client:
            await through_kafka(service, wire, account_id)
            await over_http(service, client, identities, account_id)
            coded = service.invoice("inv-3", lines=[line_of("1", account_code="SALES")])
            early = service.invoice("inv-4", issue_date=date(2026, 1, 1))
            await change_over_http(service, wire, client, identities, (coded, early))


async def through_kafka(service, wire, account_id) -> None:
    service.gateway.tenants[account_id] = service.books.tenant_id
    await wire.raw("invoices", b"inv-x", b"{not json")
    await wire.raw("invoices", b"inv-x", None)
    good = service.invoice("inv-1")
    record = encode(good, id="e-1", source="billing", time=datetime.now(UTC))
    wrong_type = [
        (name, b"pipeline.nothing.happened.v1" if name == "ce_type" else value)
        for name, value in record.headers
    ]
    await wire.raw("invoices", record.key, record.value, wrong_type)
    await wire.publish("connections", connected(account_id, service.books.tenant_id))
    await wire.publish(
        "customers",
        CustomerCreated(account_id=account_id, customer_id="cust-1", version=1, name="Kim"),
    )
    await wire.raw("invoices", record.key, record.value, record.headers)
    await wire.raw("invoices", record.key, record.value, record.headers)
    await wire.publish("invoices", service.invoice("inv-2", customer_id="cust-2"))
    await until(lambda: in_state(service, "inv-1", "synced"), "inv-1 is synced")
    await until(lambda: in_state(service, "inv-2", "waiting_for_contact"), "inv-2 waits")
    letters = await wire.read("invoices.dlq", 3)
    codes = {dict(each.headers)["x-dlq-code"] for each in letters}
    assert len(codes) == 3
    assert {each.value for each in letters} >= {b"{not json"}
    assert len(await service.books.invoices("INV-1")) == 1


async def in_state(service, invoice_id, state) -> bool:
    return await service.state(invoice_id) == state


async def over_http(service, client, identities, account_id) -> None:
    base = f"/v1/accounts/{account_id}"
    person = {"Authorization": f"Bearer {person_token(identities, account_id)}"}
    viewer = {"Authorization": f"Bearer {person_token(identities, account_id, role='viewer')}"}
    stranger = {"Authorization": f"Bearer {person_token(identities, 'acc-other')}"}
    backend = {"Authorization": f"Bearer {service_token(identities)}"}
    other_service = {"Authorization": f"Bearer {service_token(identities, 'payment-ingest')}"}

    found = (await client.get(f"{base}/invoices/inv-1/sync", headers=viewer)).json()
    assert found["state"] == "synced"
    assert found["cause"] is None
    assert "shortcode=!Abc1D" in found["in_xero"]["deep_link"]
    kinds = [each["kind"] for each in found["timeline"]]
    assert kinds[0] == "InvoiceCreated"
    assert kinds[-1] == "synced"
    assert found["timeline"][-1]["xero_correlation_id"]

    waiting = (await client.get(f"{base}/invoices/inv-2/sync", headers=backend)).json()
    assert waiting["cause"]["code"] == "CUSTOMER_NOT_MAPPED"
    assert waiting["cause"]["whose_move"] == "bookkeeper"
    failures = (await client.get(f"{base}/failures", headers=viewer)).json()
    (group,) = failures["failures"]
    assert group["code"] == "CUSTOMER_NOT_MAPPED"
    assert group["customer_id"] == "cust-2"
    assert group["totals"] == [{"currency": "NZD", "total": "100.00"}]

    for path in ("/invoices/inv-1/sync", "/failures", "/contact-mappings"):
        assert (await client.get(base + path)).status_code == 401
        assert (await client.get(base + path, headers=stranger)).status_code == 404
        assert (await client.get(base + path, headers=other_service)).status_code == 403
    refused = await client.post(f"{base}/failures/CUSTOMER_NOT_MAPPED/retry", headers=viewer)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await client.get(f"{base}/invoices/none/sync", headers=person)).status_code == 404
    assert (await client.post(f"{base}/failures/NONSENSE/retry", headers=person)).status_code == 404
    assert (
        await client.post(f"{base}/invoices/inv-1/sync/retry", headers=person)
    ).status_code == 409

    await map_over_http(service, client, base, person, viewer)
    assert (await client.get("/health/ready")).status_code == 200
    assert "invoice_sync_due" in (await client.get("/metrics")).text


async def change_over_http(service, wire, client, identities, invoices) -> None:
    """Settings and a code mapping, from the request of a person to the invoice in Xero."""
    base = f"/v1/accounts/{service.account_id}"
    person = {"Authorization": f"Bearer {person_token(identities, service.account_id)}"}
    choice = {"start_date": "2026-02-01", "invoice_status": "draft", "number_prefix": "PL-"}
    chosen = await client.put(f"{base}/settings", json=choice, headers=person | {"If-Match": '"0"'})
    assert chosen.status_code == 200, chosen.text
    for each in invoices:
        await wire.publish("invoices", each)
    await until(lambda: in_state(service, "inv-4", "failed"), "inv-4 is too early")
    all_dates = {**choice, "start_date": None}
    changed = await client.put(
        f"{base}/settings", json=all_dates, headers=person | {"If-Match": chosen.headers["etag"]}
    )
    assert changed.json()["released"] == 1
    await until(lambda: in_state(service, "inv-4", "synced"), "inv-4 follows by itself")
    await until(lambda: in_state(service, "inv-3", "failed"), "inv-3 names a code Xero lacks")
    found = (await client.get(f"{base}/invoices/inv-3/sync", headers=person)).json()
    assert found["cause"]["code"] == "ACCOUNT_NOT_MAPPED"
    assert "SALES on line 1" in found["cause"]["message"]
    mapped = await client.put(
        f"{base}/code-mappings/account/SALES", json={"xero_code": "260"}, headers=person
    )
    assert mapped.json()["released"] == 1
    await until(lambda: in_state(service, "inv-3", "synced"), "inv-3 follows by itself")
    for number in ("PL-INV-3", "PL-INV-4"):
        (invoice,) = await service.books.invoices(number)
        assert invoice["status"] == "DRAFT"


async def map_over_http(service, client, base, person, viewer) -> None:
    mapping = f"{base}/contact-mappings/cust-2"
    contact = await service.books.act("POST", "contacts", {"Name": "Alex"})
    archived = await service.books.act("POST", "contacts", {"Name": "Old"})
    await service.books.act(
        "POST", f"contacts/{archived['contact_id']}", {"ContactStatus": "ARCHIVED"}
    )
    for contact_id, code in (
        (str(uuid.uuid4()), 422),
        (archived["contact_id"], 409),
        ("not-a-guid", 422),
    ):
        answer = await client.put(mapping, json={"contact_id": contact_id}, headers=person)
        assert answer.status_code == code, answer.text
    assert (await client.get(mapping, headers=person)).status_code == 404
    made = await client.put(mapping, json={"contact_id": contact["contact_id"]}, headers=person)
    assert made.status_code == 200, made.text
    assert made.json()["released"] == 1
    assert made.json()["mapped_by"] == "user:user-1"
    await until(lambda: in_state(service, "inv-2", "synced"), "inv-2 follows by itself")
    (invoice,) = await service.books.invoices("INV-2")
    assert invoice["contact_id"] == contact["contact_id"]
    listed = (await client.get(f"{base}/contact-mappings", headers=viewer)).json()
    assert [each["customer_id"] for each in listed["mappings"]] == ["cust-1", "cust-2"]
    assert (await client.delete(mapping, headers=person)).status_code == 204
    assert (await client.delete(mapping, headers=person)).status_code == 404


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_nothing_is_lost_or_doubled(
    service, sync_dsn, identities, serve, step
):
    await service.connect()
    await service.know("cust-1")
    await service.want(*(service.invoice(f"inv-{number}") for number in range(3)))
    async with serve(gateway_app(service.gateway)) as gateway_url:
        async with running_process(sync_dsn, gateway_url, identities, failpoint=step) as victim:
            async with asyncio.timeout(40):
                assert await victim.wait() == -signal.SIGKILL
        async with running_process(sync_dsn, gateway_url, identities):
            await until(lambda: all_synced(service, 3), "all are synced")
    assert len(await service.books.invoices()) == 3
    contacts = [
        each for each in (await service.books.ledger())["contacts"] if each["number"] == "cust-1"
    ]
    assert len(contacts) == 1
    for number in range(3):
        events = await service.told(f"inv-{number}")
        assert [type(each) for each in events] in ([InvoiceSynced], [SyncFailed, InvoiceSynced])
    assert await service.pool.fetchval("SELECT count(*) FROM intents") == 0


async def all_synced(service, count) -> bool:
    done = await service.pool.fetchval("SELECT count(*) FROM invoices WHERE state = 'synced'")
    return done == count


async def test_sigterm_ends_it_cleanly_with_its_leases_given_back(
    service, sync_dsn, identities, serve
):
    await service.connect()
    await service.know("cust-1")
    await service.want(service.invoice("inv-1"))
    async with (
        serve(gateway_app(service.gateway)) as gateway_url,
        running_process(sync_dsn, gateway_url, identities) as process,
    ):
        await until(lambda: all_synced(service, 1), "the invoice is synced")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    held = await service.pool.fetchval(
        "SELECT count(*) FROM account_leases WHERE lease_until > now()"
    )
    assert held == 0


async def test_a_missing_setting_stops_the_start_naming_it():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "invoice_sync",
        env={"PATH": os.environ["PATH"]},
        stderr=asyncio.subprocess.PIPE,
    )
    _, words = await process.communicate()
    assert process.returncode == 2
    for name in (b"DATABASE_URL", b"CONNECTOR_URL", b"SERVICE_KEY_FILE"):
        assert name in words


async def test_two_replicas_one_of_them_frozen_past_its_lease(service, sync_dsn, identities, serve):
    """Whoever outlives its lease has its results refused; the work is neither lost nor doubled."""
    accounts = [f"{service.account_id}-{number}" for number in range(6)]
    for account_id in accounts:
        await service.connect(account_id=account_id)
        service.account_id = account_id
        await service.know(f"c-{account_id}")
        await service.want(
            *(
                service.invoice(f"{account_id}-{number}", customer_id=f"c-{account_id}")
                for number in range(120)
            )
        )
    async with one_of_two_frozen(
        service, sync_dsn, identities, serve, begun=lambda: some_synced(service)
    ):
        await until(lambda: all_synced(service, 720), "the other does it all", seconds=90)
    invoices = await service.books.invoices()
    assert len(invoices) == len({each["number"] for each in invoices}) == 720
    told = [each for each in await service.told() if isinstance(each, InvoiceSynced)]
    assert len(told) == len({(each.account_id, each.invoice_id) for each in told}) == 720


async def some_synced(service) -> bool:
    return await service.pool.fetchval(
        "SELECT EXISTS (SELECT FROM invoices WHERE state = 'synced')"
    )
