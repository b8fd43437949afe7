"""Run invoice-sync, or ask something of what it has stored: `python -m invoice_sync`.

Without a command it serves. The others are for operators, need the database alone and may run while the services do.
"""

import argparse
import sys
from collections.abc import Sequence

import asyncpg

from invoice_sync.settings import InvoiceSyncSettings, UpkeepSettings
from invoice_sync.verify_audit import verify_audit
from pipeline_service_defaults.operator_commands import audit_holds, run_command, say
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import load
from pipeline_service_defaults.telemetry import configure_logging
from pipeline_service_defaults.tracing import configure_tracing


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked for. Ends with status 0, 1 when something was found or left, 2 for wrong settings or usage,
    3 when the database kept it from being done.
    """
    given = parser().parse_args(arguments)
    match given.command:
        case "reconcile":
            sys.exit(run_command(_reconcile(load(UpkeepSettings), given)))
        case "verify-audit":
            sys.exit(run_command(audit_holds(load(UpkeepSettings).database_url, verify_audit)))
        case _:
            serve()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m invoice_sync", description=__doc__)
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve (what it does without a command)")
    comparing = commands.add_parser(
        "reconcile", help="have the services compare accounts' whole books with Xero's, and tell"
    )
    whose = comparing.add_mutually_exclusive_group(required=True)
    whose.add_argument("--account", metavar="ACCOUNT_ID", help="this account's books")
    whose.add_argument("--all", action="store_true", help="those of every connected account")
    comparing.add_argument(
        "--wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long to wait for the results (600)",
    )
    commands.add_parser("verify-audit", help="check the chains of changed settings")
    return found


def serve() -> None:
    """Serve until SIGTERM; settings come from the environment."""
    from invoice_sync.app import create_app  # noqa: PLC0415 - operators' commands need none of it

    settings = load(InvoiceSyncSettings)
    configure_logging(
        "invoice-sync", settings.log_level, extra_fields=("kind", "effect", "failures")
    )
    configure_tracing("invoice-sync", settings.otel_exporter_otlp_endpoint)
    run(create_app, settings)


async def _reconcile(settings: UpkeepSettings, given: argparse.Namespace) -> int:
    """Ask, wait and tell; 0 when every account's books are clean."""
    from invoice_sync.watch_reconciliations import watch_reconciliations  # noqa: PLC0415 - as above

    async with asyncpg.create_pool(
        settings.database_url.get_secret_value(), min_size=1, max_size=2
    ) as pool:
        told = await watch_reconciliations(
            pool, given.account, settings.xero_web_url, wait_seconds=given.wait
        )
    for sentence in told.sentences:
        say(sentence)
    return 0 if told.is_clean else 1


if __name__ == "__main__":
    main()
