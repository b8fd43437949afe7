"""Secrets at rest: each value under its own data key, the data key under a versioned key that lives elsewhere.

AES-256-GCM with fresh nonces; the associated data names the row, the column and the row's version, so a ciphertext copied
to another place does not open there. Changing the outer key (`rewrap`) never touches the value's own ciphertext.
`OuterKeys` is the port for whoever holds the outer keys; `KeyRing`, keys from a file or the environment, is the local one.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT: Final = 1
FORMAT_WITH_LENGTH: Final = 2
"""For outer keys whose ciphertext has another length than the local ones': two bytes say which."""

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = NONCE_BYTES + KEY_BYTES + 16
_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class SealingError(Exception):
    """A sealed value could not be opened: leaves say why.

    SealingError
    ├── KeyMissing     the key it was sealed under is not among the configured ones
    └── SealBroken     altered, cut short, or moved from another row, column or version
    """


class KeyMissing(SealingError):  # noqa: N818 - reads as what happened
    """The key version named by the value is not configured."""


class SealBroken(SealingError):  # noqa: N818 - reads as what happened
    """The value does not authenticate in this place."""


class OuterKeys(Protocol):
    """Who wraps data keys. A key management service is plugged in by implementing this and handing it to `app.build`.

    Both operations are called in the middle of a request, `wrap` also while a row is locked, and neither is awaited. So
    an implementation answers from memory: it asks its service for the outer key once, at start-up, and refreshes it in
    the background; or it remembers the data keys it unwrapped (they never change) and bounds its calls to well below a
    second. `place` is the context to bind to, what AWS calls the encryption context.

    Failing, it raises a leaf of SealingError. People then read KEY_UNAVAILABLE, nothing is given up, and a pair just
    received from Xero is held in memory and tried again for as long as its lease lasts.
    """

    @property
    def current(self) -> str:
        """The version that wraps now: letters, digits, `-` and `_`, at most 32 of them."""

    def wrap(self, data_key: bytes, place: bytes) -> tuple[str, bytes]:
        """Encrypt a data key under the current key; returns the key's version and at most 64 KiB of ciphertext."""

    def unwrap(self, version: str, wrapped: bytes, place: bytes) -> bytes:
        """Decrypt a data key. Raises KeyMissing when there is no such key at hand, SealBroken when it does not fit."""

    def opens(self, version: str) -> bool:
        """Whether values under this version can be opened here."""


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The configured keys by version; `current` seals, all of them open."""

    keys: Mapping[str, bytes]
    current: str

    def opens(self, version: str) -> bool:
        """Whether a key of this version is configured."""
        return version in self.keys

    def wrap(self, data_key: bytes, place: bytes) -> tuple[str, bytes]:
        """Encrypt a data key under the current key; returns the key's version and the ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return self.current, nonce + AESGCM(self.keys[self.current]).encrypt(nonce, data_key, place)

    def unwrap(self, version: str, wrapped: bytes, place: bytes) -> bytes:
        """Decrypt a data key. Raises KeyMissing or SealBroken."""
        key = self.keys.get(version)
        if key is None:
            raise KeyMissing(f"Key version {version!r} is not configured.")
        try:
            return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], place)
        except InvalidTag as error:
            raise SealBroken("The data key does not authenticate here.") from error

    def stamp(self, purpose: str, text: str) -> str:
        """A keyed fingerprint of `text` (for form tokens): hex HMAC under a key derived from the current one."""
        return _stamp(self.keys[self.current], purpose, text)

    def stamped(self, purpose: str, text: str, given: str) -> bool:
        """Whether `given` is the fingerprint of `text` under any configured key, in constant time."""
        matches = [
            hmac.compare_digest(
                _stamp(key, purpose, text).encode(), given.encode("utf-8", "replace")
            )
            for key in self.keys.values()
        ]
        return any(matches)

    def __repr__(self) -> str:
        return f"KeyRing(versions={sorted(self.keys)}, current={self.current!r})"


