"""Runs a command beside the composed system as beside `make up`: with addresses and fresh tokens in `stack.json`.

It shares the simulator's network, where `localhost` leads to what people open, and the other services have their names.
"""

import json
import os
import sys
from pathlib import Path

from pipeline_local_stack.identities import ACCOUNT, Identities, read_identities
from pipeline_local_stack.paths import STACK_FILE
from pipeline_local_stack.portal import session_of

_KEYS = Path("/run/secrets")
_URLS = {
    "portal": "http://localhost:8000",
    "connector": "http://localhost:8001",
    "invoice-sync": "http://invoice-sync:8002",
    "payment-ingest": "http://payment-ingest:8003",
    "ops-dashboard": "http://ops-dashboard:8004",
    "simulator": "http://localhost:5100",
}


def described(identities: Identities) -> dict[str, object]:
    """What the programs of the local stack want to know of a running system."""
    return {
        "kafka_bootstrap_servers": "kafka:9092",
        "kafka_supports_idempotence": True,
        "urls": _URLS,
        "account_id": ACCOUNT,
        "admin_session_token": session_of("admin", identities),
        "service_tokens": {
            name: identities.service_token("pipeline-backend", name)
            for name in ("connector", "invoice-sync", "payment-ingest")
        },
    }


def main() -> None:
    """Become the command that was asked for."""
    STACK_FILE.write_text(json.dumps(described(read_identities(_KEYS))))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - whoever may run it may run anything in its container


if __name__ == "__main__":
    main()
