"""What payment-ingest set aside, taken up again by the account's people: by the running service, once, under their name."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from ingest_processes import environment_of, running_ingest
from service_processes import until
from serving import serving
from setting_aside import set_aside

from pipeline_contracts import topics
from pipeline_contracts.envelope import encode
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.history import consumed
from pipeline_messaging.replay import past_replays
from pipeline_service_defaults.keys import sign


@pytest.fixture
def person(identities):
    """Headers of somebody of an account."""

    def headers(account_id, role="operator"):
        now = int(time.time())
        who = {"iss": "pipeline", "aud": "pipeline-xero", "sub": "u-1", "name": "Kim", "role": role}
        claims = who | {"account_id": account_id, "iat": now, "exp": now + 300}
        return {"authorization": f"Bearer {sign(identities[1], claims)}"}

    return headers


def record_of(event):
    return encode(event, id=uuid.uuid4().hex, source="invoice-sync", time=datetime.now(UTC))


@pytest.mark.timeout(90)
async def test_a_link_that_failed_is_taken_up_once_and_its_payment_is_told(
    service, dsn, own_kafka, identities, person
):
    kafka = own_kafka.bootstrap_servers
    invoice = service.xero.add("100.00")
    service.xero.pay(invoice, "40.00")
    await service.ring(invoice)
    await service.turn()
    assert await service.told() == []  # nobody knows whose it is
    link, news = record_of(service.synced(invoice, "inv-1")), record_of(service.connected())
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        letter = await set_aside(producer, link, topics.SYNC)
        others = await set_aside(producer, news, topics.CONNECTIONS)
    mine = f"/v1/accounts/{service.account_id}/dead-letters"
    operator = person(service.account_id)
    async with serving(service.xero) as gateway:
        environment = environment_of(dsn, gateway, identities, kafka)
        async with running_ingest(environment) as (_, client):
            path = f"{mine}/{letter}/replay"
            shown = await client.get(path, headers=person(service.account_id, "viewer"))
            assert (shown.status_code, shown.json()["objections"]) == (200, [])
            assert "payment-ingest takes the event in" in shown.json()["follows"]
            for headers, status in (
                ({}, 401),
                (person(service.account_id, "viewer"), 403),
                (person("acc-2"), 404),
            ):
                assert (await client.post(path, headers=headers)).status_code == status
            stranger = path.replace(service.account_id, "acc-2")
            assert (await client.post(stranger, headers=person("acc-2"))).status_code == 404
            # Two services read that topic.
            theirs = await client.post(f"{mine}/{others}/replay", headers=operator)
            assert theirs.json()["code"] == "DEAD_LETTER_UNKNOWN"

            answers = await asyncio.gather(*(client.post(path, headers=operator) for _ in range(3)))
            outcomes = sorted(each.json().get("outcome", "refused") for each in answers)
            assert outcomes[-1] == "taken_up"
            assert set(outcomes[:-1]) <= {"known", "refused"}

            async def noted() -> bool:
                return bool((await past_replays(KafkaSettings(kafka))).get(letter))

            await until(noted, "the relay published the note")
            again = await client.post(path, headers=operator)
            assert (again.status_code, again.json()["code"]) == (409, "DEAD_LETTER_NOT_REPLAYABLE")
    (done,) = (await past_replays(KafkaSettings(kafka)))[letter]
    assert (done.step, done.by) == ("taken_up", "user:u-1")
    assert await _payments(service, kafka) == ["40.00"]


async def _payments(service, kafka) -> list[str]:
    """The payments of the account that stand in the topic."""
    found = [
        json.loads(each.value) async for each in consumed(KafkaSettings(kafka), topics.PAYMENTS)
    ]
    return [each["amount"] for each in found if each["account_id"] == service.account_id]
