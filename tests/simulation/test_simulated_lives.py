"""Many lives of the services, seeded; the same seed is the same life; and what is wrong on purpose is found.

`make simulate SEEDS=10000 FROM=0` lives more of them.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from itertools import count, islice

import pytest
from simulated import record
from simulated.campaign import broken_and_short, campaign, run
from simulated.clock import replacing
from simulated.script import drawn
from simulated.seams import owned_task

from invoice_sync import send_intent
from invoice_sync.domain import retry
from payment_ingest import process_account, sweep_account
from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.store import ledger
from pipeline_local_stack.paths import ROOT
from pipeline_messaging import outbox, subscriber
from pipeline_messaging.leases import Lease
from pipeline_messaging.subscriber import Subscription

pytestmark = pytest.mark.timeout(1200)

SEEDS = int(os.environ.get("SIMULATED_SEEDS", "1000"))
FOUND_WITHIN = 50
STRUCK = (
    "crash a",
    "freeze b",
    "frozen while its request is from xero",
    "kafka lost",
    "kafka unconfirmed",
    "request of the dead",
    "request arrives after the caller gave up",
    "edited in xero",
    "paid in xero",
    "payment deleted in xero",
    "credited in xero",
    "webhook lost",
    "webhook unanswered",
    "webhook of the dead",
    "xero commit_then_timeout",
    "xero rate_limit_minute",
)


def test_no_life_breaks_a_promise(postgres_dsn):
    portions = list(campaign(range(SEEDS), postgres_dsn, processes=2))
    assert [words for portion in portions for words in portion.broken.values()] == []
    assert sum(portion.lives for portion in portions) == SEEDS
    for fault in STRUCK:
        assert any(portion.faults[fault] for portion in portions), f"{fault} never struck"


def test_the_same_seed_is_the_same_life(postgres_dsn):
    async def work(live):
        return [(await live(drawn(seed), seed)) for seed in range(5) for _ in range(2)]

    lives = run(work, postgres_dsn)
    for one, other in zip(lives[::2], lives[1::2], strict=True):
        assert one.trace == other.trace
        assert one.fingerprint == other.fingerprint
    # In another database, too, and after other lives.
    again = run(lambda live: live(drawn(3), 3), postgres_dsn)
    assert again.fingerprint == lives[6].fingerprint
    assert len({each.fingerprint for each in lives}) == 5


async def _newest_first(conn, *, limit, max_bytes, head=outbox.head):
    return list(reversed(await head(conn, limit=limit, max_bytes=max_bytes)))


async def _offsets_first(self, records, consume=Subscription.consume):
    last = subscriber._edges(records, max)
    await self._commit_offsets({partition: offset + 1 for partition, offset in last.items()})
    await consume(self, records)


async def _never_looks(self, conn):
    pass


async def _acknowledges_at_once(self, delivery, accept=DeliveryWriter.accept):
    owned_task(asyncio.get_running_loop(), accept(self, delivery))


async def _drops_what_is_not_linked(conn, tenant_id, linked, unpublished=ledger.unpublished):
    steps = await unpublished(conn, tenant_id, linked)
    await conn.execute(
        "UPDATE payment_movements SET sequence = 0, published_at = now()"
        " WHERE tenant_id = $1 AND sequence IS NULL AND xero_invoice_id <> ALL($2::text[])",
        tenant_id,
        list(linked),
    )
    return steps


async def _moves_its_watermark_first(deps, lease, tenant_id, sweep=sweep_account.sweep_account):
    async with deps.pool.acquire() as conn:
        await conn.execute(
            "UPDATE tenant_sweeps SET watermark = now() WHERE tenant_id = $1 AND kind = 'recent'",
            tenant_id,
        )
    await sweep(deps, lease, tenant_id)


PLANTED = {
    "no lookup after an unknown outcome": [
        (retry, "after_unknown", lambda **_known: retry.SendAgain()),
        (send_intent, "_may_be_ours", lambda *_answer: False),
    ],
    "the outbox is published newest first": [(outbox, "head", _newest_first)],
    "offsets are committed before the transaction": [(Subscription, "consume", _offsets_first)],
    "whoever lost the lease writes all the same": [(Lease, "verify", _never_looks)],
}
PLANTED_IN_PAYMENTS = {
    "a webhook is acknowledged before its row": [(DeliveryWriter, "accept", _acknowledges_at_once)],
    "a payment that comes before its link is dropped": [
        (ledger, "unpublished", _drops_what_is_not_linked)
    ],
    "a sweep moves its watermark before it looks": [
        (process_account, "sweep_account", _moves_its_watermark_first),
        (SweepTimes, "since", lambda _self, watermark: watermark),
    ],
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_what_is_wrong_on_purpose_is_found(postgres_dsn, planted):
    assert found_within(range(FOUND_WITHIN), planted, postgres_dsn)


@pytest.mark.parametrize("planted", PLANTED_IN_PAYMENTS.values(), ids=PLANTED_IN_PAYMENTS)
def test_what_is_wrong_with_payments_on_purpose_is_found(postgres_dsn, planted):
    with_payments = (seed for seed in count() if ("ingest",) in drawn(seed))
    assert found_within(islice(with_payments, FOUND_WITHIN), planted, postgres_dsn)


def found_within(seeds, planted, postgres_dsn):
    """Whether one of the seeds breaks a promise, and it is the planted bug that breaks it."""

    async def work(live):
        for seed in seeds:
            with replacing(planted):
                broken = (await live(drawn(seed), seed)).broken
            if broken:
                return not (await live(drawn(seed), seed)).broken
        return False

    return run(work, postgres_dsn)


def test_a_script_that_breaks_a_promise_is_cut_down(postgres_dsn):
    async def work(live):
        with replacing(PLANTED["the outbox is published newest first"]):
            for seed in range(FOUND_WITHIN):
                script = drawn(seed)
                if (await live(script, seed)).broken:
                    short = await broken_and_short(script, seed, live)
                    return script, short, (await live(short, seed)).broken
        return None

    script, short, broken = run(work, postgres_dsn)
    assert len(short) < len(script)
    assert broken


def test_what_was_lived_is_kept_beside_earlier_campaigns_and_on_the_page(tmp_path):
    file, page = tmp_path / "campaigns.json", tmp_path / "simulation.md"
    page.write_text("before\n<!-- campaigns -->\n<!-- end of campaigns -->\nafter\n")
    versions = {"python": "3.11.7", "postgres": "18.6", "processes": 2}
    earlier = record.Campaign("2026-11-22 09:00:00", "aaa", **versions, seeds=[(0, 99)], seconds=12)
    record.keep(earlier, file, page)
    now = record.Campaign("2026-11-23 09:00:00", "bbb", **versions)
    for portion, broken in ((range(500, 750), []), (range(250), []), (range(250, 500), [260])):
        now.add(portion, broken, seconds=30.2)
        record.keep(now, file, page)
    kept = [(each["commit"], each["seeds"]) for each in json.loads(file.read_text())]
    assert kept == [("aaa", [[0, 99]]), ("bbb", [[0, 749]])]
    shown = page.read_text().splitlines()
    assert shown[0] == "before"
    assert shown[-1] == "after"
    assert [row for row in shown if row.startswith("| 2026")] == [
        "| 2026-11-22 09:00:00 | 0 to 99 | aaa | 3.11.7 | 18.6 | 2 | 12 | none |",
        "| 2026-11-23 09:00:00 | 0 to 749 | bbb | 3.11.7 | 18.6 | 2 | 30 | 260 |",
    ]


def test_a_campaign_that_is_stopped_keeps_what_it_lived(tmp_path, postgres_dsn):
    """As `make simulate RECORD=1` and Ctrl-C, once some portions have ended and others are under way."""
    file, page = tmp_path / "campaigns.json", tmp_path / "simulation.md"
    page.write_text("<!-- campaigns -->\n<!-- end of campaigns -->\n")
    command = f"""
import sys
from pathlib import Path
from simulated import campaign, record
campaign.PORTION = 2
record.keep.__defaults__ = (Path({str(file)!r}), Path({str(page)!r}))
if __name__ == "__main__":
    sys.argv = ["simulate", "--seeds=500", "--from=7", "--processes=2", "--record"]
    sys.exit(campaign.main())
"""
    script = tmp_path / "stopped.py"
    script.write_text(command)
    paths = [str(each) for each in (ROOT / "tests/support", ROOT / "tests/simulation")]
    running = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "DATABASE_URL": postgres_dsn, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "seeds" in running.stderr.readline()
    running.send_signal(signal.SIGTERM)
    told, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    (entry,) = json.loads(file.read_text())
    lives = sum(last - first + 1 for first, last in entry["seeds"])
    assert entry["seeds"][0][0] == 7
    assert 2 <= lives < 500
    assert f": 0 of {lives} broke a promise" in told
