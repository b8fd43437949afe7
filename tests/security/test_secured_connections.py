"""The whole system on a Kafka that asks for SCRAM over TLS and allows what `acls.yaml` says, and on a Postgres that takes
nothing but TLS: one invoice and one payment go through; whatever is not as it should be is refused, and says why.
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import re
import ssl
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import asyncpg
import httpx
import pytest
from acceptance_support import CUSTOMER, healthy_invoice, until
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from secured_servers import ACLS, Authority, secured
from setting_aside import set_aside

from pipeline_contracts import topics
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import encode
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.portal import session_of
from pipeline_local_stack.stack import DASHBOARD, SERVICES, running_stack
from pipeline_local_stack.watcher import watching
from pipeline_local_stack.xero_admin import XeroAdmin
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.replay import past_replays
from pipeline_messaging.unreachable import why_unreachable
from pipeline_service_defaults.database import refusal
from pipeline_service_defaults.migrate import MigrationError, directories_of, migrate
from pipeline_xero.connections import OwnedConnections

# aiokafka does not wait for the end of TLS when it closes a connection: on a busy machine the loop may end first.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def keeps_what_it_leaves_to_itself():
    """Each test's unclosed connections are collected here, not in whichever test comes next."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def world(postgres_with_tls, tmp_path_factory):
    """The servers' secrets; this process enters Postgres as the services do."""
    made = secured(tmp_path_factory.mktemp("secured"), postgres_with_tls)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.database_environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def stack(world):
    # One enters by its certificate, the others by their passwords.
    entries = {name: world.kafka_environment(name) for name in SERVICES | DASHBOARD}
    entries["payment-ingest"] = world.certificate_environment("payment-ingest")
    environment = {name: {**each, **world.database_environment} for name, each in entries.items()}
    with running_stack(environment=environment, servers=world.servers(), dashboard=True) as running:
        connect_to_xero(running.urls["portal"])
        yield running


def as_settings(stack, world, principal: str, **changes) -> KafkaSettings:
    given = KafkaSettings(
        stack.broker.bootstrap_servers,
        client_id="test",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=principal,
        sasl_password=world.passwords[principal],
        ssl_cafile=str(world.authority.file),
    )
    return dataclasses.replace(given, **changes)


def published(seen, kind):
    return [
        envelope.event
        for envelopes in seen.envelopes.values()
        for envelope in envelopes
        if isinstance(envelope.event, kind)
    ]


async def test_an_invoice_and_its_payment_go_through(stack, world):
    servers, options = stack.broker.bootstrap_servers, world.client("admin")
    async with (
        watching(servers, **options) as seen,
        EventPublisher(servers, source="billing", **options) as publisher,
    ):
        await publisher.publish(
            CustomerCreated(account_id="demo", customer_id=CUSTOMER, version=1, name="Secured Ltd")
        )
        await publisher.publish(healthy_invoice("secured"))
        (synced,) = await until(seen, lambda: published(seen, InvoiceSynced), "it in Xero")
        xero = XeroAdmin(stack.urls["simulator"])
        await asyncio.to_thread(xero.pay, synced.xero_invoice_id, Decimal("115.00"))
        (payment,) = await until(seen, lambda: published(seen, PaymentRecorded), "its payment")
        xero.close()
        assert payment.amount == Decimal("115.00")
        assert not seen.dead_letters
    await until_staff_see_it_paid(stack, synced.invoice_id)
    in_the_clear = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = $1 AND NOT ssl"
    connection = await asyncpg.connect(stack.postgres.dsn)
    assert [await connection.fetchval(in_the_clear, role) for role in stack.dsns] == [0] * 4
    await connection.close()


async def test_a_service_takes_up_its_own_dead_letters_with_its_own_rights(stack, world):
    """It reads them and the topic of replays, and notes there who asked."""
    link = InvoiceSynced(
        account_id="demo", invoice_id="of-a-letter", version=1, sequence=1, tenant_id="t", xero_invoice_id="x",
        invoice_number="N", xero_status="AUTHORISED", total=Decimal(1), currency="NZD", deep_link="https://x.example",
    )  # fmt: skip
    events = {
        "invoice-sync": (topics.INVOICES, healthy_invoice("of-a-letter")),
        "payment-ingest": (topics.SYNC, link),
    }
    wanted = set()
    deadline = asyncio.get_running_loop().time() + 60
    for service, (origin, event) in events.items():
        record = encode(event, id=f"letter-{service}", source="test", time=datetime.now(UTC))
        async with AIOKafkaProducer(
            bootstrap_servers=stack.broker.bootstrap_servers, **world.client(service)
        ) as producer:
            place = await set_aside(producer, record, origin)
        token = stack.identities.service_token("pipeline-backend", service)
        async with httpx.AsyncClient(
            base_url=stack.urls[service], headers={"Authorization": f"Bearer {token}"}, timeout=20
        ) as client:
            path = f"/v1/accounts/demo/dead-letters/{place}/replay"
            # 503 says to ask again: a busy machine may need longer than the route waits.
            while (answer := await client.post(path)).status_code == 503:
                assert asyncio.get_running_loop().time() < deadline, answer.text
        assert (answer.status_code, answer.json()) == (200, {"outcome": "taken_up"})
        wanted.add(place)
    while not wanted <= (await past_replays(as_settings(stack, world, "operator"))).keys():
        assert asyncio.get_running_loop().time() < deadline, "never noted"
        await asyncio.sleep(0.2)


