from hypothesis import given
from hypothesis import strategies as st

from pipeline_messaging.outbox import pack_headers, unpack_headers

headers = st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple)


@given(headers)
def test_headers_survive_byte_for_byte(given_headers):
    assert unpack_headers(pack_headers(given_headers)) == given_headers


def test_packed_headers_are_plain_ascii_whatever_they_hold():
    packed = pack_headers((("a\0b", b"\x00\xff"), ("none", None), ("ce_type", b"x.v1")))
    assert packed.isascii()
    assert b"\0" not in packed
    assert b'["ce_type","x.v1"]' in packed
