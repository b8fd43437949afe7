"""The service as one process: its routes, and its end; see also `test_payments_killed_at_every_step`."""

import asyncio
import hashlib
import os
import signal
import sys
from contextlib import asynccontextmanager

import httpx
import pytest
from ingest_processes import environment_of, running_ingest
from service_processes import until

from pipeline_service_defaults.keys import sign


@asynccontextmanager
async def running(dsn, gateway, identities, *, failpoint=None):
    """The service without Kafka: nothing here may depend on it."""
    environment = environment_of(dsn, gateway, identities)
    async with running_ingest(environment, failpoint=failpoint) as found:
        yield found


@pytest.fixture
async def world(service, serve):
    """A connected account with one linked invoice, the gateway on a socket."""
    await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() + interval '1 hour'")
    invoice = service.xero.add("100.00")
    await service.link(invoice, "inv-1")
    async with serve(service.xero) as gateway:
        yield service, invoice, gateway


async def post(client, body, signed) -> int | None:
    try:
        return (await client.post("/webhooks/xero", content=body, headers=signed(body))).status_code
    except httpx.TransportError:
        return None


async def test_webhook_to_event_while_kafka_is_away_and_a_clean_end(
    world, dsn, identities, signed, webhook_of
):
    service, invoice, gateway = world
    async with running(dsn, gateway, identities) as (process, client):
        service.xero.pay(invoice, "40.00")
        body = webhook_of((service.xero.tenant_id, invoice))
        assert await post(client, body, signed) == 200
        await until(lambda: told_count(service, 1), "the payment is told")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert (
        await service.pool.fetchval("SELECT count(*) FROM account_leases WHERE lease_until > now()")
        == 0
    )


async def told_count(service, count) -> bool:
    return len(await service.told()) >= count


async def quiet(service) -> bool:
    waiting = await service.pool.fetchval("SELECT count(*) FROM unread_deliveries")
    return waiting == 0 and await service.doorbells() == 0


def person_token(identities, account_id, role="viewer"):
    from time import time

    claims = {"iss": "pipeline", "aud": "pipeline-xero", "sub": "u-1", "name": "Kim", "role": role}
    now = int(time())
    return sign(identities[1], claims | {"account_id": account_id, "iat": now, "exp": now + 300})


def service_token(identities, name="pipeline-backend", audience="payment-ingest"):
    from time import time

    now = int(time())
    return sign(
        identities[2], {"iss": name, "sub": name, "aud": audience, "iat": now, "exp": now + 300}
    )


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def test_the_story_of_a_payment_and_its_replay(world, dsn, identities, signed, webhook_of):
    service, invoice, gateway = world
    service.xero.pay(invoice, "40.00", "Bank transfer")
    body = webhook_of((service.xero.tenant_id, invoice))
    mine = f"/v1/accounts/{service.account_id}/invoices/inv-1/payments"
    async with running(dsn, gateway, identities) as (_, client):
        assert await post(client, body, signed) == 200
        await until(lambda: told_count(service, 1), "the payment is told")

        for headers in (
            {},
            bearer("x.y.z"),
            bearer(service_token(identities, audience="connector")),
        ):
            answer = await client.get(mine, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
        stranger = bearer(person_token(identities, "acc-other", "admin"))
        assert (await client.get(mine, headers=stranger)).status_code == 404
        viewer = bearer(person_token(identities, service.account_id))
        unknown = await client.get(mine.replace("inv-1", "inv-2"), headers=viewer)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "INVOICE_NOT_IN_XERO")

        for headers in (viewer, bearer(service_token(identities))):
            answer = await client.get(mine, headers=headers)
            assert answer.status_code == 200
        (payment,) = answer.json()["payments"]
        (step,) = payment["story"]
        (envelope,) = await service.told()
        assert (payment["amount"], payment["reference"]) == ("40.00", "Bank transfer")
        assert payment["payment_id"] == envelope.event.payment_id
        assert (step["found_by"], step["event_id"], step["sequence"]) == ("webhook", envelope.id, 1)
        assert step["rung_at"] <= step["fetched_at"] <= step["recorded_at"]

        replay = f"/v1/deliveries/{step['delivery_id']}/replay"
        assert (await client.post(replay)).status_code == 401
        assert (await client.post(replay, headers=viewer)).status_code == 403
        assert (await client.post(replay, headers=stranger)).status_code == 404
        assert (await client.get(replay, headers=viewer)).status_code == 405
        operator = bearer(person_token(identities, service.account_id, "operator"))
        assert (await client.post(replay, headers=operator)).status_code == 403
        admin = bearer(person_token(identities, service.account_id, "admin"))
        missing = await client.post(f"/v1/deliveries/{'0' * 64}/replay", headers=admin)
        assert missing.status_code == 404
        assert (await client.post("/v1/deliveries/x/replay", headers=admin)).status_code == 422
        calls = len(service.xero.calls)
        assert (await client.post(replay, headers=admin)).status_code == 202
        assert (
            await client.post(replay, headers=bearer(service_token(identities)))
        ).status_code == 202

        async def looked_again():
            return len(service.xero.calls) > calls and await quiet(service)

        await until(looked_again, "the replay is done")
        assert len(await service.told()) == 1
        audit = await service.pool.fetch(
            "SELECT requested_by, account_id FROM delivery_replays ORDER BY id"
        )
        assert [tuple(row) for row in audit] == [
            ("user:u-1", service.account_id),
            ("service:pipeline-backend", None),
        ]

        document = (await client.get("/openapi.json")).json()
        assert {"/webhooks/xero", "/v1/deliveries/{delivery_id}/replay"} <= document["paths"].keys()
        figures = (await client.get("/metrics")).text
        assert 'payment_ingest_deliveries_total{outcome="accepted"} 1.0' in figures


