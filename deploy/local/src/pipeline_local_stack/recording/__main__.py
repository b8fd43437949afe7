"""`python -m pipeline_local_stack.recording [SCENARIO …]`: record the conformance kit's scenarios anew."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx

from pipeline_contracts.envelope import Record
from pipeline_contracts.record_files import line_of
from pipeline_local_stack.paths import ROOT, StackError
from pipeline_local_stack.recording.normalise import normalised
from pipeline_local_stack.recording.scenarios import SCENARIOS, Scene
from pipeline_local_stack.recording.tape import Tape, taping
from pipeline_local_stack.stack import Stack, running_stack

FOLDER = ROOT / "libs" / "contracts" / "src" / "pipeline_contracts" / "scenarios"


async def record(stack: Stack, tape: Tape, name: str, account_id: str) -> list[Record]:
    """Play a scenario on the running system and return what was told, normalised.

    Raises:
        StackError: it did not come to its end.
    """
    await SCENARIOS[name](Scene(stack, tape, account_id))
    await tape.to_the_end()
    return normalised(tape.of(account_id), name, datetime.now(UTC).date())


def account_of(name: str) -> str:
    """The account a scenario is about."""
    return f"conformance-{name}"


def write(folder: Path, name: str, records: list[Record]) -> None:
    """Keep a recording."""
    text = "".join(f"{line_of(each)}\n" for each in records)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


async def _record_all(stack: Stack, names: list[str]) -> None:
    async with taping(stack.broker.bootstrap_servers) as tape:
        for name in names:
            records = await record(stack, tape, name, account_of(name))
            write(FOLDER, name, records)
            print(f"{name}: {len(records)} records")


def main() -> int:
    """Start a stack, record, and stop it; 0 when everything was recorded."""
    parser = argparse.ArgumentParser(prog="pipeline_local_stack.recording", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    chosen = parser.parse_args().scenario or list(SCENARIOS)
    try:
        # Nothing here is about Xero's limits; waiting for them would only make recording slow.
        lifted = {
            "connector": {"XERO_MINUTE_LIMIT": "6000"},
            "payment-ingest": {"SWEEP_PAUSE_SECONDS": "1"},
        }
        with running_stack(environment=lifted) as stack:
            limits = f"{stack.urls['simulator']}/admin/limits"
            httpx.put(limits, json={"unlimited": True}).raise_for_status()
            asyncio.run(_record_all(stack, chosen))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
