"""Run the connector, or look after what it has stored: `pipeline-connector` or `python -m connector`.

Without a command it serves. The others are for operators and may run while the services do; see docs/runbooks.
"""

import argparse
import sys
from collections.abc import Sequence

import asyncpg

from connector.rotate_keys import KeyInUse, give_up_key, left_under_others, rotate_keys
from connector.settings import Settings, UpkeepSettings
from connector.verify_audit import verify_audit
from pipeline_service_defaults.operator_commands import audit_holds, run_command, say
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import load
from pipeline_service_defaults.telemetry import configure_logging
from pipeline_service_defaults.tracing import configure_tracing

SERVICE = "connector"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what was asked for. Ends with status 0, 1 when something is left or broken, 2 for wrong settings or usage,
    3 when the database kept it from being done.
    """
    given = parser().parse_args(arguments)
    match given.command:
        case "rotate-keys":
            sys.exit(run_command(rotate(load(UpkeepSettings), given)))
        case "verify-audit":
            sys.exit(run_command(audit_holds(load(UpkeepSettings).database_url, verify_audit)))
        case _:
            serve()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m connector", description=__doc__)
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve (what it does without a command)")
    rotation = commands.add_parser(
        "rotate-keys", help="bring every stored secret under the first of TOKEN_KEYS"
    )
    instead = rotation.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="only count what is left")
    instead.add_argument(
        "--give-up",
        metavar="VERSION",
        help="this key is lost: erase what only it could open; the people concerned connect again",
    )
    commands.add_parser("verify-audit", help="check the hash chains of the audit")
    return found


def serve() -> None:
    """Read the settings, or say which are wrong; then serve until told to stop."""
    from connector.app import create_app  # noqa: PLC0415 - operators' commands need none of it

    settings = load(Settings)
    configure_logging(SERVICE, settings.log_level)
    configure_tracing(SERVICE, settings.otel_exporter_otlp_endpoint)
    run(create_app, settings)


async def rotate(settings: UpkeepSettings, given: argparse.Namespace) -> int:
    """Rotate, or only count; 0 when nothing is left under other keys than the current one."""
    configure_logging(SERVICE, "WARNING")
    keys = settings.key_ring()
    if given.give_up and keys.opens(given.give_up):
        say(f"Key {given.give_up} is among TOKEN_KEYS: nothing is lost. Rotate instead.")
        return 2
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        if given.give_up:
            try:
                grants = await give_up_key(conn, given.give_up)
            except KeyInUse as error:
                say(str(error))
                return 2
            say(f"Erased what only key {given.give_up} could open: {grants} grants.")
        left = await (left_under_others if given.check else rotate_keys)(conn, keys)
    finally:
        await conn.close()
    for version, number in sorted(left.items()):
        known = "" if keys.opens(version) else ", which is not among TOKEN_KEYS"
        say(f"{number} values are left under key {version}{known}.")
    if not left:
        say(f"Every value is under key {keys.current}. Other keys can be removed.")
    return 1 if left else 0


if __name__ == "__main__":
    main()
