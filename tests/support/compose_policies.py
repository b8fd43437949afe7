"""What must be true of `deploy/compose.yaml` beyond what Compose itself demands."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import yaml
from composing import OURS, Service, in_order, mounts_of, package_of

from pipeline_local_stack.composed.secret_files import DATABASES
from pipeline_local_stack.paths import ROOT

# Who may hold what; a secret that nobody holds has no business there either.
HOLDERS = {
    "token-keys": {"connector"},
    "postgres-password": {"postgres"},
    "grafana-password": {"grafana"},
    "connector.pem": {"connector"},
    "invoice-sync.pem": {"invoice-sync"},
    "payment-ingest.pem": {"payment-ingest"},
    "pipeline.pem": {"portal", "tools"},
    "pipeline-backend.pem": {"tools"},
    # Public keys.
    "issuers.json": set(DATABASES),
}
_EXACT = re.compile(r".+:v?\d+\.\d+(\.\d+)?(-alpine)?$|.+@sha256:[0-9a-f]{64}$")
_UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1}
_CHART = ROOT / "deploy" / "chart" / "values.yaml"


def complaints(model: dict[str, Any]) -> Iterator[str]:
    """Every breach in words."""
    for name, service in model["services"].items():
        yield from (f"{name}: {each}" for each in _of_service(model, name, service))
    for secret, holders in _holders(model).items():
        if holders != HOLDERS.get(secret):
            yield f"{secret} is held by {', '.join(sorted(holders))}"
    yield from _order(model)


def _of_service(model: dict[str, Any], name: str, service: Service) -> Iterator[str]:
    yield from _hardening(name, service)
    yield from _image(model, service)
    for port in service.get("ports", ()):
        if port.get("host_ip") != "127.0.0.1":
            yield f"port {port['target']} is open to others"
        if port["published"] != str(port["target"]):
            yield f"port {port['target']} has another number outside, which its own address does not say"
    for place, file in mounts_of(model, name):
        # The container's user is nobody of this machine's.
        if not file.exists() or not file.stat().st_mode & 0o004:
            yield f"{place}: {file} is missing, or cannot be read by others"
    one_off = service.get("restart") == "no"
    if not one_off and "healthcheck" not in service:
        yield "runs without a health check"
    if name in DATABASES and _seconds(service["stop_grace_period"]) != _chart_seconds(name):
        yield "is given another time to stop than on Kubernetes"


def _hardening(name: str, service: Service) -> Iterator[str]:
    if not service.get("read_only") and name != "kafka":
        yield "its root file system can be written to"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "may gain privileges"
    if service.get("privileged") or service.get("network_mode") == "host" or service.get("pid"):
        yield "shares this machine"


def _image(model: dict[str, Any], service: Service) -> Iterator[str]:
    image = service["image"]
    if not image.startswith(OURS):
        if not _EXACT.fullmatch(image):
            yield f"{image} is no exact version"
        return
    if service.get("pull_policy") != "never":
        yield f"{image} may be fetched from somebody's registry"
    try:
        package = package_of(model, image)
    except ValueError:
        yield f"{image} is built by none, or by several"
        return
    if package != f"pipeline-{image.removeprefix(OURS).partition(':')[0]}":
        yield f"{image} is built of {package}"


def _holders(model: dict[str, Any]) -> dict[str, set[str]]:
    held: dict[str, set[str]] = {secret: set() for secret in model["secrets"]}
    for name, service in model["services"].items():
        for secret in service.get("secrets", ()):
            held[secret["source"]].add(name)
    return held


def _order(model: dict[str, Any]) -> Iterator[str]:
    try:
        in_order(model)
    except ValueError as error:
        yield str(error)
    done, healthy = "service_completed_successfully", "service_healthy"
    wanted = [("databases", "postgres", healthy), ("topics", "kafka", healthy)]
    for service in DATABASES:
        wanted += [(f"migrate-{service}", "databases", done), (service, f"migrate-{service}", done)]
        wanted += [(service, "topics", done)]
    for service, other, condition in wanted:
        waits = model["services"][service].get("depends_on", {}).get(other, {})
        if waits.get("condition") != condition:
            yield f"{service} does not wait for {other}"


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+)([hms])", text)
    return timedelta(seconds=sum(int(n) * _UNIT_SECONDS[unit] for n, unit in parts)).total_seconds()


def _chart_seconds(service: str) -> float:
    values = yaml.safe_load(_CHART.read_text("utf-8"))
    return float(values["services"][service]["terminationGracePeriodSeconds"])
