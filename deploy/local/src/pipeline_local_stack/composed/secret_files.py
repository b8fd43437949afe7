"""Makes the secrets of `deploy/compose.yaml`, once: `make compose-secrets`.

Random ones, for this machine alone. What is there is never changed: the databases and the sealed tokens know it.
"""

import argparse
import secrets
import shutil
import sys
from pathlib import Path

from pipeline_local_stack.identities import make_identities
from pipeline_local_stack.paths import ROOT
from pipeline_local_stack.token_keys import new_key

FOLDER = ROOT / ".local" / "compose"
DATABASES = {
    "connector": "connector",
    "invoice-sync": "invoice_sync",
    "payment-ingest": "payment_ingest",
    "ops-dashboard": "ops_dashboard",
}
"""Of each service: the name of its database and its role."""
_SERVER = "postgres:5432"


def main() -> int:
    """Make the folder and say where it is; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="make compose-secrets", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    if make_secrets(folder):
        print(f"Made the secrets of deploy/compose.yaml in {folder}.")
    else:
        print(f"The secrets are there already, in {folder}; nothing was changed.")
    return 0


def make_secrets(folder: Path) -> bool:
    """Make the folder whole, or leave alone the one that is there; whether it was made.

    Killed half way or run twice at once, there is one whole folder or none.
    """
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.unfinished")
    # Only this folder keeps others of this machine out: each file is mounted alone, for a user of the container whom this
    # machine does not know, and Compose gives files from outside neither another owner nor another mode.
    unfinished.mkdir(mode=0o700)
    try:
        make_identities(unfinished)
        for name, text in _texts().items():
            (unfinished / name).write_text(text)
        for file in unfinished.iterdir():
            file.chmod(0o444)
        unfinished.rename(folder)
    except OSError:
        # Somebody else was faster.
        if folder.exists():
            return False
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def _texts() -> dict[str, str]:
    """Each file's content: what Compose mounts, and variables for a service."""
    superuser, grafana, client, webhook = (secrets.token_urlsafe(32) for _ in range(4))
    own = {service: secrets.token_urlsafe(32) for service in DATABASES}
    texts = {
        "postgres-password": superuser,
        "grafana-password": grafana,
        "token-keys": f"{new_key(1)}\n",
        "databases.env": _variables(
            OWNER_DATABASE_URL=_dsn("postgres", superuser, "postgres"),
            **{
                f"{database.upper()}_DATABASE_URL": _dsn(database, own[service], database)
                for service, database in DATABASES.items()
            },
        ),
        "simulator.env": _variables(SIM_CLIENT_SECRET=client, SIM_WEBHOOK_KEY=webhook),
    }
    more = {
        "connector": {"XERO_CLIENT_SECRET": client},
        "payment-ingest": {"XERO_WEBHOOK_KEYS": webhook},
    }
    for service, database in DATABASES.items():
        texts[f"{service}.env"] = _variables(
            DATABASE_URL=_dsn(database, own[service], database), **more.get(service, {})
        )
        texts[f"migrate-{service}.env"] = _variables(
            DATABASE_URL=_dsn("postgres", superuser, database)
        )
    return texts


def _dsn(role: str, password: str, database: str) -> str:
    return f"postgresql://{role}:{password}@{_SERVER}/{database}"


def _variables(**values: str) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main())
