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


class KeyServiceElsewhere:
    """An outer key as a key management service holds it: its ciphertext is longer than ours, and it can be away."""

    current = "kms-7"

    def __init__(self):
        self.away = False

    def opens(self, version):
        return version == self.current

    def wrap(self, data_key, place):
        if self.away:
            raise KeyMissing("the key service does not answer")
        _, wrapped = KeyRing({"kms-7": OLD}, "kms-7").wrap(data_key, place)
        return self.current, b"arn:key/7 " * 20 + wrapped

    def unwrap(self, version, wrapped, place):
        if self.away or version != self.current:
            raise KeyMissing("the key service does not answer")
        return KeyRing({"kms-7": OLD}, "kms-7").unwrap("kms-7", wrapped[200:], place)


def test_a_key_service_takes_the_place_of_the_local_keys():
    service = KeyServiceElsewhere()
    sealed = seal(service, "secret", HERE)
    assert (key_version(sealed), unseal(service, sealed, HERE)) == ("kms-7", "secret")
    for length in range(len(sealed)):
        with pytest.raises((SealBroken, KeyMissing)):
            unseal(service, sealed[:length], HERE)
    service.away = True
    with pytest.raises(KeyMissing):
        unseal(service, sealed, HERE)


def test_values_move_from_local_keys_to_a_key_service():
    class Moving(KeyServiceElsewhere):
        def unwrap(self, version, wrapped, place):
            if version == "v1":
                return RING.unwrap(version, wrapped, place)
            return super().unwrap(version, wrapped, place)

    moved = rewrap(Moving(), seal(RING, "secret", HERE), HERE)
    assert unseal(KeyServiceElsewhere(), moved, HERE) == "secret"
