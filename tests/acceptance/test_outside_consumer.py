"""Another team's consumer, without any of our code: every record validates against the published schema."""

import json
from pathlib import Path

from acceptance_support import healthy_invoice, until
from aiokafka import AIOKafkaConsumer, TopicPartition
from jsonschema import Draft202012Validator

from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import InvoiceSynced

TOPICS = ("pipeline.xero.sync.v1", "pipeline.xero.connections.v1", "pipeline.invoices.v1")
SCHEMAS = Path(__file__).resolve().parents[2] / "libs/contracts/schemas"


async def test_every_record_validates_against_the_published_schema(stack, seen):
    mapped, unmapped = (
        healthy_invoice("outside"),
        healthy_invoice("outside-2", customer_id="cust-x"),
    )
    async with EventPublisher(stack.broker.bootstrap_servers, source="billing") as publisher:
        await publisher.publish(mapped)
        await publisher.publish(unmapped)
    for invoice in (mapped, unmapped):
        await until(
            seen,
            lambda id_=invoice.invoice_id: [
                e for e in seen.envelopes["pipeline.xero.sync.v1"] if e.subject == id_
            ],
            f"news of {invoice.invoice_id}",
        )
    assert any(isinstance(e.event, InvoiceSynced) for e in seen.envelopes["pipeline.xero.sync.v1"])

    validators = {}
    for file in SCHEMAS.glob("*.json"):
        schema = json.loads(file.read_text())
        validators[schema["$id"].rsplit(":", 1)[-1]] = Draft202012Validator(schema)
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.broker.bootstrap_servers)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for topic in TOPICS for p in range(6)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        validated = set()
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    headers = {
                        name: (value or b"").decode(errors="replace")
                        for name, value in record.headers
                    }
                    if not headers.get("ce_source", "").startswith(
                        ("billing", "invoice-sync", "connector")
                    ):
                        continue
                    if headers.get("ce_id", "").startswith("bad-"):
                        continue  # the tests of bad input put these here
                    validators[headers["ce_type"]].validate(json.loads(record.value))
                    assert headers["ce_specversion"] == "1.0"
                    assert headers["content-type"] == "application/json"
                    assert record.key.decode() == headers["ce_subject"]
                    validated.add(headers["ce_type"])
    finally:
        await consumer.stop()
    assert {
        "pipeline.invoice.synced.v1",
        "pipeline.invoice.sync_failed.v1",
        "pipeline.connection.status_changed.v1",
        "pipeline.invoice.created.v1",
    } <= validated
