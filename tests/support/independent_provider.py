"""The certified OpenID provider of tests/independent_provider: its packages installed once, its process started."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_local_stack.node_packages import installed

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "tests" / "independent_provider"


@contextmanager
def running(npm: str, *, client_id: str, client_secret: str, redirect_uri: str) -> Iterator[str]:
    """Run the provider for one client; gives its issuer, which is its address."""
    folder = installed(npm, _SOURCE)
    # Node looks for packages beside the file it runs, so the file goes where they are.
    script = shutil.copy(_SOURCE / "provider.mjs", folder)
    environment = {
        "PATH": os.environ["PATH"],
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": client_secret,
        "REDIRECT_URI": redirect_uri,
    }
    with subprocess.Popen(
        [shutil.which("node") or "node", str(script)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said, "the provider ended before it listened"
            yield json.loads(said)["issuer"]
        finally:
            process.kill()