def _stamp(key: bytes, purpose: str, text: str) -> str:
    derived = hmac.digest(key, f"pipeline connector {purpose}".encode(), hashlib.sha256)
    return hmac.digest(derived, text.encode(), hashlib.sha256).hex()


def parse_keys(text: str) -> KeyRing:
    """Read `v2:base64,v1:base64` (the first seals). Raises ValueError that names the entry, never its key."""
    keys: dict[str, bytes] = {}
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    if not entries:
        raise ValueError("no key given; expected `v1:` and 32 bytes in base64")
    for number, entry in enumerate(entries, start=1):
        name, colon, encoded = entry.partition(":")
        if not colon or not _KEY_NAME.fullmatch(name):
            raise ValueError(f"entry {number} is not `version:base64`")
        if name in keys:
            raise ValueError(f"key version {name!r} is given twice")
        try:
            key = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error as error:
            raise ValueError(f"key {name!r} is not base64") from error
        if len(key) != KEY_BYTES:
            raise ValueError(f"key {name!r} has {len(key)} bytes instead of {KEY_BYTES}")
        keys[name] = key
    return KeyRing(keys, next(iter(keys)))


def place(*parts: str | int) -> bytes:
    """The associated data for one value: its coordinates, length-prefixed so that no two places can read alike."""
    return b"".join(b"%d:%b" % (len(text), text) for text in (str(part).encode() for part in parts))


def seal(keys: OuterKeys, secret: str, where: bytes) -> bytes:
    """Encrypt `secret` for the place `where`. Raises SealingError when the key service fails."""
    data_key = os.urandom(KEY_BYTES)
    version, wrapped = keys.wrap(data_key, b"key|" + where)
    nonce = os.urandom(NONCE_BYTES)
    body = AESGCM(data_key).encrypt(nonce, secret.encode(), b"value|" + where)
    return _join(version, wrapped, nonce + body)


def unseal(keys: OuterKeys, sealed: bytes, where: bytes) -> str:
    """Decrypt what `seal` made for the same place. Raises KeyMissing or SealBroken."""
    version, wrapped, rest = _split(sealed)
    data_key = keys.unwrap(version, wrapped, b"key|" + where)
    try:
        opened = AESGCM(data_key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], b"value|" + where)
    except InvalidTag as error:
        raise SealBroken("The value does not authenticate here.") from error
    return opened.decode()


def rewrap(keys: OuterKeys, sealed: bytes, where: bytes) -> bytes:
    """The same value with its data key under the current key; unchanged when it already is.

    Raises KeyMissing or SealBroken: a value that does not belong in this place stays as it is.
    """
    version, wrapped, rest = _split(sealed)
    if version == keys.current:
        return sealed
    data_key = keys.unwrap(version, wrapped, b"key|" + where)
    current, wrapped_now = keys.wrap(data_key, b"key|" + where)
    return _join(current, wrapped_now, rest)


def key_version(sealed: bytes) -> str:
    """The version of the outer key a value is under. Raises SealBroken."""
    return _split(sealed)[0]


def _join(version: str, wrapped: bytes, rest: bytes) -> bytes:
    name = version.encode()
    if len(wrapped) == WRAPPED_BYTES:
        return bytes([FORMAT, len(name)]) + name + wrapped + rest
    return bytes([FORMAT_WITH_LENGTH, len(name)]) + name + len(wrapped).to_bytes(2) + wrapped + rest


def _split(sealed: bytes) -> tuple[str, bytes, bytes]:
    start = 2 + (sealed[1] if len(sealed) > 1 else 0)
    wrapped_bytes = WRAPPED_BYTES
    if sealed[:1] == bytes([FORMAT_WITH_LENGTH]):
        wrapped_bytes = int.from_bytes(sealed[start : start + 2])
        start += 2
    elif sealed[:1] != bytes([FORMAT]):
        raise SealBroken("The value is not in a known form.")
    body = start + wrapped_bytes
    if len(sealed) < body + NONCE_BYTES + 16:
        raise SealBroken("The value is cut short.")
    version = sealed[2 : 2 + sealed[1]].decode("utf-8", "replace")
    return version, sealed[start:body], sealed[body:]
