"""Which topics of a cluster are not as declared, and what is said when Kafka does not make one."""

from types import SimpleNamespace

import pytest

from pipeline_contracts.topics import CONNECTIONS, INVOICES, Topic
from pipeline_messaging.topics import (
    Found,
    TopicTrouble,
    create_missing,
    differences,
    settings_of,
)


def as_declared(topic: Topic, factor: int, **config: str) -> dict[str, str]:
    return settings_of(topic, factor) | {"compression.type": "producer"} | config


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
@pytest.mark.parametrize("topic", [INVOICES, CONNECTIONS])
def test_a_topic_as_it_is_created_does_not_differ(topic, factor):
    assert differences(topic, Found(6, factor, as_declared(topic, factor)), factor) == []


@pytest.mark.parametrize(("factor", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_one_broker_away_stops_no_publishing(factor, in_sync):
    assert settings_of(INVOICES, factor)["min.insync.replicas"] == in_sync


@pytest.mark.parametrize(
    ("partitions", "replicas", "config", "told"),
    [
        (3, 3, {}, [("partitions", "6", "3")]),
        (12, 3, {}, [("partitions", "6", "12")]),
        (6, 1, {}, [("replicas", "at least 3", "1")]),
        (6, 5, {"min.insync.replicas": "3"}, []),
        (6, 3, {"min.insync.replicas": "1"}, [("min.insync.replicas", "at least 2", "1")]),
        (6, 3, {"retention.ms": "604800000"}, [("retention.ms", "2592000000", "604800000")]),
        (6, 3, {"cleanup.policy": "compact"}, [("cleanup.policy", "delete", "compact")]),
        (6, 3, {"segment.ms": "1"}, []),
    ],
)
def test_what_differs_is_named(partitions, replicas, config, told):
    found = Found(partitions, replicas, as_declared(INVOICES, 3) | config)
    assert [(d.setting, d.declared, d.found) for d in differences(INVOICES, found, 3)] == told


def test_a_setting_that_is_not_told_is_no_agreement():
    told = {d.setting for d in differences(INVOICES, Found(6, 3, {}), 3)}
    assert told == set(settings_of(INVOICES, 3))


class Answering:
    """Stands for a Kafka without topics, which answers each creation with a code of its protocol."""

    def __init__(self, *codes: int, words: str | None = None) -> None:
        self.codes, self.words = codes, words

    async def list_topics(self) -> list[str]:
        return []

    async def create_topics(self, wanted):
        errors = [
            (new.name, code, self.words) for new, code in zip(wanted, self.codes, strict=True)
        ]
        return SimpleNamespace(topic_errors=errors)


async def test_a_topic_that_somebody_else_just_made_is_as_good():
    made = await create_missing(Answering(36, 0), [INVOICES, CONNECTIONS], 3)
    assert made == [CONNECTIONS.name]


@pytest.mark.parametrize(
    ("codes", "words", "told"),
    [
        ((29, 29), None, "this principal may not create topics: it needs Create on the cluster or on each topic"),
        ((0, 31), None, "this principal may not create topics: it needs Create on the cluster or on each topic"),
        ((44, 0), "Three replicas here.", f"Kafka does not make {INVOICES.name}: Three replicas here."),
        ((0, 7), None, f"Kafka does not make {CONNECTIONS.name}: RequestTimedOutError"),
    ],
)  # fmt: skip
async def test_a_refusal_is_told_once_and_in_words(codes, words, told):
    with pytest.raises(TopicTrouble) as refused:
        await create_missing(Answering(*codes, words=words), [INVOICES, CONNECTIONS], 3)
    assert str(refused.value) == told
