"""The combinations of values under which the chart is tried."""

import copy
from typing import Any

import yaml

from pipeline_local_stack.paths import ROOT

Values = dict[str, Any]


def from_the_guide() -> Values:
    """The ten lines of docs/operate/install.md."""
    page = (ROOT / "docs" / "operate" / "install.md").read_text("utf-8")
    text = page.split("```yaml\n# values.yaml\n")[1].split("```")[0]
    assert len(text.splitlines()) <= 10, "the guide promises ten lines"
    loaded: Values = yaml.safe_load(text)
    return loaded


def laid_over(base: Values, *layers: Values) -> Values:
    """The values with others laid over them, as helm does it."""
    merged = copy.deepcopy(base)
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            both = isinstance(below, dict) and isinstance(value, dict)
            merged[key] = laid_over(below, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged


STRIMZI: Values = {
    "kafka": {"bootstrapServers": "", "strimzi": {"enabled": True, "cluster": "events"}}
}
CNPG: Values = {"postgres": {"cnpg": {"enabled": True, "storageClass": "fast"}}}
KEDA: Values = {"autoscaling": {"enabled": True}}
INGRESS: Values = {
    "httpRoute": {"enabled": False},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tlsSecretName": "xero-tls",
        "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
    },
}
EXTERNAL_SECRETS: Values = {"externalSecrets": {"enabled": True, "storeName": "vault"}}
MONITORING: Values = {
    "monitoring": {
        "monitor": "PodMonitor",
        "rules": True,
        "dashboards": True,
        "labels": {"release": "prometheus"},
    }
}
OWN_AUTHORITIES: Values = {
    "kafka": {"caSecret": {"name": "kafka-ca", "key": "ca.crt"}},
    "postgres": {"caSecret": {"name": "postgres-ca", "key": "ca.crt"}, "ownerUrlKey": "OWNER_URL"},
}
OPEN_KAFKA: Values = {"kafka": {"securityProtocol": "PLAINTEXT"}}
CERTIFICATES: Values = {"kafka": {"securityProtocol": "SSL", "clientCertificates": True}}
TIGHT: Values = {
    "tracing": {"otlpEndpoint": "http://collector.monitoring:4318"},
    "image": {"tag": "1.4.1", "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]},
    "staffAccountId": "acc-staff",
    "migrations": {"phase": "all"},
    "kafka": {"egress": {"ports": [9093, 9094], "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}},
    "networkPolicy": {"publicFrom": [], "monitoringFrom": []},
    "services": {
        "connector": {
            "replicas": 3,
            "tag": "1.4.2",
            "settings": {"XERO_CONNECTION_LIMIT": 1000, "FRAME_ANCESTORS": "'self'"},
            "allowFrom": [
                {"podSelector": {"matchLabels": {"app": "pipeline"}}, "namespaceSelector": {}}
            ],
        },
        "payment-ingest": {"settings": {"SWEEP_INTERVAL_SECONDS": 3600}},
    },
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-extra"},
            "data": {"host": '{{ include "pipeline-xero.host" . }}'},
        }
    ],
}

COMBINATIONS: dict[str, tuple[Values, ...]] = {
    "the ten lines of the guide": (),
    "Strimzi": (STRIMZI,),
    "CloudNativePG": (CNPG,),
    "KEDA": (KEDA,),
    "KEDA with Strimzi": (KEDA, STRIMZI),
    "KEDA and a Kafka in the open": (KEDA, OPEN_KAFKA),
    "Ingress": (INGRESS,),
    "External Secrets": (EXTERNAL_SECRETS,),
    "PodMonitor": (MONITORING,),
    "ServiceMonitor": (MONITORING, {"monitoring": {"monitor": "ServiceMonitor"}}),
    "authorities of its own": (OWN_AUTHORITIES,),
    "TLS without users": ({"kafka": {"securityProtocol": "SSL"}}, KEDA, OWN_AUTHORITIES),
    "clients by certificate": (CERTIFICATES, KEDA),
    "Strimzi with certificates": (CERTIFICATES, STRIMZI, KEDA),
    "tight": (TIGHT,),
    "everything at once": (TIGHT, STRIMZI, CNPG, KEDA, INGRESS, EXTERNAL_SECRETS, MONITORING),
}
