"""`python -m pipeline_local_stack up|down|connect|env|demo|bench|soak|profile|chaos|planted-bugs|rotate-keys`: what the Makefile calls, and people."""

import argparse
import signal
import sys
import time
from types import FrameType

from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.identities import ACCOUNT
from pipeline_local_stack.paths import LOCAL, LOGS, STACK_FILE, StackError
from pipeline_local_stack.processes import stop_leftovers
from pipeline_local_stack.prometheus import running_prometheus
from pipeline_local_stack.stack import (
    DASHBOARD,
    SERVICES,
    Stack,
    read_stack_file,
    running_stack,
)

_REWRITE_SECONDS = 240  # well before the service tokens in stack.json expire


def main() -> int:
    """Run the command that was asked for; 0 when its promise held."""
    parser = argparse.ArgumentParser(prog="pipeline_local_stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "demo"):
        command = commands.add_parser(name)
        command.add_argument("--broker", choices=("kafka", "tansu"), default="kafka")
    commands.choices["demo"].add_argument(
        "--kill", choices=sorted(SERVICES), help="SIGKILL it midway"
    )
    commands.choices["up"].add_argument(
        "--replicas", type=int, choices=range(1, 6), default=1, help="processes of each service"
    )
    commands.add_parser("down")
    commands.add_parser("connect")
    commands.add_parser("env", help="what a shell needs to talk to the running stack")
    bench = commands.add_parser("bench", help="measure, each figure beside its baseline")
    bench.add_argument("--record", action="store_true", help="keep the run in docs, too")
    bench.add_argument("parts", nargs="*", help="what to measure; nothing is everything")
    soak = commands.add_parser("soak", help="load the stack for long: does anything grow?")
    soak.add_argument("--minutes", type=float, default=10)
    soak.add_argument("--record", action="store_true", help="keep the run in docs, too")
    profile = commands.add_parser("profile", help="where the processor time of a hot path goes")
    profile.add_argument("part", choices=("sync", "webhooks"))
    chaos = commands.add_parser("chaos", help="strike the stack with seeded faults, and judge it")
    chaos.add_argument("--seed", type=int, default=0, help="of the first run")
    chaos.add_argument("--runs", type=int, default=1)
    chaos.add_argument("--seconds", type=float, default=20, help="of faults in each run")
    chaos.add_argument("--record", action="store_true", help="add it to the record in docs")
    planted = commands.add_parser("planted-bugs", help="does the judge find bugs that are known?")
    planted.add_argument("--only", metavar="NAME", nargs="+", default=(), help="instead of all")
    planted.add_argument("--seeds", type=int, default=50, help="runs for each bug at the most")
    planted.add_argument("--sound", action="store_true", help="the same runs without the bugs")
    planted.add_argument("--record", action="store_true", help="keep what was found in docs, too")
    commands.add_parser("rotate-keys")
    arguments = parser.parse_args()
    # Whoever sends the output to a file wants to read it while it grows.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper, as ever
    # SIGTERM ends like Ctrl-C does: through the clean-up. SIGINT is set too, because a shell that starts us in the
    # background has it ignored, and Python then leaves it so.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0 if arguments.command == "up" else 130  # the way `up` is meant to end
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:  # noqa: PLR0911 - one for each command
    match arguments.command:
        case "up":
            replicas = dict.fromkeys(SERVICES | DASHBOARD, arguments.replicas)
            with (
                running_stack(broker=arguments.broker, replicas=replicas, dashboard=True) as stack,
                running_prometheus(stack, print),
            ):
                _stay_up(stack)
        case "down":
            stopped = stop_leftovers()
            STACK_FILE.unlink(missing_ok=True)
            print(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")
        case "connect":
            connect_to_xero(read_stack_file()["urls"]["portal"])
            print(f'The account "{ACCOUNT}" is connected to Xero.')
        case "env":
            print(f"export KAFKA_BOOTSTRAP_SERVERS={read_stack_file()['kafka_bootstrap_servers']}")
        case "demo":
            from pipeline_local_stack.demo import run_demo  # noqa: PLC0415 - `down` must not need it

            return run_demo(broker=arguments.broker, kill=arguments.kill)
        case "chaos":
            from pipeline_local_stack.chaos.campaign import run_chaos  # noqa: PLC0415 - as above

            return run_chaos(
                seed=arguments.seed,
                runs=arguments.runs,
                seconds=arguments.seconds,
                record=arguments.record,
            )
        case "planted-bugs":
            from pipeline_local_stack.planted.hunt import hunt  # noqa: PLC0415 - as above

            return hunt(
                arguments.only, arguments.seeds, sound=arguments.sound, record=arguments.record
            )
        case "soak":
            from pipeline_local_stack.bench.soak import run_soak  # noqa: PLC0415 - as above

            return run_soak(arguments.minutes, record=arguments.record)
        case "profile":
            from pipeline_local_stack.bench.profile import run_profile  # noqa: PLC0415 - as above

            return run_profile(arguments.part)
        case "rotate-keys":
            from pipeline_local_stack.rotate_keys import rotate  # noqa: PLC0415 - as above

            return rotate()
        case _:
            from pipeline_local_stack.bench import run_bench  # noqa: PLC0415 - as above

            return run_bench(arguments.parts, record=arguments.record)
    return 0


def _stay_up(stack: Stack) -> None:
    urls = stack.urls
    print(f"""
Sign in and open the Xero card,
or the ops dashboard:            {urls["portal"]}
API of connector:                {urls["connector"]}/docs
API of invoice-sync:             {urls["invoice-sync"]}/docs
API of payment-ingest:           {urls["payment-ingest"]}/docs
Xero's simulator:                {urls["simulator"]}/admin/docs
Kafka:                           {stack.broker.bootstrap_servers} ({stack.broker.implementation})
Prometheus:                      {urls.get("prometheus", "not running")}
Addresses and tokens (JSON):     {STACK_FILE.relative_to(LOCAL.parent)}
Logs:                            {LOGS.relative_to(LOCAL.parent)}/

Publish an invoice by hand (account "{ACCOUNT}"):
  .venv/bin/python -m pipeline_local_stack.publish --number INV-1 --customer "Ridgeway Bank" --amount 115.00

Ctrl-C, or `make down` elsewhere, stops everything.""")
    written = time.monotonic()
    while True:
        if time.monotonic() - written > _REWRITE_SECONDS:
            stack.write_file()
            written = time.monotonic()
        for name in stack.restart_what_died():
            print(
                f"{name} ended and was started again (see {LOGS.relative_to(LOCAL.parent)}/{name}.log)."
            )
        time.sleep(0.5)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
