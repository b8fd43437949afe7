"""Start payment-ingest, or look after its ledger: `python -m payment_ingest`.

Without a command it serves. The others are for operators, need only what they say, and may run while the service does.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import asyncpg
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from payment_ingest.check_webhooks import check, explain
from payment_ingest.domain.intent_to_receive import delivery_url
from payment_ingest.follow_connections import follow_connections
from payment_ingest.link_invoices import link_invoices
from payment_ingest.rebuild_ledger import hear_again, rebuild_ledger
from payment_ingest.reconcile_topic import reconcile_topic
from payment_ingest.settings import DatabaseSettings, Settings, WebhookKeySettings
from payment_ingest.store import connections, reconciliations, sweeps
from pipeline_contracts import topics
from pipeline_contracts.money import plain_money
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.history import history
from pipeline_messaging.unreachable import why_unreachable
from pipeline_service_defaults.database import Pool
from pipeline_service_defaults.operator_commands import EXIT_NOT_DONE, run_command, say
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import StorageSettings, load
from pipeline_service_defaults.telemetry import configure_logging
from pipeline_service_defaults.tracing import configure_tracing

SERVICE = "payment-ingest"
_STANDS_STILL_MS = "120000"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked for. Ends with status 0, 1 when something differs or fails, 2 for wrong settings or usage,
    3 when the database or Kafka kept it from being done.
    """
    given = parser().parse_args(arguments)
    match given.command:
        case "webhook-keys":
            sys.exit(webhook_keys(given.address))
        case "reconcile" | "rebuild-ledger":
            work = _look_after(load(StorageSettings), given.command)
        case "deep-sweep":
            work = _sweep_deep(load(DatabaseSettings))
        case _:
            serve()
            return
    configure_logging(SERVICE, "WARNING")
    sys.exit(run_command(work))


def serve() -> None:
    """Serve until SIGTERM; settings come from the environment."""
    from payment_ingest.app import create_app  # noqa: PLC0415 - operators' commands need none of it

    settings = load(Settings)
    configure_logging(SERVICE, settings.log_level)
    configure_tracing(SERVICE, settings.otel_exporter_otlp_endpoint)
    run(create_app, settings)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m payment_ingest", description=__doc__)
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve (what it does without a command)")
    commands.add_parser(
        "reconcile",
        help="show what Xero, the ledger, the published events and the topic say is settled, and where they differ",
    )
    commands.add_parser(
        "deep-sweep", help="have the running service read every invoice of every organisation now"
    )
    commands.add_parser(
        "rebuild-ledger",
        help="put back into the ledger, under the same ids, what the topics tell; the service waits meanwhile",
    )
    keys = commands.add_parser(
        "webhook-keys",
        help="show what to paste into Xero's developer page, and try its intent-to-receive check",
    )
    keys.add_argument(
        "address",
        type=_delivery_url,
        help="public address of payment-ingest, such as https://payments.example.com",
    )
    return found


def _delivery_url(address: str) -> str:
    try:
        return delivery_url(address)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def webhook_keys(url: str) -> int:
    """Explain and check; 0 when Xero's own check would pass. Needs nothing but XERO_WEBHOOK_KEYS."""
    explain(url, say)
    keys = load(WebhookKeySettings).webhook_keys
    say(f"Trying that now, with {len(keys)} of XERO_WEBHOOK_KEYS:")
    passed = asyncio.run(check(url, keys, say))
    say("Xero's check would pass." if passed else "Xero's check would FAIL.")
    return 0 if passed else 1


async def _look_after(settings: StorageSettings, command: str) -> int:
    kafka = KafkaSettings.of(SERVICE, settings)
    try:
        async with _pool(settings.database_url) as pool:
            return await (reconcile if command == "reconcile" else rebuild)(pool, kafka)
    except KafkaError as error:
        why = await why_unreachable(kafka)
        sys.stderr.write(f"Not done. Kafka: {why or error}. Put that right and run this again.\n")
        return EXIT_NOT_DONE


async def _sweep_deep(settings: DatabaseSettings) -> int:
    async with _pool(settings.database_url) as pool, pool.acquire() as conn:
        tenants = await sweeps.deepen(conn)
    say(f"Organisations that are read whole now: {tenants}. See `reconcile` afterwards.")
    return 0


def _pool(database_url: SecretStr) -> Pool:
    # None of the service's time limits for statements, which are meant for short ones: these read years of events. But
    # a rebuild that stands still, and keeps the service waiting meanwhile, is ended: again is harmless.
    return asyncpg.create_pool(
        database_url.get_secret_value(),
        min_size=1,
        max_size=2,
        server_settings={
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": _STANDS_STILL_MS,
        },
    )


async def reconcile(pool: Pool, kafka: KafkaSettings) -> int:
    """Print both comparisons; 0 when nothing differs."""
    differing = 0
    say("By the last deep sweep of each organisation (invoices of Pipeline; paid and credited):")
    async with pool.acquire() as conn:
        for one in await reconciliations.latest(conn):
            differing += one.differing
            verdict = (
                f"{one.differing} invoices DIFFER, such as {one.example}"
                if one.differing
                else "agree"
            )
            say(
                f"  {_called(one.tenant_id, one.tenant_name)} {one.currency} at {one.completed_at:%Y-%m-%d %H:%M} UTC,"
                f" {one.invoices} invoices: Xero {plain_money(one.in_xero)}, ledger {plain_money(one.in_ledger)},"
                f" published {plain_money(one.published)}: {verdict}"
            )
        names = await connections.tenant_names(conn)
    say("By the payments topic, now:")
    found = await reconcile_topic(pool, history(kafka, topics.PAYMENTS))
    for (tenant_id, currency), sums in sorted(found.items()):
        differing += sums.differing
        verdict = "agree"
        if not sums.agrees:
            verdict = (
                f"DIFFER: not in the topic {_some(sums.missing)}, only in the topic {_some(sums.strange)},"
                f" of another amount {_some(sums.unlike)}"
            )
        say(
            f"  {_called(tenant_id, names.get(tenant_id))} {currency}: published {plain_money(sums.published)},"
            f" topic {plain_money(sums.in_topic)}, still to be sent {plain_money(sums.waiting)}: {verdict}"
        )
    return 1 if differing else 0


async def rebuild(pool: Pool, kafka: KafkaSettings) -> int:
    """Rebuild and say what was done; 0 when ledger and topic agree afterwards."""
    done = await rebuild_ledger(pool, history(kafka, topics.PAYMENTS))
    say(
        f"{done.read} records read, {done.put_back} movements put back, {done.strange} records are not of this ledger."
    )
    # After the payments, so that what a link releases gets the numbers after those that were told.
    links = await hear_again(
        pool, history(kafka, topics.SYNC), partial(link_invoices, clock=lambda: datetime.now(UTC))
    )
    accounts = await hear_again(pool, history(kafka, topics.CONNECTIONS), follow_connections)
    say(f"{links} events of synced invoices and {accounts} of connections heard again.")
    found = await reconcile_topic(pool, history(kafka, topics.PAYMENTS))
    differing = [key for key, sums in found.items() if not sums.agrees]
    for tenant_id, currency in differing:
        say(f"{tenant_id} {currency}: ledger and topic DIFFER; see `reconcile`.")
    return 1 if differing else 0


def _called(tenant_id: str, name: str | None) -> str:
    return f"{name} ({tenant_id})" if name else tenant_id


def _some(events: Sequence[object]) -> str:
    return f"{len(events)} ({events[0]})" if events else "0"


if __name__ == "__main__":
    main()
