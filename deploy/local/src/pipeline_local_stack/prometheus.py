"""Prometheus over the running stack, where the machine has one: it scrapes every replica and knows the alert rules."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator

from pipeline_local_stack.paths import LOCAL, ROOT
from pipeline_local_stack.processes import Child, free_port, wait_until_listening
from pipeline_local_stack.stack import Stack

RULES = ROOT / "deploy" / "prometheus"
_FOLDER = LOCAL / "prometheus"


@contextlib.contextmanager
def running_prometheus(stack: Stack, say: Callable[[str], None]) -> Iterator[None]:
    """Start Prometheus beside the stack, empty, and add its address to `stack.urls`; stop it on the way out.

    Without a `prometheus` on the PATH the stack runs without, and says so.

    Raises:
        StackError: it did not start.
    """
    program = shutil.which("prometheus")
    if program is None:
        say("No Prometheus here: install one (package `prometheus`) to see metrics and alerts.")
        yield
        return
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    # JSON is YAML, too.
    (_FOLDER / "prometheus.yml").write_text(json.dumps(_settings(stack), indent=2))
    port = free_port()
    child = Child(
        "prometheus",
        [
            program,
            f"--config.file={_FOLDER / 'prometheus.yml'}",
            f"--storage.tsdb.path={_FOLDER / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    child.start()
    try:
        wait_until_listening(child, port)
        stack.urls["prometheus"] = f"http://localhost:{port}"
        stack.write_file()
        yield
    finally:
        child.stop()


def _settings(stack: Stack) -> dict[str, object]:
    return {
        "global": {"scrape_interval": "2s", "evaluation_interval": "5s"},
        "rule_files": [str(file) for file in sorted(RULES.glob("*.yaml"))],
        "scrape_configs": [
            {
                "job_name": service,
                "static_configs": [
                    {
                        "targets": [
                            f"127.0.0.1:{stack.ports[name]}" for name in stack.replicas(service)
                        ]
                    }
                ],
            }
            for service in stack.services
        ],
    }
