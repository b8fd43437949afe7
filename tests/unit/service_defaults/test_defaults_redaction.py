"""Secrets inside texts that are allowed to be logged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_service_defaults.keys import new_private_key, sign
from pipeline_service_defaults.redaction import (
    _HARMLESS,
    HIDDEN,
    _without_secrets,
    redact,
    redact_text,
)

JWT = sign(new_private_key(), {"sub": "x"})
OPAQUE = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"got {JWT} from caller", JWT),
        # Named: every worker of pytest-xdist must find the same tests, and this signature is another in each.
        pytest.param(f"cut {JWT[:60]}", JWT[:60], id="cut"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("cannot connect to postgresql://app:hunter2@db:5432/x", "hunter2"),
        ("refresh_token=1//short&x=1", "1//short"),
        ('{"access_token": "abc", "expires_in": 1800}', '"abc"'),
        ("{'client_secret': 'two words'}", "two words"),
        ("code_verifier: abcdef", "abcdef"),
        ("GET /oauth/xero/callback?code=s3cret&state=st4te HTTP/1.1", "s3cret"),
        ("GET /oauth/xero/callback?code=s3cret&state=st4te HTTP/1.1", "st4te"),
        (f"token is {OPAQUE}", OPAQUE),
        (f"key {new_private_key()} here", "MC4CAQAwBQYDK2Vw"),
        ("password=p", "=p"),
    ],
)
def test_secrets_are_taken_out(text, secret):
    shown = redact_text(text)
    assert secret not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "invoice a03ffcd2-5d91-4c7e-b483-318584e9e439 sent",
        "request 23c5c7ac8da44ffc816b8def6d4304ad",
        "pipeline.invoices.v1 partition 3 offset 1200",
        "test_a_rather_long_name_of_a_function_without_any_digits_in_it",
        "https://api.xero.com/api.xro/2.0/Invoices",
        "the total 148062.76 does not match",
    ],
)
def test_ordinary_words_stay(text):
    assert redact_text(text) == text


def test_containers_are_walked():
    assert redact({"a": [JWT, 1, None, True], "b": {"c": f"Bearer {OPAQUE}"}}) == {
        "a": [HIDDEN, 1, None, True],
        "b": {"c": HIDDEN},
    }
    assert redact(ValueError("password=x")) == f"password={HIDDEN}"


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_redacted(text):
    assert isinstance(redact_text(text), str)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "a-",
        "_",
        "1",
        "token",
        "eyJ",
        'token="',
        "token: '",
        "a:",
        "://a",
        "-----BEGIN A",
        "bearer ",
    ],
)
def test_a_long_text_takes_no_time(text):
    # Nested or open repetition would make these take minutes.
    assert len(redact_text(text * 50_000)) < 20_000


@given(
    st.text(alphabet="eyJ" + "abcXYZ019_./{}-", max_size=45)
    | st.from_regex(_HARMLESS, fullmatch=True)
)
def test_a_harmless_word_is_one_in_which_no_pattern_finds_anything(text):
    assert redact_text(text) == _without_secrets(text)
