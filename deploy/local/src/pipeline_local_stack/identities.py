"""Throw-away keys and tokens for the local stack: Pipeline's sign-in, and one key per service.

On a cluster these come from Secrets; the services read the same two kinds of file either way.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import OKPAlgorithm

ACCOUNT = "demo"
STAFF_ACCOUNT = "pipeline-staff"
PEOPLE = "pipeline"
SERVICES = ("connector", "invoice-sync", "ops-dashboard", "payment-ingest", "pipeline-backend")
SESSION_LENGTH = timedelta(hours=12)
SERVICE_TOKEN_LENGTH = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identities:
    """The private keys by issuer, and where the services find what they need of them."""

    keys: dict[str, Ed25519PrivateKey]
    directory: Path

    @property
    def issuers_file(self) -> Path:
        """The public keys of all issuers, as every service reads them."""
        return self.directory / "issuers.json"

    def key_file(self, issuer: str) -> Path:
        """The private key with which a service, or Pipeline's sign-in, signs its own tokens."""
        return self.directory / f"{issuer}.pem"

    def person_token(self, account_id: str, role: str, *, name: str, user_id: str) -> str:
        """A session of Pipeline: what a person's browser carries after signing in."""
        return self._sign(
            PEOPLE,
            {
                "aud": "pipeline-xero",
                "sub": user_id,
                "name": name,
                "account_id": account_id,
                "role": role,
            },
            SESSION_LENGTH,
        )

    def service_token(
        self, service: str, audience: str, lifetime: timedelta = SERVICE_TOKEN_LENGTH
    ) -> str:
        """A token with which one service calls another."""
        return self._sign(service, {"sub": service, "aud": audience}, lifetime)

    def _sign(self, issuer: str, claims: dict[str, str], lifetime: timedelta) -> str:
        now = datetime.now(UTC)
        return jwt.encode(
            {"iss": issuer, "iat": now, "exp": now + lifetime, **claims},
            self.keys[issuer],
            algorithm="EdDSA",
            headers={"kid": issuer},
        )


def make_identities(directory: Path) -> Identities:
    """New keys for everybody, written where the services read them, readable by their owner only."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    keys = {issuer: Ed25519PrivateKey.generate() for issuer in (PEOPLE, *SERVICES)}
    identities = Identities(keys, directory)
    issuers = {}
    for issuer, key in keys.items():
        public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        issuers[issuer] = {
            "kind": "person" if issuer == PEOPLE else "service",
            "keys": [{**public, "kid": issuer, "alg": "EdDSA", "use": "sig"}],
        }
        file = identities.key_file(issuer)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.chmod(0o600)
    identities.issuers_file.write_text(json.dumps(issuers, indent=2))
    return identities


def read_identities(directory: Path) -> Identities:
    """Those whose private keys lie in a folder: the rest are not this program's to be.

    Raises:
        ValueError: a file holds no Ed25519 key.
    """
    keys = {}
    for file in directory.glob("*.pem"):
        key = load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{file} holds no Ed25519 key")  # noqa: TRY004 - the file is wrong, not the caller
        keys[file.stem] = key
    return Identities(keys, directory)
