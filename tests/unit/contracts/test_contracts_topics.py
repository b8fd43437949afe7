from pipeline_contracts import EVENT_TYPES, MAX_EVENT_BYTES, topics


def test_every_topic_of_the_design_is_declared_once_with_its_dead_letters():
    of_events = [topic for topic in topics.ALL if topic != topics.REPLAYS]
    names = [topic.name for topic in of_events]
    assert sorted(names) == sorted(
        name + suffix
        for suffix in ("", ".dlq")
        for name in (
            "pipeline.invoices.v1",
            "pipeline.customers.v1",
            "pipeline.xero.sync.v1",
            "pipeline.payments.v1",
            "pipeline.xero.connections.v1",
            "pipeline.xero.changes.v1",
        )
    )
    assert len(set(names)) == len(names)
    assert topics.INVOICES.dead_letters == "pipeline.invoices.v1.dlq"
    assert {topic.partitions for topic in of_events} == {6}


def test_connections_is_compacted_and_payments_are_kept_for_ever():
    assert [topic for topic in topics.ALL if topic.compacted] == [topics.CONNECTIONS]
    assert [topic for topic in topics.ALL if topic.retention_ms == topics.FOREVER] == [
        topics.PAYMENTS,
        topics.CONNECTIONS,
        topics.REPLAYS,
    ]
    assert topics.CONNECTIONS.config["cleanup.policy"] == "compact"
    assert topics.INVOICES.config["cleanup.policy"] == "delete"


def test_an_oversized_record_reaches_us_and_fits_the_dead_letters():
    for topic in (topics.INVOICES, topics.CUSTOMERS):
        assert topic.max_message_bytes > 2 * MAX_EVENT_BYTES
    largest = max(topic.max_message_bytes for topic in topics.EVENT_TOPICS)
    for topic in topics.DEAD_LETTER_TOPICS:
        assert topic.max_message_bytes > largest
    # Key (255 characters of up to 4 bytes) and headers come on top of the body.
    assert min(topic.max_message_bytes for topic in topics.ALL) >= MAX_EVENT_BYTES + 10_000


def test_every_event_has_a_declared_topic_and_every_topic_an_event():
    assert {event.TOPIC for event in EVENT_TYPES.values()} == {
        topic.name for topic in topics.EVENT_TOPICS
    }


def test_replays_are_kept_for_ever_in_one_order():
    assert topics.REPLAYS in topics.ALL
    assert topics.REPLAYS.partitions == 1
    assert not topics.REPLAYS.compacted
