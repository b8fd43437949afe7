import httpx
import pytest

from pipeline_xero.answers import Reply


@pytest.mark.parametrize(
    ("headers", "left"),
    [({"X-MinLimit-Remaining": "59"}, 59), ({}, None), ({"x-minlimit-remaining": "soon"}, None)],
)
def test_the_calls_left_are_what_xero_says_or_unknown(headers, left):
    assert Reply(status=200, headers=httpx.Headers(headers), body=b"").calls_left == left
