"""Where the local stack keeps its things: everything under `.local/` of the checkout, nothing elsewhere."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
# The tests run their stacks elsewhere, beside one that somebody keeps up.
LOCAL = Path(os.environ.get("PIPELINE_XERO_LOCAL", ROOT / ".local"))
CACHE = ROOT / ".local" / "cache"
LOGS = LOCAL / "logs"
RUN = LOCAL / "run"
STACK_FILE = LOCAL / "stack.json"


class StackError(Exception):
    """What is missing or wrong on this machine, in one sentence with the fix; the CLI prints it and exits 1."""