async def until_staff_see_it_paid(stack, invoice_id):
    """The dashboard reads all topics with the rights to read them alone."""
    session = session_of("staff", stack.identities)
    async with httpx.AsyncClient(
        base_url=stack.urls["ops-dashboard"], cookies={"pipeline_session": session}
    ) as browser:
        deadline = asyncio.get_running_loop().time() + 60
        page = ""
        while not re.search(r"<dt>Paid</dt>\s*<dd>[^<]*115\.00", page):
            assert asyncio.get_running_loop().time() < deadline, page
            await asyncio.sleep(0.2)
            page = (await browser.get("/accounts/demo/invoice", params={"id": invoice_id})).text
    log = stack.children["ops-dashboard"].log_file.read_text()
    assert "Authorization" not in log
    assert "kafka_unreachable" not in log


async def test_what_enters_kafka_wrongly_is_told_why(stack, world, tmp_path):
    right = as_settings(stack, world, "connector")
    other = str(Authority(tmp_path, "other").file)
    port = right.bootstrap_servers.rpartition(":")[2]
    silent = ("SECURITY_PROTOCOL", "is what this port speaks")
    wrong = [
        ({"ssl_cafile": other}, ("KAFKA_SSL_CA_FILE", "cannot be trusted")),
        ({"sasl_password": "wrong"}, ("KAFKA_SASL_USERNAME 'connector'", "KAFKA_SASL_PASSWORD")),
        ({"sasl_username": "stranger"}, ("KAFKA_SASL_USERNAME 'stranger'",)),
        ({"sasl_mechanism": "PLAIN"}, ("KAFKA_SASL_MECHANISM PLAIN",)),
        ({"security_protocol": "PLAINTEXT"}, silent),
        ({"security_protocol": "SASL_PLAINTEXT"}, silent),
        ({"security_protocol": "SSL"}, silent),
        ({"bootstrap_servers": f"127.0.0.2:{port}"}, ("127.0.0.2", "refuses connections")),
    ]
    assert await why_unreachable(right) is None
    for changes, words in wrong:
        sentence = await why_unreachable(dataclasses.replace(right, **changes))
        assert sentence is not None, changes
        assert all(word in sentence for word in words), sentence
        assert world.passwords["connector"] not in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sslmode": "disable"}, "takes no connection without TLS"),
        ({"sslrootcert": "other"}, "cannot be trusted"),
        ({"password": "wrong"}, "refuses the user or its password"),
    ],
)
async def test_what_enters_postgres_wrongly_is_told_why(stack, world, tmp_path, changes, words):
    parts = urlsplit(stack.dsns["connector"])
    authority = Authority(tmp_path, "other") if "sslrootcert" in changes else world.authority
    query = {"sslmode": changes.get("sslmode", "verify-full"), "sslrootcert": str(authority.file)}
    password = changes.get("password", parts.password)
    address = f"postgresql://{parts.username}:{password}@{parts.hostname}:{parts.port}{parts.path}?{urlencode(query)}"
    with pytest.raises((OSError, asyncpg.PostgresError)) as refused:
        await asyncpg.connect(address)
    assert words in refusal(refused.value)
    with pytest.raises(MigrationError, match=words):
        migrate(address, *directories_of("connector"), wait_seconds=0)


