"""Runs what `deploy/compose.yaml` says without a container engine, and does one invoice and one payment in it.

Started by tests/compose inside a network of its own, in which every name of a service leads to this machine: so commands,
environments, secrets, mounted files, health checks and order are the file's own, unchanged. Each container of ours gets
a read-only file system with its own secrets alone. In place of the images of Kafka, Postgres and Prometheus stand the same
servers as this machine has them, with the settings of the file.

`composed_system.py MODEL SCRATCH` writes what it saw to standard output, as JSON. It stops nothing: the processes are in a
namespace that ends with it.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from composing import OURS, command_of, in_order, mounts_of

from pipeline_local_stack.forwarder import Forwarder
from pipeline_local_stack.kafka import Protection, start_kafka
from pipeline_local_stack.paths import ROOT
from pipeline_local_stack.postgres import start_postgres

_PATIENCE_SECONDS = 90
_INVOICE = "inv-C-1"
# As the image's own command has it.
_PROMETHEUS = [
    "prometheus",
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
]
_PAY = """
import httpx, sys
admin = "http://localhost:5100/admin"
(tenant,) = [each["tenant_id"] for each in httpx.get(f"{admin}/connections").json()]
paid = httpx.post(f"{admin}/tenants/{tenant}/payments", json={"invoice": sys.argv[1], "amount": "115.00"})
sys.exit(paid.text if paid.is_error else 0)
"""


class Composed:
    """The containers, as processes."""

    def __init__(self, model: dict[str, Any], scratch: Path) -> None:
        self._model, self._scratch = model, scratch
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def up(self) -> None:
        """Start everything in its order, and wait for each as the file says."""
        for name in in_order(self._model):
            service = self._model["services"][name]
            # There is no Grafana to be had without its image; tools are for people.
            if name == "grafana" or service.get("profiles"):
                continue
            for other, wanted in service.get("depends_on", {}).items():
                self._await(other, wanted["condition"])
            self._start(name)
        for name, service in self._model["services"].items():
            if "healthcheck" in service and name != "grafana":
                self._await(name, "service_healthy")

    def tool(self, *command: str) -> str:
        """What `docker compose run --rm tools …` writes. Raises AssertionError when it fails."""
        entrypoint = self._model["services"]["tools"]["entrypoint"]
        ran = subprocess.run(
            self._sandboxed("tools", [*entrypoint, *command]),
            capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{command}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        return ran.stdout

    def _start(self, name: str) -> None:
        special = {"kafka": self._kafka, "postgres": self._postgres}
        if name in special:
            special[name]()
            return
        command = _PROMETHEUS if name == "prometheus" else command_of(self._model, name)
        with self._log_of(name).open("wb") as log:
            process = subprocess.Popen(
                self._sandboxed(name, command), stdout=log, stderr=subprocess.STDOUT
            )
        self._running[name] = process

    def _await(self, name: str, condition: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._reached(name, condition):
            assert time.monotonic() < deadline, f"{name}: no {condition}: {self._last_words(name)}"
            time.sleep(0.3)  # each check of a service starts a Python

    def _reached(self, name: str, condition: str) -> bool:
        process = self._running.get(name)
        ended = process and process.poll()
        if condition == "service_completed_successfully":
            assert ended in (None, 0), f"{name} ended with {ended}: {self._last_words(name)}"
            return ended == 0
        assert ended is None, f"{name} ended with {ended}: {self._last_words(name)}"
        return condition == "service_started" or self._healthy(name)

    def _healthy(self, name: str) -> bool:
        kind, *test = self._model["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        match test:
            case ["wget", "-q", "-O", "/dev/null", url]:
                try:
                    return urllib.request.urlopen(url, timeout=5).status == 200  # noqa: S310 - of the file
                except OSError:
                    return False
            case ["pg_isready", *options]:
                program = self._postgres_programs / "pg_isready"
                return subprocess.run([program, *options], check=False).returncode == 0
            case [script, "--bootstrap-server", server] if script.startswith("/opt/kafka/bin/"):
                # The scripts come with the image only.
                return asyncio.run(_answers(server))
            case _:
                ran = subprocess.run(self._sandboxed(name, test), capture_output=True, check=False)
                return ran.returncode == 0

    def _kafka(self) -> None:
        environment = self._model["services"]["kafka"]["environment"]
        settings = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): value
            for name, value in environment.items()
            if name not in {"KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"}
        }
        start_kafka("kafka", self._scratch, protection=Protection(settings))

    def _postgres(self) -> None:
        server = start_postgres("postgres", self._scratch)
        self._postgres_programs = Path(server.child.command[0]).parent
        (password,) = (
            file.read_text()
            for place, file in mounts_of(self._model, "postgres")
            if place == self._model["services"]["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"]
        )

        async def let_enter() -> None:
            connection = await asyncpg.connect(server.dsn)
            await connection.execute(f"ALTER ROLE postgres PASSWORD '{password}'")
            await connection.close()

        asyncio.run(let_enter())
        self._running["forwarder"] = subprocess.Popen(
            [sys.executable, "-m", Forwarder.__module__],
            env={**os.environ, "FORWARD_PORT": "5432", "FORWARD_TO": str(server.port)},
        )

    def _sandboxed(self, name: str, command: list[str]) -> list[str]:
        """The command in a file system as the container's: read-only, with its own secrets and volumes, and no others'."""
        service = self._model["services"][name]
        assert service["read_only"], name
        assert name == "prometheus" or service["image"].startswith(OURS), name
        root = ["--tmpfs", "/"]
        for entry in Path("/").iterdir():
            if entry.is_symlink():
                root += ["--symlink", str(entry.readlink()), str(entry)]
            elif entry.is_dir() and entry.name not in {"proc", "dev", "run", "tmp"}:
                root += ["--ro-bind", str(entry), str(entry)]
        for place in service.get("tmpfs", ()):
            root += ["--tmpfs", place]
        # They may lie in /tmp, which is the container's own here.
        for needed in (ROOT, Path(sys.base_prefix)):
            root += ["--ro-bind", str(needed), str(needed)]
        root += ["--tmpfs", str(ROOT / ".local")]
        if name == "prometheus":
            root += ["--tmpfs", "/etc/prometheus"]
        for place, file in mounts_of(self._model, name):
            root += ["--ro-bind", str(file), place]
        for volume in service.get("volumes", ()):
            if volume["type"] == "volume":
                there = self._scratch / volume["source"]
                there.mkdir(exist_ok=True)
                root += ["--bind", str(there), volume["target"]]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            **service.get("environment", {}),
        }
        given = [part for each in environment.items() for part in ("--setenv", *each)]
        return [
            "bwrap", *root, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/",
            "--unshare-pid", "--die-with-parent", "--clearenv", *given, "--chdir", "/", "--", *command,
        ]  # fmt: skip

    def _log_of(self, name: str) -> Path:
        return self._scratch / f"{name}.log"

    def _last_words(self, name: str) -> str:
        log = self._log_of(name)
        return log.read_text(errors="replace")[-3000:] if log.exists() else ""


async def _answers(server: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=server)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except KafkaError:
        return False
    finally:
        await admin.close()


def one_invoice(composed: Composed) -> dict[str, Any]:
    """Connect, publish, pay, and look at it in every place where it is shown."""
    module = ["python", "-m"]
    composed.tool(*module, "pipeline_local_stack", "connect")
    published = composed.tool(
        *module, "pipeline_local_stack.publish",
        "--number", "C-1", "--customer", "Composed Ltd", "--amount", "115.00",
    )  # fmt: skip
    composed.tool("python", "-c", _PAY, "C-1")
    return {
        "published": published,
        "payments": _until(lambda: _payments(composed)),
        "status": json.loads(composed.tool("pipeline-xero", "status", "--json")),
        "dashboard": _until(_on_the_dashboard),
        "targets": _until(_scraped),
        "rules": _asked("rules")["groups"],
    }


def _payments(composed: Composed) -> Any:
    answer = composed.tool("pipeline-xero", "payments", "--invoice", _INVOICE, "--json")
    return json.loads(answer)["payments"]


def _on_the_dashboard() -> str | None:
    with httpx.Client(follow_redirects=True, timeout=10) as browser:
        browser.get("http://localhost:8000/dashboard/staff").raise_for_status()
        page = browser.get("http://localhost:8004/accounts/demo/invoice", params={"id": _INVOICE})
        return page.text if page.is_success else None


def _scraped() -> Any:
    targets = _asked("targets")["activeTargets"]
    return all(each["health"] == "up" for each in targets) and {
        each["labels"]["job"]: each["health"] for each in targets
    }


def _asked(what: str) -> Any:
    return httpx.get(f"http://localhost:9090/api/v1/{what}", timeout=10).json()["data"]


def _until(ask: Any) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (found := ask()):
        assert time.monotonic() < deadline, f"{ask}: {found}"
        time.sleep(0.2)
    return found


def main() -> None:
    model, scratch = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    composed = Composed(model, scratch)
    composed.up()
    print(json.dumps(one_invoice(composed)))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
