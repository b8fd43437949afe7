"""`pipeline-xero` as an operator runs it, right after `make up`: its own process, the stack's file, real services."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

from acceptance_support import send
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline_contracts import topics
from pipeline_contracts.envelope import Record, encode, stable_id
from pipeline_local_stack.paths import LOCAL
from pipeline_messaging.dead_letter import DeadLetter

PATIENCE_SECONDS = 90
COMMAND = Path(sys.executable).parent / "pipeline-xero"


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


async def run(*arguments: str, stdin: str = "", **environment: str) -> Ran:
    done = await asyncio.to_thread(
        subprocess.run,
        [COMMAND, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PIPELINE_XERO_LOCAL": str(LOCAL),
            "PIPELINE_XERO_OPERATOR": "ann",
            **environment,
        },
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


async def test_an_invoice_that_waits_is_found_explained_and_let_go(company):
    of = ("--account", company.account_id)
    # Not announced, so nothing can link it by itself.
    invoice = company.invoice("waits", "stranger")
    await company.publish(invoice)
    await company.until(invoice, "waiting_for_contact")
    contact = company.xero.http.post(
        f"/tenants/{company.xero.tenant_id}/contacts", json={"Name": "The stranger"}
    ).json()["contact_id"]

    listed = await run("failures", "list", *of, "--json")
    assert listed.status == 0
    (failure,) = listed.document["failures"]
    assert (failure["code"], failure["totals"]) == (
        "CUSTOMER_NOT_MAPPED",
        [{"currency": "NZD", "total": "115.00"}],
    )
    explained = await run("explain", invoice.invoice_id, *of)
    assert explained.status == 0
    assert failure["message"] in explained.out
    assert "Move: bookkeeper" in explained.out
    previewed = await run("preview", invoice.invoice_id, *of)
    assert (previewed.status, "CUSTOMER_NOT_MAPPED" in previewed.out) == (1, True)

    mapping = ("mappings", "set", "contact", invoice.customer_id, contact, *of)
    unasked = await run(*mapping)
    assert (unasked.status, "Add --yes" in unasked.err) == (2, True)
    done = await run(*mapping, "--yes", "--json")
    assert (done.status, done.document["released"]) == (0, 1)
    await company.until(invoice, "synced")
    in_xero = company.sync(invoice)["in_xero"]["xero_invoice_id"]
    payment = await asyncio.to_thread(company.xero.pay, in_xero, Decimal("15.00"))

    payments = await until_paid(*of, "--invoice", invoice.invoice_id)
    assert [each["xero_payment_id"] for each in payments] == [payment]
    story = await run("explain", invoice.invoice_id, *of)
    assert "payment of 15.00 NZD recorded" in story.out
    assert "Nothing to do." in story.out
    compared = await run("reconcile", *of, "--json")
    assert compared.status == 0
    assert compared.document["reconciliation"]["outcome"] == "clean"


async def until_paid(*which: str) -> list[dict[str, object]]:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not (found := (await run("payments", *which, "--json")).document["payments"]):
        assert asyncio.get_running_loop().time() < deadline, "the payment never came"
        await asyncio.sleep(0.5)
    return found


async def test_the_whole_stands_well_and_says_so(stack, company):
    told = await run("status", "--all", "--json")
    assert told.document["kafka"]["trouble"] is None
    assert [part["ready"] for part in told.document["services"]] == [True] * 3
    of_company = next(
        each for each in told.document["accounts"] if each["account_id"] == company.account_id
    )
    assert (of_company["status"], of_company["error"]) == ("CONNECTED", None)
    in_words = await run("status", "--account", company.account_id, NO_COLOR="1")
    assert in_words.status == 0
    assert "\x1b" not in in_words.out
    assert (await run("rotate-keys")).status == 0
    listed = await run("deliveries", "list", "--since", "1h", "--json")
    assert listed.status == 0


async def test_a_dead_letter_goes_back_once_and_into_xero(stack, company):
    await company.know()
    invoice = company.invoice("set-aside")
    # As a reader of an earlier release, or one with a bug, would have set it aside.
    record = encode(invoice, id=stable_id(invoice), source="billing", time=datetime.now(UTC))
    read = SimpleNamespace(
        topic=record.topic, partition=1, offset=0, timestamp=int(datetime.now(UTC).timestamp() * 1000),
        key=record.key, value=record.value, headers=record.headers,
    )  # fmt: skip
    await send(stack, DeadLetter(read, "HANDLER_FAILED", "a bug").to_record())
    hostile = Record(topics.INVOICES.name, b"\x1b[2J", b'{"account_id": "\\u001b[31m"}', ())
    await send(stack, hostile)

    wanted = ("--topic", topics.INVOICES.name, "--account", company.account_id)
    found = (await run("dead-letters", "list", *wanted, "--json")).document["dead_letters"]
    (letter,) = found
    shown = await run("dead-letters", "show", letter["place"])
    assert f'"invoice_id": "{invoice.invoice_id}"' in shown.out
    assert "Nothing speaks against" in shown.out
    first = await run("dead-letters", "replay", letter["place"])
    assert (first.status, "1 of 1 replayed." in first.out) == (0, True)
    await company.until(invoice, "synced")
    again = await run("dead-letters", "replay", letter["place"], "--json")
    assert again.status == 1
    assert again.document["replayed"] == []
    assert [each["why"] for each in again.document["letters"][0]["objections"]] == [
        "REPLAYED_ALREADY"
    ]
    several = await run("dead-letters", "replay", "--topic", topics.INVOICES.name)
    assert "nothing was done. Add --do." in several.out
    assert "\x1b" not in several.out
    assert await copies(stack, letter["place"]) == 1


async def copies(stack, place: str) -> int:
    """How many records of the topic say that they are copies of a dead letter."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.broker.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topics.INVOICES.name, n) for n in range(topics.INVOICES.partitions)
        ]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = 0
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += sum(
                    dict(r.headers).get("x-dlq-replay-of") == place.encode() for r in records
                )
        return found
    finally:
        await consumer.stop()


async def test_credentials_come_from_standard_input_and_rights_are_the_services(stack, company):
    session = stack.identities.person_token(
        company.account_id, "viewer", name="Vera Viewer", user_id="user-vera"
    )
    urls = {
        f"PIPELINE_XERO_{name.upper().replace('-', '_')}_URL": stack.urls[name]
        for name in ("connector", "invoice-sync", "payment-ingest")
    }
    seen = await run(
        "--token-stdin", "failures", "list", "-a", company.account_id, stdin=session, **urls
    )
    assert (seen.status, "Nothing keeps invoices" in seen.out) == (0, True)
    for arguments, status in (
        (("reconcile", "-a", company.account_id), 5),  # a viewer may not
        (("failures", "list", "-a", "somebody-else"), 3),
        (("deliveries", "list"), 5),
    ):
        refused = await run("--token-stdin", *arguments, stdin=session, **urls)
        assert refused.status == status, (arguments, refused.err)
        assert session not in refused.out + refused.err
    stale = await run("failures", "list", "-a", "x", PIPELINE_XERO_TOKEN="not-a-token", **urls)
    assert (stale.status, "the credentials were refused" in stale.err) == (5, True)


async def test_shells_are_told_how_to_complete():
    told = await run(_PIPELINE_XERO_COMPLETE="source_bash")
    assert (told.status, "complete -o default" in told.out) == (0, True)
    completed = await run(
        _PIPELINE_XERO_COMPLETE="complete_bash",
        COMP_WORDS="pipeline-xero dead-",
        COMP_CWORD="1",
    )
    assert completed.out.split() == ["dead-letters"]
