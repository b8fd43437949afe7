"""Every combination of values gives objects that Kubernetes takes, that keep the policies, and with which services start."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml
from chart_policies import complaints
from chart_values import (
    CERTIFICATES,
    COMBINATIONS,
    INGRESS,
    KEDA,
    MONITORING,
    STRIMZI,
    Values,
    from_the_guide,
    laid_over,
)
from charting import (
    CHART,
    NAMESPACE,
    RELEASE,
    Object,
    RefusedError,
    find,
    helm,
    invalid,
    objects_in,
    of_kind,
    render,
    render_text,
    tool,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic_settings import BaseSettings

from connector.settings import Settings as ConnectorSettings
from invoice_sync.settings import InvoiceSyncSettings
from ops_dashboard.settings import Settings as DashboardSettings
from payment_ingest.settings import Settings as PaymentSettings
from pipeline_contracts import topics
from pipeline_local_stack.paths import ROOT
from pipeline_messaging import broker
from pipeline_messaging.worker import AccountWorker
from pipeline_service_defaults.settings import is_secret

pytestmark = pytest.mark.usefixtures("helm_tools")

SETTINGS: dict[str, type[BaseSettings]] = {
    "connector": ConnectorSettings,
    "invoice-sync": InvoiceSyncSettings,
    "payment-ingest": PaymentSettings,
    "ops-dashboard": DashboardSettings,
}
# What clients of PostgreSQL read by themselves, beside DATABASE_URL.
LIBPQ = {"PGSSLMODE", "PGSSLROOTCERT"}
SECRETS = {
    "DATABASE_URL": "postgresql://user:secret@db.example.com:5432/books",
    "uri": "postgresql://user:secret@db.example.com:5432/books",
    "KAFKA_SASL_USERNAME": "user",
    "KAFKA_SASL_PASSWORD": "secret",
    "password": "secret",
    "XERO_CLIENT_ID": "id",
    "XERO_CLIENT_SECRET": "secret",
    "XERO_WEBHOOK_KEYS": "one,two",
}


@pytest.fixture(params=COMBINATIONS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(laid_over(from_the_guide(), *COMBINATIONS[request.param]))


def test_every_object_is_valid(objects: list[Object]) -> None:
    assert list(invalid(objects)) == []


def test_every_object_keeps_the_policies(objects: list[Object]) -> None:
    assert list(complaints(objects)) == []


def test_names_are_not_given_twice(objects: list[Object]) -> None:
    names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def test_names_stay_as_short_as_they_must_however_long_the_releases_is() -> None:
    values = laid_over(from_the_guide(), *COMBINATIONS["everything at once"])
    for each in objects_in(helm("template", "r" * 53, str(CHART), values=values)):
        # CloudNativePG makes longer names from its cluster's.
        assert len(each["metadata"]["name"]) <= (50 if each["kind"] == "Cluster" else 63)
        assert all(len(value) <= 63 for value in each["metadata"].get("labels", {}).values())


def test_each_service_starts_with_the_settings_it_is_given(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for service, settings in SETTINGS.items():
        (container,) = find(objects, "Deployment", service)["spec"]["template"]["spec"][
            "containers"
        ]
        environment = {
            entry["name"]: entry["value"]
            if "value" in entry
            else SECRETS[entry["valueFrom"]["secretKeyRef"]["key"]]
            for entry in container["env"]
        }
        assert len(environment) == len(container["env"]), "set twice"
        known = {name.upper() for name in settings.model_fields} | LIBPQ
        assert environment.keys() <= known, f"{service} has no such setting"
        files = _files(find(objects, "Deployment", service))
        with monkeypatch.context() as patch:
            for name in known:
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                if value.startswith("/"):
                    assert value in files, f"{name} names a file that is not mounted"
                    _a_file(tmp_path, value)
                patch.setenv(name, value.replace("/etc/pipeline-xero", str(tmp_path)))
            settings()


def _files(workload: Object) -> set[str]:
    pod = workload["spec"]["template"]["spec"]
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "files")
    (volume,) = (each for each in pod["volumes"] if each["name"] == "files")
    return {
        f"{mount['mountPath']}/{item['path']}"
        for source in volume["projected"]["sources"]
        for part in source.values()
        for item in part["items"]
    }


def _a_file(folder: Path, path: str) -> None:
    file = folder / Path(path).name
    match file.name:
        case "service-key.pem":
            key = Ed25519PrivateKey.generate()
            file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        case "token-keys":
            file.write_text("v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
        case "kafka-ca.crt" | "postgres-ca.crt" | "kafka-client.crt":
            file.write_bytes(_certificate()[0])
        case "kafka-client.key":
            file.write_bytes(_certificate()[1])
        case _:
            file.touch()


@cache
def _certificate() -> tuple[bytes, bytes]:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM), private


def test_the_values_offer_every_setting_but_secrets_and_those_the_chart_sets() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    objects = render(laid_over(from_the_guide(), COMBINATIONS["tight"][0] | {"services": {}}))
    a_guess_of_the_charts = {"TRUSTED_PROXIES"}
    always_the_charts = {"KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE", "SECURE"}
    for service, settings in SETTINGS.items():
        (container,) = find(objects, "Deployment", service)["spec"]["template"]["spec"][
            "containers"
        ]
        set_by_chart = {entry["name"] for entry in container["env"]} - a_guess_of_the_charts
        set_by_chart |= always_the_charts
        expected = {
            name.upper()
            for name, field in settings.model_fields.items()
            if name.upper() not in set_by_chart
            # Named like secrets for their words; these are numbers.
            and (not is_secret(name, field) or field.annotation is int)
        } - {"TOKEN_KEYS", "SERVICE_KEY_FILE"}
        offered = schema["properties"]["services"]["properties"][service]
        assert set(offered["properties"]["settings"]["propertyNames"]["enum"]) == expected


def test_whoever_is_asked_to_stop_has_time_for_it() -> None:
    """Longer than everything a stop waits for, one after the other; else work in Xero is cut off half way."""
    objects = render(from_the_guide())
    leaving = broker._FINISH_BATCH_SECONDS + broker._LEAVE_SECONDS
    draining = AccountWorker.__init__.__kwdefaults__["drain_seconds"]
    stops = {
        # Requests, then token refreshes under way.
        "connector": lambda requests: 2 * requests,
        "invoice-sync": lambda requests: requests + leaving + draining,
        "payment-ingest": lambda requests: requests + leaving + draining,
        "ops-dashboard": lambda requests: requests + leaving,
    }
    for service, settings in SETTINGS.items():
        pod = find(objects, "Deployment", service)["spec"]["template"]["spec"]
        sleep = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        assert bool(sleep) == (service == "payment-ingest"), "only who receives webhooks"
        needed = sleep.get("seconds", 0) + stops[service](
            settings.model_fields["shutdown_seconds"].default
        )
        assert pod["terminationGracePeriodSeconds"] > needed, service


def test_topics_are_those_of_the_contracts() -> None:
    kept = yaml.safe_load((CHART / "files" / "topics.yaml").read_text("utf-8"))
    assert kept == {
        topic.name: {"partitions": topic.partitions, "config": topic.config} for topic in topics.ALL
    }
    made = of_kind(render(laid_over(from_the_guide(), STRIMZI)), "KafkaTopic")
    assert {each["metadata"]["name"]: each["spec"]["partitions"] for each in made} == {
        topic.name: topic.partitions for topic in topics.ALL
    }


def test_kafka_users_may_what_the_list_that_was_tried_says() -> None:
    objects = render(laid_over(from_the_guide(), STRIMZI))
    tried = yaml.safe_load((ROOT / "deploy" / "kafka" / "acls.yaml").read_text("utf-8"))
    assert {
        each["metadata"]["name"]
        .removeprefix(f"{RELEASE}-pipeline-xero-")
        .removesuffix("-kafka"): each["spec"]["authorization"]["acls"]
        for each in of_kind(objects, "KafkaUser")
    } == tried
    assert set(SETTINGS) <= tried.keys()


def test_clients_show_their_certificates_where_they_are_made() -> None:
    for layers, secret, parts in (
        ((), "pipeline-xero-connector-kafka", {"tls.crt", "tls.key"}),
        ((STRIMZI,), f"{RELEASE}-pipeline-xero-connector-kafka", {"user.crt", "user.key"}),
    ):
        objects = render(laid_over(from_the_guide(), CERTIFICATES, *layers))
        pod = find(objects, "Deployment", "connector")["spec"]["template"]["spec"]
        sources = [
            each["secret"] for each in pod["volumes"][0]["projected"]["sources"] if "secret" in each
        ]
        (shown,) = (each for each in sources if each["name"] == secret)
        assert {item["key"] for item in shown["items"]} == parts
        assert not [each for each in pod["containers"][0]["env"] if "SASL" in each["name"]]
    users = of_kind(objects, "KafkaUser")
    assert {each["spec"]["authentication"]["type"] for each in users} == {"tls"}
    scaled = render(laid_over(from_the_guide(), CERTIFICATES, KEDA))
    asked = find(scaled, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {each["parameter"] for each in asked} == {"cert", "key"}


def test_alerts_are_those_of_the_rules_files() -> None:
    made = of_kind(render(laid_over(from_the_guide(), MONITORING)), "PrometheusRule")
    files = [
        yaml.safe_load(path.read_text("utf-8"))
        for path in sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))
    ]
    assert [each["spec"]["groups"] for each in made] == [
        each["groups"] for each in files if "groups" in each
    ]


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_series_carry_the_names_by_which_the_rules_know_the_services(kind: str) -> None:
    objects = render(laid_over(from_the_guide(), *COMBINATIONS[kind]))
    label = find(objects, kind)["spec"]["jobLabel"]
    labelled = (
        [each["spec"]["template"]["metadata"]["labels"] for each in of_kind(objects, "Deployment")]
        if kind == "PodMonitor"
        else [each["metadata"]["labels"] for each in of_kind(objects, "Service")]
    )
    assert {labels[label] for labels in labelled} == SETTINGS.keys()
    known = re.search(r'up\{job=~"([^"]*)"', (ROOT / "deploy/prometheus/causes.yaml").read_text())
    assert known is not None
    assert set(known[1].split("|")) == SETTINGS.keys()


def test_dashboards_are_those_of_the_folder() -> None:
    objects = render(laid_over(from_the_guide(), MONITORING))
    shipped = {
        name: content
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, content in each["data"].items()
    }
    assert shipped == {
        path.name: path.read_text("utf-8") for path in (ROOT / "deploy" / "grafana").glob("*.json")
    }


def test_replicas_are_left_to_keda() -> None:
    scaled = render(laid_over(from_the_guide(), KEDA))
    assert "replicas" not in find(scaled, "Deployment", "invoice-sync")["spec"]
    assert find(scaled, "Deployment", "connector")["spec"]["replicas"] == 2
    # KEDA looks names up in a namespace of its own.
    strimzi = find(render(laid_over(from_the_guide(), KEDA, STRIMZI)), "ScaledObject")
    asked = {each["metadata"]["bootstrapServers"] for each in strimzi["spec"]["triggers"]}
    assert asked == {f"events-kafka-bootstrap.{NAMESPACE}.svc:9093"}
    cap = find(scaled, "ScaledObject")["spec"]["maxReplicaCount"]
    assert cap <= topics.INVOICES.partitions


def test_migrations_run_before_what_needs_them_and_after_what_they_need() -> None:
    for layers, hooks in (
        ((), "pre-install,pre-upgrade"),
        (COMBINATIONS["CloudNativePG"], "post-install,pre-upgrade"),
        (COMBINATIONS["External Secrets"], "post-install,pre-upgrade"),
    ):
        objects = render(laid_over(from_the_guide(), *layers))
        jobs = of_kind(objects, "Job")
        assert {job["metadata"]["annotations"]["helm.sh/hook"] for job in jobs} == {hooks}
        # What lets them to the database is there before them.
        policy = find(objects, "NetworkPolicy", "migrations")["metadata"]["annotations"]
        assert policy["helm.sh/hook"] == hooks
        weights = {job["metadata"]["annotations"]["helm.sh/hook-weight"] for job in jobs}
        assert {int(policy["helm.sh/hook-weight"]) < int(weight) for weight in weights} == {True}
        assert [
            job["spec"]["template"]["spec"]["containers"][0]["command"][3:] for job in jobs
        ] == [[service.replace("-", "_"), "--phase", "pre"] for service in sorted(SETTINGS)]


def test_the_guide_names_every_key_of_every_secret() -> None:
    page = (ROOT / "docs" / "operate" / "install.md").read_text("utf-8")
    for deployment in of_kind(render(from_the_guide()), "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        secret = f"pipeline-xero-{pod['containers'][0]['name']}"
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{secret}`"))
        keys = {
            entry["valueFrom"]["secretKeyRef"]["key"]
            for entry in pod["containers"][0]["env"]
            if "valueFrom" in entry
        } | {
            item["key"]
            for source in pod["volumes"][0]["projected"]["sources"]
            for item in source.get("secret", {}).get("items", [])
        }
        assert {key for key in keys if f"`{key}`" not in row} == set()


def test_helm_finds_nothing_to_complain_about() -> None:
    helm("lint", "--strict", str(CHART), values=from_the_guide())


def test_a_kustomization_lies_on_top(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "kustomize" / "kustomization.yaml", tmp_path)
    (tmp_path / "rendered.yaml").write_text(render_text(from_the_guide()))
    built = subprocess.run(
        [tool("kubectl"), "kustomize", tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    objects = objects_in(built.stdout)
    assert list(invalid(objects)) == []
    assert list(complaints(objects)) == []
    deployments = of_kind(objects, "Deployment")
    assert len(deployments) == len(SETTINGS)
    for each in deployments:
        assert each["metadata"]["namespace"] == NAMESPACE
        assert each["spec"]["template"]["spec"]["nodeSelector"] == {"workload": "finance"}


def test_the_oldest_kubernetes_is_said() -> None:
    with pytest.raises(RefusedError, match="kubeVersion"):
        helm("template", RELEASE, str(CHART), "--kube-version", "1.28", values=from_the_guide())


@pytest.mark.parametrize(
    ("values", "trusted"),
    [
        ({"httpRoute": {"enabled": False}}, None),
        ({}, "1"),
        (INGRESS, "1"),
        ({"services": {"connector": {"settings": {"TRUSTED_PROXIES": 2}}}}, "2"),
    ],
    ids=["nothing before it", "a gateway", "an ingress", "as said"],
)
def test_the_connector_believes_the_proxies_that_stand_before_it(
    values: Values, trusted: str | None
) -> None:
    objects = render(laid_over(from_the_guide(), values))
    [container] = find(objects, "Deployment", "connector")["spec"]["template"]["spec"]["containers"]
    given = [one["value"] for one in container["env"] if one["name"] == "TRUSTED_PROXIES"]
    assert given == ([] if trusted is None else [trusted])
