"""Ed25519 keys and signed tokens (JWT with the one algorithm we accept, EdDSA)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_encode

ALGORITHM = "EdDSA"


class UnusableKeyError(ValueError):
    """A private key cannot be used. The message says what is expected and quotes nothing of the key."""


def new_private_key() -> str:
    """A new Ed25519 private key as PEM text."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def load_private_key(pem: str | bytes) -> Ed25519PrivateKey:
    """Read a PEM private key.

    Raises:
        UnusableKeyError: It is not an unencrypted Ed25519 private key.
    """
    try:
        key = serialization.load_pem_private_key(
            pem.encode() if isinstance(pem, str) else pem, password=None
        )
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        # No cause attached: a parser's error may quote key material.
        raise UnusableKeyError("not an unencrypted Ed25519 private key in PEM form") from None
    return key


def public_jwk(private_key_pem: str | bytes) -> dict[str, str]:
    """The public half of a key as a JWK, for the issuers file."""
    public: Ed25519PublicKey = load_private_key(private_key_pem).public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "alg": ALGORITHM, "x": base64url_encode(raw).decode()}


def sign(private_key_pem: str | bytes, claims: Mapping[str, Any]) -> str:
    """Sign claims as a compact JWT."""
    return jwt.encode(dict(claims), load_private_key(private_key_pem), algorithm=ALGORITHM)


class TokenMinter:
    """Gives this service short-lived tokens for the services it calls.

    Args:
        service_name: Our own name, both ``iss`` and ``sub``.
        private_key_pem: Our Ed25519 key.
        lifetime_seconds: How long each token is valid.
        clock: Seconds since the epoch.

    Raises:
        UnusableKeyError: The key is not an Ed25519 private key.
    """

    # Renewed this long before its end, so that a token never expires between here and the called service.
    MARGIN_SECONDS = 60

    def __init__(
        self,
        service_name: str,
        private_key_pem: str | bytes,
        *,
        lifetime_seconds: int = 300,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = service_name
        self._key = load_private_key(private_key_pem)
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._cached: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def token(self, audience: str) -> str:
        """A token for ``audience`` that is valid for at least another minute."""
        now = self._clock()
        with self._lock:
            cached = self._cached.get(audience)
            if cached is not None and now < cached[1]:
                return cached[0]
            claims = {
                "iss": self._name,
                "sub": self._name,
                "aud": audience,
                "iat": int(now),
                "exp": int(now) + self._lifetime,
            }
            fresh = jwt.encode(claims, self._key, algorithm=ALGORITHM)
            margin = min(self.MARGIN_SECONDS, self._lifetime / 2)
            self._cached[audience] = (fresh, now + self._lifetime - margin)
            return fresh

    def for_audience(self, audience: str) -> Callable[[], str]:
        """The callable a client of ``audience`` asks for its token."""
        return lambda: self.token(audience)
