"""`.github/workflows/kind.yaml`, which no cluster has seen yet: what of it can be held against the chart without one."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart_policies import complaints
from charting import CHART, Object, helm, invalid, objects_in, of_kind

from connector.domain.sealing import parse_keys
from pipeline_local_stack.paths import ROOT
from pipeline_service_defaults.auth import Authenticator, Service
from pipeline_service_defaults.keys import TokenMinter

pytestmark = pytest.mark.usefixtures("helm_tools")

JOB = yaml.safe_load((ROOT / ".github" / "workflows" / "kind.yaml").read_text())["jobs"]["install"]
STEPS = {step["name"]: step["run"] for step in JOB["steps"] if "run" in step}
BASH = "/bin/bash"
NAMESPACE = JOB["env"]["NAMESPACE"]
RELEASE = "pipeline-xero"


def here(step: str, word: str) -> str:
    """The text that a step's script gives a command on the spot."""
    found = re.search(rf"<<'{word}'\n(.*?)\n{word}\n", STEPS[step] + "\n", re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    values = yaml.safe_load(here("Install the chart", "VALUES"))
    return objects_in(
        helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step that makes the Secrets makes, and gives to a kubectl that does nothing."""
    folder = tmp_path_factory.mktemp("kind")
    (folder / "kubectl").write_text('#!/bin/sh\necho "$@" >> calls\n')
    (folder / "kubectl").chmod(0o755)
    subprocess.run(
        [BASH, "-euo", "pipefail", "-c", STEPS["Make the Secrets"]],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "NAMESPACE": NAMESPACE},
        check=True,
    )
    return folder


def test_every_script_is_one() -> None:
    for name, script in STEPS.items():
        plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
        read = subprocess.run(
            [BASH, "-n"], input=plain, capture_output=True, text=True, check=False
        )
        assert (read.returncode, read.stderr) == (0, ""), name


def test_what_it_installs_is_valid_and_keeps_the_policies(objects: list[Object]) -> None:
    assert list(invalid(objects)) == []
    assert list(complaints(objects)) == []


def test_it_builds_and_loads_the_images_that_the_chart_starts(objects: list[Object]) -> None:
    (command,) = STEPS["Build the images"].splitlines()
    told = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    built = set(re.findall(r"--tag \"(\S+?)\"", told.stdout))
    (variable,) = {name for name in built if "$service" in name}
    services = [folder.name for folder in (ROOT / "services").iterdir() if folder.is_dir()]
    images = {variable.replace("$service", name) for name in services}
    started = {
        container["image"]
        for each in of_kind(objects, "Deployment", "Job")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert started == images
    loaded = re.search(
        r'kind load docker-image "(.*?)\$\(basename "\$service"\)(.*?)"', STEPS["Make a cluster"]
    )
    assert loaded is not None
    assert {f"{loaded[1]}{name}{loaded[2]}" for name in services} == images


def test_every_secret_that_is_read_is_made_by_one(objects: list[Object], made: Path) -> None:
    calls = (made / "calls").read_text()
    by_step = {
        f"pipeline-xero-{folder.name}": {file.name for file in folder.iterdir()}
        for folder in (made / "secrets").iterdir()
        if f"secret generic pipeline-xero-{folder.name} --namespace {NAMESPACE} --from-file=secrets/{folder.name}"
        in calls
    }
    cluster = yaml.safe_load_all(here("Install the operators", "KAFKA"))
    (kafka,) = (each["metadata"]["name"] for each in cluster if each["kind"] == "Kafka")
    by_operators = {f"{kafka}-cluster-ca-cert": {"ca.crt"}}
    for each in of_kind(objects, "KafkaUser"):
        by_operators[each["metadata"]["name"]] = {"password", "sasl.jaas.config"}
    for each in of_kind(objects, "Cluster"):
        by_operators[f"{each['metadata']['name']}-app"] = {"uri"}
        by_operators[f"{each['metadata']['name']}-ca"] = {"ca.crt"}
    assert not by_step.keys() & by_operators.keys(), "two make the same Secret"
    there = by_step | by_operators
    asked = {*references(objects)}
    assert {(name, key) for name, key in asked if key not in there.get(name, ())} == set()
    assert {name for name, _ in asked} >= by_step.keys()
    assert (
        f"configmap pipeline-xero-auth-issuers --namespace {NAMESPACE} --from-file=issuers.json"
        in calls
    )


def references(found: object) -> Iterator[tuple[str, str]]:
    """Each Secret and key that is named anywhere."""
    if isinstance(found, list):
        for each in found:
            yield from references(each)
    if not isinstance(found, dict):
        return
    for name, value in found.items():
        match name, value:
            case "secretKeyRef", dict():
                yield value["name"], value["key"]
            case "secret", {"name": secret, "items": items}:
                yield from ((secret, item["key"]) for item in items)
            case "secretTargetRef", list():
                yield from ((each["name"], each["key"]) for each in value)
            case _:
                yield from references(value)


def test_the_secrets_are_what_the_services_take(made: Path) -> None:
    secrets = made / "secrets"
    asked = Authenticator.from_file(made / "issuers.json", service_name="connector")
    for service in ("connector", "invoice-sync", "payment-ingest"):
        minter = TokenMinter(service, (secrets / service / "service-key.pem").read_bytes())
        assert asked.verify(minter.token("connector")) == Service(service)
    parse_keys((secrets / "connector" / "token-keys").read_text())
    for service, name in (
        ("connector", "XERO_CLIENT_ID"),
        ("connector", "XERO_CLIENT_SECRET"),
        ("payment-ingest", "XERO_WEBHOOK_KEYS"),
    ):
        value = (secrets / service / name).read_text()
        assert value == value.strip() != ""


def test_what_it_asks_and_waits_for_is_there(objects: list[Object]) -> None:
    script = STEPS["Try it"]
    forwarded = set(re.findall(r"forward ([a-z-]+) \d+", script))
    services = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]}
        for each in of_kind(objects, "Service")
    }
    assert {f"pipeline-xero-{name}" for name in forwarded} == services.keys()
    assert all(8080 in ports for ports in services.values())
    (scaled,) = re.findall(r"scaledobject/(\S+)", script)
    assert [each["metadata"]["name"] for each in of_kind(objects, "ScaledObject")] == [scaled]
    key, value = re.search(r"--selector (\S+)=(\S+)", STEPS["Install the chart"]).groups()
    deployments = of_kind(objects, "Deployment")
    assert len(deployments) == len(services)
    assert all(each["metadata"]["labels"][key] == value for each in deployments)
    assert re.search(rf"helm install {RELEASE} deploy/chart", STEPS["Install the chart"])


def test_its_kafka_is_the_one_the_chart_enters(objects: list[Object]) -> None:
    (cluster,) = (
        each
        for each in yaml.safe_load_all(here("Install the operators", "KAFKA"))
        if each["kind"] == "Kafka"
    )
    (listener,) = cluster["spec"]["kafka"]["listeners"]
    assert (listener["port"], listener["tls"]) == (9093, True)
    users = {each["spec"]["authentication"]["type"] for each in of_kind(objects, "KafkaUser")}
    assert users == {listener["authentication"]["type"]}
    assert cluster["spec"]["kafka"]["authorization"] == {"type": "simple"}
    labels = {
        each["metadata"]["labels"]["strimzi.io/cluster"] for each in of_kind(objects, "KafkaTopic")
    }
    assert labels == {cluster["metadata"]["name"]}
    assert set(cluster["spec"]["entityOperator"]) == {"topicOperator", "userOperator"}
