"""`make rotate-keys`: the runbook's four steps on a running local stack.

The replicas are restarted one after the other, each when the one before is ready; a single one is away for a moment.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import noted_process
from pipeline_local_stack.stack import read_stack_file
from pipeline_local_stack.token_keys import TOKEN_KEYS_FILE, new_key, version_of, write_keys

_SECONDS = 60


def rotate(say: Callable[[str], None] = print) -> int:
    """Rotate the local stack's sealing key; 0 when no value is left under the old one.

    Raises:
        StackError: no stack is running, or the connector did not come back.
    """
    described = read_stack_file()
    replicas: dict[str, str] = described["replicas"]["connector"]
    old = TOKEN_KEYS_FILE.read_text().split()
    version = 1 + max(version_of(line) for line in old)
    new = new_key(version)
    say(f"1. A new key, v{version}, joins the others: to open, and not yet to seal.")
    restart_with([*old, new], replicas)
    say("2. The new key comes first: what is stored from now on is sealed under it.")
    restart_with([new, *old], replicas)
    say("3. What is stored already is brought under it, while the connector works:")
    if status := operate("rotate-keys", described["dsns"]["connector"], say):
        return status
    say("4. Nothing needs the other keys any more; they are removed.")
    restart_with([new], replicas)
    return operate("rotate-keys --check", described["dsns"]["connector"], say)


def operate(command: str, dsn: str, say: Callable[[str], None]) -> int:
    """Run one of the connector's commands for operators; its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "connector", *command.split()],
        env={
            "PATH": os.environ.get("PATH", ""),
            "DATABASE_URL": dsn,
            "TOKEN_KEYS_FILE": str(TOKEN_KEYS_FILE),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    for line in (done.stdout + done.stderr).splitlines():
        say(f"   {line}")
    return done.returncode


def restart_with(keys: list[str], replicas: dict[str, str]) -> None:
    """Give every replica these keys. Raises StackError."""
    write_keys(keys)
    for name, url in replicas.items():
        restart(name, url)


def restart(name: str, url: str) -> None:
    """End one replica, which `make up` starts again, and wait until it is ready. Raises StackError."""
    before = noted_process(name)
    if before is None:
        raise StackError(f"{name} is not running: see its log, or start again with `make up`.")
    before.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        now = noted_process(name)
        if now is not None and now.pid != before.pid:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health/ready", timeout=5).status_code == httpx.codes.OK:
                    return
        time.sleep(0.1)
    raise StackError(f"{name} did not become ready again; see its log.")
