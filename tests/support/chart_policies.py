"""What must hold of every rendered combination, whatever the values: each complaint names the object."""

from collections.abc import Iterator
from typing import Any

from charting import Object, name_of, of_kind

from pipeline_service_defaults.settings import is_secret

EXPOSED = {"/accounts", "/oauth/xero", "/static", "/webhooks/xero"}
CALLERS = {
    "connector": {"invoice-sync", "payment-ingest"},
    "invoice-sync": {"connector", "ops-dashboard"},
    "payment-ingest": {"ops-dashboard"},
    "ops-dashboard": set(),
}


def complaints(objects: list[Object]) -> Iterator[str]:
    """Everything that is wrong with these objects."""
    for workload in of_kind(objects, "Deployment", "Job"):
        for complaint in (*_pod(workload), *_policies_of(objects, workload)):
            yield f"{name_of(workload)}: {complaint}"
    for deployment in of_kind(objects, "Deployment"):
        for complaint in _rollout(objects, deployment):
            yield f"{name_of(deployment)}: {complaint}"
    for found in of_kind(objects, "Secret"):
        yield f"{name_of(found)}: a Secret must not come from values"
    yield from _edges(objects)
    if stray := set(_public_paths(objects)) - EXPOSED:
        yield f"exposed to the world: {', '.join(sorted(stray))}"


def labels_of(workload: Object) -> dict[str, str]:
    """The labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def _pod(workload: Object) -> Iterator[str]:
    pod = workload["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a service account's token"
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}:
        yield "shares the node's namespaces"
    for volume in pod.get("volumes", []):
        if not volume.keys() <= {"name", "projected", "emptyDir"}:
            yield f"mounts {volume}"
    for container in pod["containers"]:
        yield from _container(container)


def _container(container: dict[str, Any]) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "has a writable root file system"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
        yield "requests no cpu or memory"
    if "memory" not in resources.get("limits", {}):
        yield "has no limit of memory"
    if container["image"].endswith(":latest") or ":" not in container["image"].rpartition("/")[2]:
        yield "runs an image of no fixed version"
    for entry in container.get("env", []):
        # The name of a file is none.
        if (
            is_secret(entry["name"], None)
            and "value" in entry
            and not entry["name"].endswith("_FILE")
        ):
            yield f"carries {entry['name']} in the open"


def _policies_of(objects: list[Object], workload: Object) -> Iterator[str]:
    selecting = [
        policy["spec"]
        for policy in of_kind(objects, "NetworkPolicy")
        if _selects(policy["spec"]["podSelector"], labels_of(workload))
    ]
    denied = [each for each in selecting if not each.keys() & {"ingress", "egress"}]
    if not any(set(each["policyTypes"]) == {"Ingress", "Egress"} for each in denied):
        yield "nothing is denied by default"
    if len(selecting) == len(denied):
        yield "no network policy lets it do its work"


def _rollout(objects: list[Object], deployment: Object) -> Iterator[str]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe, path in (
        ("startupProbe", "/health/live"),
        ("livenessProbe", "/health/live"),
        ("readinessProbe", "/health/ready"),
    ):
        if container.get(probe, {}).get("httpGet", {}).get("path") != path:
            yield f"its {probe} does not ask {path}"
    if deployment["spec"]["strategy"].get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
        yield "is away while it is rolled out"
    if not deployment["spec"]["template"]["spec"].get("topologySpreadConstraints"):
        yield "may have all replicas on one node"
    budgets = [
        each["spec"]
        for each in of_kind(objects, "PodDisruptionBudget")
        if _selects(each["spec"]["selector"], labels_of(deployment))
    ]
    if [each.get("unhealthyPodEvictionPolicy") for each in budgets] != ["AlwaysAllow"]:
        yield "has no disruption budget that lets the unhealthy go"


def _edges(objects: list[Object]) -> Iterator[str]:
    policies = {
        policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/name"): policy
        for policy in of_kind(objects, "NetworkPolicy")
    }
    for service, callers in CALLERS.items():
        if service not in policies:
            yield f"{service} has no network policy"
            continue
        spec = policies[service]["spec"]
        rules = spec.get("ingress", [])
        if any(not rule.get("from") for rule in rules):
            yield f"{service} takes connections from everywhere"
        found = {
            peer["podSelector"]["matchLabels"].get("app.kubernetes.io/name")
            for rule in rules
            for peer in rule.get("from", [])
            if "namespaceSelector" not in peer and "podSelector" in peer
        }
        if found != callers:
            yield f"{service} is called by {sorted(map(str, found))}, not {sorted(callers)}"
        if any(not rule.get("ports") for rule in spec["egress"]):
            yield f"{service} may go to any port"
        ports = {port["port"] for rule in spec["egress"] for port in rule.get("ports", [])}
        if (443 in ports) != (service == "connector"):
            yield f"{service} and the world's port 443: only the connector calls Xero"


def _public_paths(objects: list[Object]) -> Iterator[str]:
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            # A rule without a match takes everything.
            yield from [each["path"]["value"] for each in rule.get("matches", [])] or ["/"]
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            yield from (each["path"] for each in rule["http"]["paths"])
