"""The settings that lose nothing are pinned here: a change of one is a decision, not an accident."""

from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faststream import AckPolicy

from pipeline_messaging import subscriber as subscriber_module
from pipeline_messaging.broker import KafkaSettings, make_broker, make_producer
from pipeline_messaging.subscriber import STORE_SECONDS, subscribe


async def handle(conn: Any, envelopes: Any) -> None:
    raise AssertionError("not called")


@pytest.fixture
def subscribed():
    broker = make_broker(KafkaSettings("one:9092, two:9092"))
    subscribe(broker, "topic", group_id="group", pool=None, handle=handle)
    (made,) = broker.subscribers
    return made


def test_offsets_are_committed_by_hand_only(subscribed):
    assert subscribed.ack_policy is AckPolicy.MANUAL
    assert subscribed._connection_args["enable_auto_commit"] is False


def test_a_new_group_reads_from_the_beginning(subscribed):
    assert subscribed._connection_args["auto_offset_reset"] == "earliest"


def test_a_rebalance_waits_longer_than_a_batch_may_take(subscribed):
    assert STORE_SECONDS < subscriber_module._REVOKE_SECONDS
    assert (
        subscribed._connection_args["rebalance_timeout_ms"]
        > subscriber_module._REVOKE_SECONDS * 1000
    )


def test_topics_are_never_made_and_replies_never_sent(subscribed):
    config = subscribed._outer_config
    assert config.allow_auto_create_topics is False
    assert config.consumer_only is True
    assert subscribed._no_reply is True


async def test_the_producer_waits_for_all_replicas_and_repeats_nothing():
    producer: AIOKafkaProducer = make_producer(KafkaSettings("localhost:1"))
    assert producer._sender._acks == -1
    assert producer._txn_manager is not None
    assert producer._max_request_size > 3_500_000
    await producer.stop()


async def test_idempotence_can_be_switched_off_but_not_the_acknowledgements():
    producer = make_producer(KafkaSettings("localhost:1", enable_idempotence=False))
    assert producer._txn_manager is None
    assert producer._sender._acks == -1
    await producer.stop()


def test_a_password_is_not_shown():
    settings = KafkaSettings(
        "b", security_protocol="SASL_SSL", sasl_username="u", sasl_password="hush"
    )
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl_reaches_both_clients(mechanism):
    settings = KafkaSettings(
        "b:1", security_protocol="SASL_SSL", sasl_mechanism=mechanism, sasl_username="u", sasl_password="p"
    )  # fmt: skip
    options = make_broker(settings).config.broker_config.builder.keywords
    assert options["sasl_mechanism"] == mechanism
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_context"].check_hostname
    producer = make_producer(settings)
    assert producer.client._sasl_mechanism == mechanism
    await producer.stop()
