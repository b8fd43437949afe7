"""Serve the dashboard, or make its projection anew: `python -m ops_dashboard`."""

import argparse
import sys
from collections.abc import Sequence

import asyncpg
from aiokafka.errors import KafkaError

from ops_dashboard.project_records import READ
from ops_dashboard.rebuild_projection import AlreadyRebuilding, rebuild
from ops_dashboard.store.generations import RebuildOvertaken
from pipeline_messaging.broker import KafkaSettings
from pipeline_service_defaults.operator_commands import run_command, say
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import StorageSettings, load
from pipeline_service_defaults.telemetry import configure_logging
from pipeline_service_defaults.tracing import configure_tracing

SERVICE = "ops-dashboard"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked for. Ends with status 0, 1 when it fails, 2 for wrong settings or usage,
    3 when the database cannot be entered.
    """
    if parser().parse_args(arguments).command == "rebuild":
        settings = load(StorageSettings)
        configure_logging(SERVICE, "WARNING")
        sys.exit(run_command(rebuild_all(settings)))
    serve()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m ops_dashboard", description=__doc__)
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve (what it does without a command)")
    commands.add_parser(
        "rebuild",
        help="read the topics again into a new generation, beside the running service, and switch to it",
    )
    return found


def serve() -> None:
    """Serve until SIGTERM; settings come from the environment."""
    from ops_dashboard.app import create_app  # noqa: PLC0415 - operators' commands need none of it
    from ops_dashboard.settings import Settings  # noqa: PLC0415 - as above

    settings = load(Settings)
    configure_logging(SERVICE, settings.log_level)
    configure_tracing(SERVICE, settings.otel_exporter_otlp_endpoint)
    run(create_app, settings)


async def rebuild_all(settings: StorageSettings) -> int:
    """Rebuild from the public topics; 0 when pages show the new generation."""
    # None of the service's time limits, which are meant for short statements.
    async with asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=1,
        max_size=3,
        server_settings={"timezone": "UTC"},
    ) as pool:
        try:
            total = await rebuild(pool, KafkaSettings.of(SERVICE, settings), READ, say)
        except (
            AlreadyRebuilding,
            RebuildOvertaken,
            KafkaError,
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            say(f"Not rebuilt, pages show what they showed before: {error}")
            return 1
    say(f"{total} records read again.")
    return 0


if __name__ == "__main__":
    main()