@pytest.mark.parametrize(
    ("service", "wrong", "words"),
    [
        ("invoice-sync", {"KAFKA_SASL_PASSWORD": "wrong"}, "refuses KAFKA_SASL_USERNAME"),
        # It has nothing to publish yet.
        ("connector", {"KAFKA_SASL_PASSWORD": "wrong"}, "refuses KAFKA_SASL_USERNAME"),
        (
            "invoice-sync",
            {"PGSSLMODE": "disable", "PGSSLROOTCERT": ""},
            "takes no connection without TLS",
        ),
    ],
)
async def test_a_service_says_why_it_cannot_enter(stack, service, wrong, words):
    child = stack.children[service]
    environment = {**child.env, "HTTP_PORT": "0", **wrong}
    process = await asyncio.create_subprocess_exec(
        *child.command,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            lines = []
            while line := await process.stdout.readline():
                lines.append(line.decode())
                if words in lines[-1]:
                    break
            else:
                pytest.fail(f"ended without saying {words!r}: {lines[-20:]}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_who_enters_by_certificate_has_the_rights_of_its_name(stack, world, tmp_path):
    def entering(principal, authority=world.authority):
        key, certificate = authority.certificate(principal)
        (tmp_path / "key").write_text(key)
        (tmp_path / "crt").write_text(certificate)
        return KafkaSettings(
            f"127.0.0.1:{world.certificates_port}",
            client_id="test",
            security_protocol="SSL",
            ssl_cafile=str(world.authority.file),
            ssl_certfile=str(tmp_path / "crt"),
            ssl_keyfile=str(tmp_path / "key"),
        )

    right = entering("payment-ingest")
    assert await why_unreachable(right) is None
    options = {"security_protocol": "SSL", "ssl_context": right.ssl_context()}
    with pytest.raises(TopicAuthorizationFailedError):
        await write(right.bootstrap_servers, options, topics.INVOICES.name)
    without = dataclasses.replace(right, ssl_certfile=None, ssl_keyfile=None)
    strangers = entering("payment-ingest", Authority(tmp_path, "stranger"))
    for wrong in (without, strangers):
        sentence = await why_unreachable(wrong)
        assert sentence is not None
        assert "KAFKA_SSL_CERT_FILE" in sentence, sentence


async def write(servers, options, topic):
    producer = AIOKafkaProducer(bootstrap_servers=servers, **options)
    await producer.start()
    try:
        async with asyncio.timeout(20):
            await producer.send_and_wait(topic, b"{}", partition=0)
    finally:
        await producer.stop()


async def read(servers, options, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, **options)
    await consumer.start()
    try:
        # A topic of which a principal may do nothing does not even show itself.
        if topic not in await consumer.topics():
            raise TopicAuthorizationFailedError(topic)
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        async with asyncio.timeout(20):
            while True:
                await consumer.getmany(timeout_ms=500)
    finally:
        await consumer.stop()


async def join(servers, options, topic, group):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=group, **options)
    try:
        async with asyncio.timeout(20):
            await consumer.start()
            await consumer.getmany(timeout_ms=1000)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("principal", ["nobody", *ACLS])
async def test_a_principal_may_do_what_the_list_says_and_nothing_else(stack, world, principal):
    servers, options = stack.broker.bootstrap_servers, world.client(principal)
    granted = {
        (entry["resource"]["name"], operation)
        for entry in ACLS.get(principal, ())
        for operation in entry["operations"]
    }
    for topic in topics.ALL:
        for attempt, operation in ((write, "Write"), (read, "Read")):
            if (topic.name, operation) not in granted:
                with pytest.raises(TopicAuthorizationFailedError):
                    await attempt(servers, options, topic.name)
    others = [f"{service}.{topics.SYNC.name}" for service in ACLS if service != principal]
    for group in others:
        with pytest.raises((GroupAuthorizationFailedError, TopicAuthorizationFailedError)):
            await join(servers, options, topics.SYNC.name, group)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **options)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic("pipeline.mine.v1", 1, 1)])
        assert [error[1] for error in answer.topic_errors] == [TopicAuthorizationFailedError.errno]
    finally:
        await admin.close()


def test_the_list_names_topics_that_there_are():
    named = {
        entry["resource"]["name"]
        for entries in ACLS.values()
        for entry in entries
        if entry["resource"]["type"] == "topic"
    }
    assert named == {topic.name for topic in topics.ALL}


async def test_calls_between_services_are_owned_and_verified_over_tls(world, tmp_path):
    key, certificate = world.authority.certificate("gateway")
    pair = tmp_path / "gateway.pem"
    pair.write_text(key + certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair)
    accepted = []

    async def answer(reader, writer):
        accepted.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as server:
        address = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        trusted = ssl.create_default_context(cafile=world.authority.file)
        async with httpx.AsyncClient(transport=OwnedConnections(most=2, tls=trusted)) as client:
            assert [(await client.get(address)).text for _ in range(3)] == ["ok"] * 3
        assert len(accepted) == 1
        async with httpx.AsyncClient(transport=OwnedConnections(most=2)) as client:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await client.get(address)
        assert len(accepted) == 1


async def test_the_operators_command_line_needs_no_more_than_the_operators_rights(stack, world):
    """Lag of groups that it is in none of, a dead letter found, sent back and noted."""
    async with AIOKafkaProducer(
        bootstrap_servers=stack.broker.bootstrap_servers, **world.client("operator")
    ) as producer:
        await producer.send_and_wait(topics.INVOICES.name, b"{}", key=b"of-the-operator")
    tokens = {name: stack.identities.service_token("pipeline-backend", name) for name in SERVICES}
    urls = {
        f"PIPELINE_XERO_{name.upper().replace('-', '_')}_URL": stack.urls[name] for name in SERVICES
    }
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": stack.broker.bootstrap_servers,
        "PIPELINE_XERO_OPERATOR": "ann",
        "PIPELINE_XERO_TOKEN": json.dumps(tokens),
        **world.kafka_environment("operator"),
        **urls,
    }

    async def run(*arguments):
        done = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "pipeline-xero", *arguments, "--json",
            env=environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return json.loads((await done.communicate())[0])

    assert (await run("status"))["kafka"]["trouble"] is None
    deadline = asyncio.get_running_loop().time() + 60
    found = []
    while not found and asyncio.get_running_loop().time() < deadline:
        found = (await run("dead-letters", "list", "--key", "of-the-operator"))["dead_letters"]
    (letter,) = found
    replayed = await run("dead-letters", "replay", letter["place"], "--force", "--yes")
    assert [one["step"] for one in replayed["replayed"]] == ["published"]
