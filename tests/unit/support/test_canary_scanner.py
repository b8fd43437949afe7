"""The scanner finds what it is for, or the scan for leaked secrets proves nothing."""

import base64
import hashlib
import json
import random
import zlib
from urllib.parse import quote, quote_plus

import pytest

from pipeline_local_stack.canaries import WINDOW, Canaries, Leak

SECRET = "aV9-secret_with/every+kind%of=sign~and.more"


def noise(seed: int, length: int = 5_000) -> bytes:
    return random.Random(seed).randbytes(length)


@pytest.fixture
def scanner():
    canaries = Canaries()
    canaries.watch("the secret", SECRET)
    return canaries


ENCODED = {
    "raw": SECRET.encode(),
    "hex": SECRET.encode().hex().encode(),
    "HEX": SECRET.encode().hex().upper().encode(),
    "url": quote(SECRET, safe="").encode(),
    "form": quote_plus(SECRET).encode(),
    "every byte percent-encoded": b"".join(b"%%%02X" % byte for byte in SECRET.encode()),
    "json": json.dumps({"token": SECRET}).encode(),
    "basic header": base64.b64encode(f"client:{SECRET}".encode()),
    **{
        f"base64 at {offset}": base64.b64encode(b"x" * offset + SECRET.encode() + b"tail")
        for offset in range(7)
    },
    **{
        f"url-safe base64 at {offset}": base64.urlsafe_b64encode(b"?" * offset + SECRET.encode())
        for offset in range(7)
    },
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_planted_secret_is_found_in_every_encoding_and_named_without_being_shown(scanner, name):
    haystack = noise(1) + ENCODED[name] + noise(2)
    found = scanner.leaks("a log", haystack)
    assert {leak.secret for leak in found} == {"the secret"}
    assert {leak.where for leak in found} == {"a log"}
    assert SECRET not in repr(found)


@pytest.mark.parametrize("start", range(len(SECRET) - WINDOW + 1))
def test_any_sixteen_characters_are_enough(scanner, start):
    piece = SECRET[start : start + WINDOW].encode()
    for encoding, planted in (
        ("raw", piece),
        ("hex", piece.hex().encode()),
        ("base64", base64.b64encode(piece)),
        ("url", b"".join(b"%%%02X" % byte for byte in piece)),
    ):
        found = scanner.leaks("here", noise(start) + planted + noise(start + 100))
        assert found, encoding


def test_text_that_holds_none_is_clean(scanner):
    harmless = b"".join(
        (
            noise(3, 200_000),
            hashlib.sha256(SECRET.encode()).hexdigest().encode(),
            SECRET[: WINDOW - 1].encode(),
            zlib.compress(SECRET.encode()),
            b"the secret",
        )
    )
    assert scanner.leaks("anywhere", harmless) == set()


def test_binary_secrets_are_watched_too():
    key = bytes(range(200, 232))
    scanner = Canaries()
    scanner.watch("a key", key)
    assert scanner.leaks("dump", b"\\x" + key.hex().encode()) == {Leak("a key", "hex", "dump")}
    assert scanner.leaks("settings", b"v1:" + base64.b64encode(key))


def test_a_secret_too_short_to_be_told_from_chance_is_refused():
    with pytest.raises(ValueError, match="short one has 15 bytes"):
        Canaries().watch("short one", "x" * 15)


def test_any_jwt_is_a_leak_and_a_watched_one_is_found_by_its_body_alone(scanner):
    header, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "EdDSA", "typ": "JWT"}, {"sub": "user-1", "account_id": "acc-1"})
    )
    token = f"{header}.{body}.{'s1gnature' * 8}"
    assert scanner.leaks("page", f"Bearer {token}") == {Leak("some JWT", "raw", "page")}
    scanner.watch_jwt("session", token)
    assert scanner.leaks("page", body[:WINDOW]) == {Leak("session", "raw", "page")}
    assert scanner.leaks("page", header) == set()