async def test_only_admins_find_deliveries_and_only_their_own(
    world, dsn, identities, signed, webhook_of
):
    service, invoice, gateway = world
    body = webhook_of((service.xero.tenant_id, invoice))
    viewer, operator = (
        bearer(person_token(identities, service.account_id, role))
        for role in ("viewer", "operator")
    )
    async with running(dsn, gateway, identities) as (_, client):
        assert await post(client, body, signed) == 200
        await until(lambda: quiet(service), "the delivery is read")
        times = {"received_from": "2026-01-01T00:00:00Z", "received_until": "2100-01-01T00:00:00Z"}
        admin = bearer(person_token(identities, service.account_id, "admin"))
        for headers, status in ((viewer, 403), (operator, 403), (admin, 200), ({}, 401)):
            answer = await client.get("/v1/deliveries", params=times, headers=headers)
            assert answer.status_code == status
            if status != 200:
                answer = await client.post("/v1/deliveries/replay", json=times, headers=headers)
                assert answer.status_code == status
        (found,) = (await client.get("/v1/deliveries", params=times, headers=admin)).json()[
            "deliveries"
        ]
        assert found["delivery_id"] == hashlib.sha256(body).hexdigest()
        elsewhere = bearer(person_token(identities, "acc-other", "admin"))
        answer = await client.get("/v1/deliveries", params=times, headers=elsewhere)
        assert answer.json() == {"deliveries": [], "more": False}
        for unclear in (
            {"received_from": "2026-01-01T00:00:00"},
            {"received_from": "0001-01-01T00:00:00+14:00"},
            {"received_until": "9999-12-31T23:59:59-12:00"},
            {"tenant_id": "\x00"},
        ):
            answer = await client.get("/v1/deliveries", params=times | unclear, headers=admin)
            assert answer.status_code == 422
            answer = await client.post("/v1/deliveries/replay", json=times | unclear, headers=admin)
            assert answer.status_code == 422
        answer = await client.post("/v1/deliveries/replay", json=times, headers=admin)
        assert (answer.status_code, len(answer.json()["deliveries"])) == (202, 1)


async def test_it_ends_with_a_sentence_when_a_setting_is_missing(dsn, identities):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "payment_ingest",
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn, "XERO_WEBHOOK_KEYS": " , "},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"XERO_WEBHOOK_KEYS" in said
    assert b"CONNECTOR_URL: not set" in said
