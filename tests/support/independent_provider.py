"""The certified OpenID provider of tests/independent_provider: its packages installed once, its process started."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "tests" / "independent_provider"
_CACHE = _ROOT / ".local" / "cache"
_FILES = ("package.json", "package-lock.json")


def installed(npm: str) -> Path:
    """A folder with the locked packages, made when there is none for this lock file."""
    locked = hashlib.sha256((_SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = _CACHE / f"independent-provider-{locked}"
    if folder.exists():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed: a run that was cut off leaves nothing that looks complete.
    fresh = Path(tempfile.mkdtemp(dir=_CACHE))
    for name in _FILES:
        shutil.copy(_SOURCE / name, fresh)
    ran = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=fresh,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, f"npm ci failed: {ran.stderr[-2000:]}"
    with suppress(OSError):  # another run was first
        fresh.rename(folder)
    return folder


@contextmanager
def running(npm: str, *, client_id: str, client_secret: str, redirect_uri: str) -> Iterator[str]:
    """Run the provider for one client; gives its issuer, which is its address."""
    folder = installed(npm)
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
