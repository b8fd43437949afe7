"""invoice-sync's routes without its background: the application over given parts, and its callers' headers."""

import json
import time
from types import SimpleNamespace

from invoice_sync.app import create_app
from invoice_sync.settings import InvoiceSyncSettings
from pipeline_service_defaults.keys import new_private_key, public_jwk, sign

SERVICES = ("connector", "payment-ingest", "pipeline-backend")


class Callers:
    """People and services that the application knows."""

    def __init__(self) -> None:
        self.keys = {name: new_private_key() for name in ("pipeline", *SERVICES)}

    def issuers(self) -> str:
        return json.dumps(
            {
                name: {
                    "kind": "person" if name == "pipeline" else "service",
                    "keys": [public_jwk(key)],
                }
                for name, key in self.keys.items()
            }
        )

    def person(self, account_id, role="viewer"):
        who = {"iss": "pipeline", "sub": "u", "aud": "pipeline-xero", "name": "n"}
        return self._headers("pipeline", who | {"account_id": account_id, "role": role})

    def service(self, name):
        return self._headers(name, {"iss": name, "sub": name, "aud": "invoice-sync"})

    def _headers(self, issuer, claims):
        now = int(time.time())
        token = sign(self.keys[issuer], claims | {"iat": now, "exp": now + 300})
        return {"Authorization": f"Bearer {token}"}


def app_over(deps, dsn, folder, callers):
    """The application, not started: its routes need `deps` alone."""
    (folder / "own.pem").write_text(new_private_key())
    (folder / "issuers.json").write_text(callers.issuers())
    app = create_app(
        InvoiceSyncSettings(
            database_url=dsn,
            kafka_bootstrap_servers="127.0.0.1:1",
            http_port=0,
            auth_issuers_file=folder / "issuers.json",
            service_key_file=folder / "own.pem",
            connector_url="http://localhost:1",
        )
    )
    app.state.deps = deps
    app.state.worker = SimpleNamespace(wake=lambda: None)
    return app
