import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.sealing import (
    KeyMissing,
    KeyRing,
    SealBroken,
    key_version,
    parse_keys,
    place,
    rewrap,
    seal,
    unseal,
)

OLD, NEW = os.urandom(32), os.urandom(32)
RING = KeyRing({"v1": OLD}, "v1")
BOTH = KeyRing({"v2": NEW, "v1": OLD}, "v2")
HERE = place("token_sets", "user", "access_token", 1)


@given(st.text(max_size=3000))
def test_what_was_sealed_opens_in_its_place(secret):
    assert unseal(RING, seal(RING, secret, HERE), HERE) == secret


@given(secret=st.text(min_size=8, max_size=100), bit=st.integers(0, 10_000))
def test_no_flipped_bit_opens(secret, bit):
    sealed = bytearray(seal(RING, secret, HERE))
    index = bit % (len(sealed) * 8)
    sealed[index // 8] ^= 1 << index % 8
    with pytest.raises((SealBroken, KeyMissing)):
        unseal(RING, bytes(sealed), HERE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        place("token_sets", "other", "access_token", 1),
        place("token_sets", "user", "refresh_token", 1),
        place("token_sets", "user", "access_token", 2),
        place("token_sets", "usera", "ccess_token", 1),
    ],
)
def test_a_value_opens_nowhere_else(elsewhere):
    with pytest.raises(SealBroken):
        unseal(RING, seal(RING, "secret", HERE), elsewhere)


@given(st.binary(max_size=200))
def test_rubbish_is_broken_and_nothing_else(rubbish):
    with pytest.raises((SealBroken, KeyMissing)):
        unseal(RING, rubbish, HERE)


def test_the_same_secret_never_looks_the_same():
    assert len({seal(RING, "secret", HERE) for _ in range(50)}) == 50


def test_rewrapping_changes_the_key_and_not_the_value():
    sealed = seal(RING, "secret", HERE)
    moved = rewrap(BOTH, sealed, HERE)
    assert (key_version(sealed), key_version(moved)) == ("v1", "v2")
    assert unseal(BOTH, moved, HERE) == unseal(BOTH, sealed, HERE) == "secret"
    assert rewrap(BOTH, moved, HERE) == moved
    with pytest.raises(KeyMissing):
        unseal(RING, moved, HERE)


def test_keys_are_read_and_never_shown():
    encoded = base64.b64encode(NEW).decode()
    ring = parse_keys(f"v2:{encoded},\nv1:{base64.b64encode(OLD).decode()}\n")
    assert ring.current == "v2"
    assert set(ring.keys) == {"v1", "v2"}
    assert encoded not in repr(ring)


@pytest.mark.parametrize(
    "text",
    ["", "v1", "v1:", "v1:not base64!", "v1:" + base64.b64encode(b"short").decode(), ":x", "v 1:x"],
)
def test_unusable_keys_are_named_without_their_value(text):
    with pytest.raises(ValueError, match=r"key|entry"):
        parse_keys(text)


def test_a_version_given_twice_is_refused():
    one = "v1:" + base64.b64encode(OLD).decode()
    with pytest.raises(ValueError, match="twice"):
        parse_keys(f"{one},{one}")


def test_form_stamps_survive_a_rotation_and_fit_nothing_else():
    stamp = RING.stamp("form", "session")
    assert BOTH.stamped("form", "session", stamp)
    assert not BOTH.stamped("form", "other", stamp)
    assert not BOTH.stamped("else", "session", stamp)
    assert not BOTH.stamped("form", "session", "ü")
