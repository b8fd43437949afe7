import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber

from pipeline_contracts import ContactMapped, InvoiceCreated, NotEncodable, producer, stable_id
from pipeline_contracts.producer import EventPublisher, PublishUnconfirmed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(model=InvoiceCreated, **changes):
    return model(**model.model_config["json_schema_extra"]["examples"][0] | changes)


class Quiet:
    """The parts of aiokafka's producer that are told to give up."""

    def fail_all(self, error):
        pass

    async def close(self):
        pass


class Wire:
    """What stands where aiokafka's producer would: the network seam."""

    _message_accumulator = client = Quiet()
    _sender = None

    def __init__(self):
        self.options, self.sent, self.started, self.stopped = [], [], 0, 0
        self.trouble = {}

    def __call__(self, **options):
        self.options.append(options)
        return self

    async def _maybe(self, step):
        match self.trouble.pop(step, None):
            case "hang":
                await asyncio.Event().wait()
            case None:
                pass
            case error:
                raise error

    async def start(self):
        self.started += 1
        await self._maybe("start")

    async def stop(self):
        self.stopped += 1
        await self._maybe("stop")

    async def send_and_wait(self, topic, value, *, key, headers):
        self.sent.append((topic, value, key, headers))
        await self._maybe("send")


@pytest.fixture
def wire(monkeypatch):
    wire = Wire()
    monkeypatch.setattr(producer, "AIOKafkaProducer", wire)
    return wire


def publisher(**options):
    return EventPublisher("kafka:9092", **{"source": "billing", "now": lambda: NOON, **options})


async def test_it_is_durable_idempotent_and_signed_by_its_source(wire):
    async with publisher(security_protocol="SSL") as open_publisher:
        record = await open_publisher.publish(event())
    assert wire.options == [
        {
            "acks": "all",
            "enable_idempotence": True,
            "bootstrap_servers": "kafka:9092",
            "client_id": "billing",
            "max_request_size": 4 * 1024 * 1024,
            "security_protocol": "SSL",
        }
    ]
    assert wire.sent == [("pipeline.invoices.v1", record.value, b"inv-1001", list(record.headers))]
    headers = dict(record.headers)
    assert headers["ce_source"] == b"billing"
    assert headers["ce_id"].decode() == stable_id(event())
    assert headers["ce_time"] == b"2026-03-01T12:00:00Z"
    assert wire.stopped == 1


async def test_the_same_version_published_again_has_the_same_id(wire):
    async with publisher() as one, publisher() as other:
        assert await one.publish(event()) == await other.publish(event())
        assert await one.publish(event(version=2)) != await other.publish(event())


@pytest.mark.parametrize("source", ["", "  "])
def test_a_source_is_required(source):
    with pytest.raises(ValueError, match="source: name the publishing service"):
        publisher(source=source)
    with pytest.raises(TypeError):
        EventPublisher("kafka:9092")


async def test_what_breaks_the_contract_is_never_sent(wire):
    async with publisher() as open_publisher:
        with pytest.raises(NotEncodable):
            await open_publisher.publish(event().model_copy(update={"version": 0}))
        with pytest.raises(NotEncodable, match="pass an id"):
            await open_publisher.publish(event(ContactMapped))
        assert wire.sent == []
        await open_publisher.publish(event(ContactMapped), id="given")
    assert dict(wire.sent[0][3])["ce_id"] == b"given"


@pytest.mark.parametrize("trouble", ["hang", OutOfOrderSequenceNumber(), KafkaConnectionError()])
async def test_an_unconfirmed_publish_says_so_and_the_next_one_has_a_fresh_producer(wire, trouble):
    wire.trouble["send"] = trouble
    async with publisher(timeout=0.05) as open_publisher:
        with pytest.raises(PublishUnconfirmed, match=r"inv-1001.*publish the same event again"):
            await open_publisher.publish(event())
        assert (wire.started, wire.stopped) == (1, 1)
        await open_publisher.publish(event())
    assert (wire.started, wire.stopped) == (2, 2)
    assert wire.sent[0] == wire.sent[1]


@pytest.mark.parametrize("trouble", ["hang", KafkaConnectionError("refused")])
async def test_kafka_out_of_reach_is_said_and_leaves_nothing_open(wire, trouble):
    wire.trouble["start"] = trouble
    with pytest.raises(PublishUnconfirmed, match="kafka:9092 cannot be reached"):
        async with publisher(timeout=0.05):
            pytest.fail("never opened")
    assert wire.stopped == 1


async def test_a_publish_given_up_by_its_caller_is_not_swallowed(wire):
    wire.trouble["send"] = "hang"
    async with publisher() as open_publisher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await open_publisher.publish(event())


async def test_a_producer_that_does_not_stop_holds_nobody_up(wire, monkeypatch, caplog):
    monkeypatch.setattr(producer, "_STOP_SECONDS", 0.05)
    wire.trouble["stop"] = "hang"
    async with publisher() as open_publisher:
        await open_publisher.publish(event())
    assert "did not stop cleanly" in caplog.text


async def test_many_publishes_at_once_share_one_producer(wire):
    async with publisher() as open_publisher:
        await asyncio.gather(*(open_publisher.publish(event(version=n)) for n in range(1, 20)))
    assert wire.started == 1
    assert len(wire.sent) == 19


async def test_outside_its_block_it_opens_nothing(wire):
    closed = publisher()
    with pytest.raises(RuntimeError, match="async with"):
        await closed.publish(event())
    async with closed:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await closed.publish(event())
    assert wire.started == wire.stopped == 1
