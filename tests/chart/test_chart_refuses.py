"""Mistakes planted on purpose: in values, and in the rendered objects. Each is caught, by name."""

from collections.abc import Callable
from typing import Any

import pytest
from chart_policies import complaints
from chart_values import (
    CNPG,
    EXTERNAL_SECRETS,
    INGRESS,
    KEDA,
    MONITORING,
    STRIMZI,
    Values,
    from_the_guide,
    laid_over,
)
from charting import CHART, Object, RefusedError, find, helm, invalid, render

pytestmark = pytest.mark.usefixtures("helm_tools")

CA = {"caSecret": {"name": "ca", "key": "ca.crt"}}
VALUES: dict[str, tuple[Values, str]] = {
    "an address that is not https": ({"publicUrl": "http://xero.example.com"}, "publicUrl"),
    "an address with a path": ({"publicUrl": "https://example.com/xero"}, "publicUrl"),
    "no address of people": ({"publicUrl": ""}, "publicUrl"),
    "no address of Pipeline": ({"pipelineWebUrl": ""}, "pipelineWebUrl"),
    "no Kafka": ({"kafka": {"bootstrapServers": ""}}, "bootstrapServers"),
    "a broker without a port": ({"kafka": {"bootstrapServers": "kafka"}}, "bootstrapServers"),
    "two Kafkas": (
        {"kafka": STRIMZI["kafka"] | {"bootstrapServers": "k:9093"}},
        "bootstrapServers",
    ),
    "Strimzi without its cluster": (
        {"kafka": {"bootstrapServers": "", "strimzi": {"enabled": True}}},
        "cluster",
    ),
    "Strimzi in the open": (
        laid_over(STRIMZI, {"kafka": {"securityProtocol": "PLAINTEXT"}}),
        "securityProtocol",
    ),
    "certificates that nothing would show": (
        {"kafka": {"securityProtocol": "SASL_PLAINTEXT", "clientCertificates": True}},
        "clientCertificates",
    ),
    "Strimzi with certificates and passwords": (
        laid_over(STRIMZI, {"kafka": {"clientCertificates": True}}),
        "securityProtocol",
    ),
    "Strimzi with neither": (
        laid_over(STRIMZI, {"kafka": {"securityProtocol": "SSL"}}),
        "securityProtocol",
    ),
    "an authority for nothing": ({"kafka": CA | {"securityProtocol": "PLAINTEXT"}}, "caSecret"),
    "half a reference to a Secret": ({"postgres": {"caSecret": {"name": "ca"}}}, "caSecret"),
    "a database of yours and of ours": (laid_over(CNPG, {"postgres": CA}), "caSecret"),
    "an owner's address where there is none": (
        laid_over(CNPG, {"postgres": {"ownerUrlKey": "OWNER_URL"}}),
        "ownerUrlKey",
    ),
    "replicas that KEDA owns": (
        laid_over(KEDA, {"services": {"invoice-sync": {"replicas": 3}}}),
        "replicas",
    ),
    "more replicas than partitions": ({"autoscaling": {"maxReplicas": 7}}, "maxReplicas"),
    "a least above the most": (
        laid_over(KEDA, {"autoscaling": {"minReplicas": 5, "maxReplicas": 3}}),
        "minReplicas",
    ),
    "a broker's port that no policy opens": (
        {"kafka": {"bootstrapServers": "a:9093,b:9092"}},
        "kafka.egress.ports: 9093; expected 9092",
    ),
    "a collector's port that no policy opens": (
        {"tracing": {"otlpEndpoint": "https://otlp.example.com/v1"}},
        "tracing.egress.ports: 4318; expected 443",
    ),
    "more in step than there are": (
        laid_over(STRIMZI, {"kafka": {"strimzi": {"minInsyncReplicas": 4}}}),
        "minInsyncReplicas",
    ),
    "a route through no gateway": (
        {"httpRoute": {"enabled": True, "parentRefs": []}},
        "parentRefs",
    ),
    "a route and an Ingress": (INGRESS | {"httpRoute": {"enabled": True}}, "not"),
    "an Ingress without TLS": (
        laid_over(INGRESS, {"ingress": {"tlsSecretName": ""}}),
        "tlsSecretName",
    ),
    "no store of secrets": (
        laid_over(EXTERNAL_SECRETS, {"externalSecrets": {"storeName": ""}}),
        "storeName",
    ),
    "a name that is none": ({"replicaz": 3}, "replicaz"),
    "a name that is none, further down": ({"services": {"connector": {"replica": 3}}}, "replica"),
    "a service that is none": ({"services": {"conector": {}}}, "conector"),
    "a setting that is none": (
        {"services": {"payment-ingest": {"settings": {"SWEEP_INTERVAL": 60}}}},
        "SWEEP_INTERVAL",
    ),
    "a setting of another service": (
        {"services": {"connector": {"settings": {"SWEEP_INTERVAL_SECONDS": 60}}}},
        "SWEEP_INTERVAL_SECONDS",
    ),
    "a secret in the values": (
        {"services": {"connector": {"settings": {"XERO_CLIENT_SECRET": "s"}}}},
        "XERO_CLIENT_SECRET",
    ),
    "a setting that the chart sets": (
        {"services": {"connector": {"settings": {"HTTP_PORT": 9000}}}},
        "HTTP_PORT",
    ),
    "a stop shorter than the work": (
        {"services": {"invoice-sync": {"terminationGracePeriodSeconds": 30}}},
        "terminationGracePeriodSeconds",
    ),
    "a version that YAML reads as a number": ({"image": {"tag": 1.4}}, "tag"),
    "a collector without an address": (
        {"tracing": {"otlpEndpoint": "collector:4318"}},
        "otlpEndpoint",
    ),
    "no resources": (
        {"services": {"connector": {"resources": {"limits": {"memory": "lots"}}}}},
        "memory",
    ),
    "a phase that is none": ({"migrations": {"phase": "post"}}, "phase"),
}


