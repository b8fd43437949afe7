import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_ingest.domain.signature import genuine, sign

KEY = b"Jm3Nc7xwYV5G4pQ0"
OLD = b"an older key"
BODY = (
    b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"FXNGWLCCGVANWHKILRUB"}'
)


def test_the_signature_is_base64_of_hmac_sha256_over_the_raw_bytes():
    expected = base64.b64encode(hmac.new(KEY, BODY, hashlib.sha256).digest())
    assert sign(KEY, BODY) == expected


def test_a_vector_computed_elsewhere():
    # printf '%s' '{"events":[]}' | openssl dgst -sha256 -hmac secret -binary | base64
    assert sign(b"secret", b'{"events":[]}') == b"pkK1lVPJPiJ+wPLziRD79xIxohl8AImYM8AEeM7IbzQ="


def test_either_key_of_a_rotation_is_genuine_and_named():
    assert genuine([KEY, OLD], BODY, sign(KEY, BODY)) == 0
    assert genuine([KEY, OLD], BODY, sign(OLD, BODY)) == 1


def test_every_key_is_tried_even_after_one_matched(monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("payment_ingest.domain.signature.hmac.compare_digest", compare)
    assert genuine([KEY, OLD, b"third"], BODY, sign(KEY, BODY)) == 0
    assert len(compared) == 3


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b" ",
        b"=",
        sign(KEY, BODY).rstrip(b"="),
        sign(KEY, BODY) + b"=",
        sign(KEY, BODY) + b"\n",
        b" " + sign(KEY, BODY),
        sign(KEY, BODY).lower(),
        sign(KEY, BODY).replace(b"/", b"_").replace(b"+", b"-") + b" ",
        hmac.new(KEY, BODY, hashlib.sha256).hexdigest().encode(),
        hmac.new(KEY, BODY, hashlib.sha256).digest(),
        sign(b"", BODY),
        sign(b"another", BODY),
        b"\xff\xfe",
    ],
)
def test_anything_else_is_not_genuine(signature):
    assert genuine([KEY, OLD], BODY, signature) is None


@given(body=st.binary(min_size=1, max_size=300), bit=st.integers(min_value=0))
def test_one_flipped_bit_of_the_body_is_refused(body, bit):
    signature = sign(KEY, body)
    assert genuine([KEY], body, signature) == 0
    assert genuine([KEY], _flip(body, bit), signature) is None


@given(body=st.binary(max_size=100), bit=st.integers(min_value=0))
def test_one_flipped_bit_of_the_signature_is_refused(body, bit):
    assert genuine([KEY], body, _flip(sign(KEY, body), bit)) is None


@given(key=st.binary(min_size=1, max_size=80), other=st.binary(min_size=1, max_size=80))
def test_another_key_is_refused(key, other):
    # HMAC pads short keys with zero bytes: keys that differ only in trailing ones are the same key.
    if key.rstrip(b"\0") == other.rstrip(b"\0"):
        return
    assert genuine([key], BODY, sign(other, BODY)) is None


def _flip(value: bytes, bit: int) -> bytes:
    position = bit % (len(value) * 8)
    changed = bytearray(value)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)
