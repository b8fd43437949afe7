import pytest

from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.unreachable import why_unreachable


@pytest.mark.parametrize("server", ["kafka", "a..b:9092", f"{'x' * 70}:9092", "127.0.0.1:99999"])
async def test_asking_why_answers_whatever_the_address_is(server):
    """It is asked by the tasks that consume and publish, while they recover: raising would end them for good."""
    sentence = await why_unreachable(KafkaSettings(server))
    assert sentence is not None
    assert "is no address" in sentence