@pytest.mark.parametrize("mistake", VALUES)
def test_values_are_refused(mistake: str) -> None:
    wrong, named = VALUES[mistake]
    with pytest.raises(RefusedError, match=named):
        helm("template", "books", str(CHART), values=laid_over(from_the_guide(), wrong))


Edit = Callable[[list[Object]], Any]


def pod(objects: list[Object], service: str = "connector") -> dict[str, Any]:
    found: dict[str, Any] = find(objects, "Deployment", service)["spec"]["template"]["spec"]
    return found


def container(objects: list[Object]) -> dict[str, Any]:
    found: dict[str, Any] = pod(objects)["containers"][0]
    return found


def policy(objects: list[Object], end: str) -> dict[str, Any]:
    found: dict[str, Any] = find(objects, "NetworkPolicy", end)["spec"]
    return found


def without(objects: list[Object], kind: str, end: str) -> None:
    objects.remove(find(objects, kind, end))


def first_item(objects: list[Object], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in objects if each["kind"] == kind)["spec"]
    return found


OBJECTS: dict[str, tuple[Edit, str]] = {
    "a typo in a security context": (
        lambda it: container(it)["securityContext"].update(allowPrivilegeEscalatio=False),
        "allowPrivilegeEscalatio",
    ),
    "privileges to be gained": (
        lambda it: container(it)["securityContext"].pop("allowPrivilegeEscalation"),
        "may gain privileges",
    ),
    "root": (lambda it: pod(it)["securityContext"].pop("runAsNonRoot"), "may run as root"),
    "a writable root": (
        lambda it: container(it)["securityContext"].update(readOnlyRootFilesystem=False),
        "writable root",
    ),
    "capabilities kept": (
        lambda it: container(it)["securityContext"].update(capabilities={"drop": ["NET_RAW"]}),
        "keeps capabilities",
    ),
    "a token of the cluster": (
        lambda it: pod(it).pop("automountServiceAccountToken"),
        "service account's token",
    ),
    "a folder of the node": (
        lambda it: pod(it)["volumes"].append({"name": "n", "hostPath": {"path": "/"}}),
        "mounts",
    ),
    "a secret in the open": (
        lambda it: container(it)["env"].append({"name": "XERO_CLIENT_SECRET", "value": "s"}),
        "carries XERO_CLIENT_SECRET in the open",
    ),
    "a Secret from values": (
        lambda it: it.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}),
        "must not come from values",
    ),
    "no limit of memory": (
        lambda it: container(it)["resources"].pop("limits"),
        "no limit of memory",
    ),
    "any version": (lambda it: container(it).update(image="connector"), "no fixed version"),
    "no probe": (lambda it: container(it).pop("readinessProbe"), "readinessProbe"),
    "a liveness that asks the database": (
        lambda it: container(it)["livenessProbe"]["httpGet"].update(path="/health/ready"),
        "livenessProbe",
    ),
    "a number as text": (
        lambda it: find(it, "Deployment", "connector")["spec"].update(replicas="two"),
        "two",
    ),
    "no disruption budget": (
        lambda it: without(it, "PodDisruptionBudget", "connector"),
        "disruption budget",
    ),
    "no network policy": (
        lambda it: without(it, "NetworkPolicy", "-connector"),
        "connector has no network policy",
    ),
    "nothing denied": (
        lambda it: without(it, "NetworkPolicy", "default-deny"),
        "nothing is denied by default",
    ),
    "callers from everywhere": (
        lambda it: policy(it, "-connector")["ingress"].append({"ports": [{"port": 8080}]}),
        "from everywhere",
    ),
    "a third caller of the gateway": (
        lambda it: policy(it, "-connector")["ingress"][0]["from"][0]["podSelector"][
            "matchLabels"
        ].update({"app.kubernetes.io/name": "ops-dashboard"}),
        "connector is called by",
    ),
    "another way out to Xero": (
        lambda it: policy(it, "-invoice-sync")["egress"].append({"ports": [{"port": 443}]}),
        "only the connector calls Xero",
    ),
    "the gateway exposed": (
        lambda it: first_item(it, "HTTPRoute")["rules"][0]["matches"].append(
            {"path": {"type": "PathPrefix", "value": "/v1"}}
        ),
        "exposed to the world: /v1",
    ),
    "everything exposed": (
        lambda it: first_item(it, "HTTPRoute")["rules"][0].pop("matches"),
        "exposed to the world: /",
    ),
    "a wrong field of a topic": (
        lambda it: first_item(it, "KafkaTopic").update(partitionz=6),
        "partitionz",
    ),
    "an old form of a right": (
        lambda it: first_item(it, "KafkaUser")["authorization"]["acls"][0].update(operation="Read"),
        "operation",
    ),
    "an old version of Strimzi's objects": (
        lambda it: find(it, "KafkaTopic", ".invoices.v1").update(
            apiVersion="kafka.strimzi.io/v1beta2"
        ),
        "nobody knows kafka.strimzi.io/v1beta2 KafkaTopic",
    ),
    "a wrong field of a scaler": (
        lambda it: first_item(it, "ScaledObject").update(maxReplicas=4),
        "maxReplicas",
    ),
    "a number where a scaler wants text": (
        lambda it: first_item(it, "ScaledObject")["triggers"][0]["metadata"].update(lagThreshold=5),
        "is not of type 'string'",
    ),
    "an alert without an expression": (
        lambda it: first_item(it, "PrometheusRule")["groups"][0]["rules"][0].pop("expr"),
        "expr",
    ),
}


@pytest.mark.parametrize("mistake", OBJECTS)
def test_objects_are_caught(mistake: str) -> None:
    edit, named = OBJECTS[mistake]
    objects = render(laid_over(from_the_guide(), STRIMZI, KEDA, MONITORING))
    edit(objects)
    caught = [*invalid(objects), *complaints(objects)]
    assert [each for each in caught if named in each], caught
