"""`deploy/compose.yaml` as the real Compose reads it, with every default, anchor and variable in its place."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline_local_stack.composed.secret_files import make_secrets
from pipeline_local_stack.paths import ROOT

COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = Path(sys.executable).with_name("docker-compose")
OURS = "pipeline-xero/"
"""How the names of images begin that are built here."""

Service = dict[str, Any]


class RefusedError(Exception):
    """Compose takes the file as none; its own words."""


def read_model(secrets: Path, file: Path = COMPOSE_FILE) -> dict[str, Any]:
    """Everything that Compose knows of the file, all profiles included. Raises RefusedError."""
    ran = subprocess.run(
        [
            COMPOSE, "--project-directory", COMPOSE_FILE.parent, "--file", file, "--profile", "*",
            "config", "--format", "json",
        ],
        env={"PIPELINE_XERO_SECRETS": str(secrets), "HOME": str(secrets)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if ran.returncode != 0:
        raise RefusedError(ran.stderr)
    model: dict[str, Any] = json.loads(ran.stdout)
    return model


def model_with_secrets(folder: Path) -> dict[str, Any]:
    """The model over fresh secrets in a folder that is made."""
    make_secrets(folder)
    return read_model(folder)


def command_of(model: dict[str, Any], service: str) -> list[str]:
    """What the container runs: the image's `serve` is the program of its package."""
    found = model["services"][service]
    stated = [*(found.get("entrypoint") or []), *(found.get("command") or [])]
    return stated or [package_of(model, found["image"])]


def package_of(model: dict[str, Any], image: str) -> str:
    """The member of the workspace that an image of ours is built of: the one that says so."""
    (package,) = {
        service["build"]["args"]["PACKAGE"]
        for service in model["services"].values()
        if service["image"] == image and "build" in service
    }
    return str(package)


def mounts_of(model: dict[str, Any], service: str) -> Iterator[tuple[str, Path]]:
    """Where in the container which file or folder of this machine is; named volumes are left out."""
    found = model["services"][service]
    for secret in found.get("secrets", ()):
        target = secret["target"]
        # Compose puts a target without a folder there.
        place = target if target.startswith("/") else f"/run/secrets/{target}"
        yield place, Path(model["secrets"][secret["source"]]["file"])
    for volume in found.get("volumes", ()):
        if volume["type"] == "bind":
            yield volume["target"], Path(volume["source"])


def in_order(model: dict[str, Any]) -> list[str]:
    """The services, each behind those that it waits for. Raises ValueError where they wait for each other."""
    waits = {
        name: set(service.get("depends_on", {})) | _namespace_of(service)
        for name, service in model["services"].items()
    }
    ordered: list[str] = []
    while len(ordered) < len(waits):
        ready = [n for n in sorted(waits) if n not in ordered and waits[n] <= set(ordered)]
        if not ready:
            raise ValueError(f"these wait for each other: {sorted(set(waits) - set(ordered))}")
        ordered += ready
    return ordered


def _namespace_of(service: Service) -> set[str]:
    kind, _, owner = str(service.get("network_mode", "")).partition(":")
    return {owner} if kind == "service" else set()


def host_of(model: dict[str, Any], service: str) -> set[str]:
    """The names under which other containers find a service."""
    found = model["services"][service]
    networks = found.get("networks") or {}
    return {service} | {
        alias for network in networks.values() for alias in (network or {}).get("aliases", ())
    }
