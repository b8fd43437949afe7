import pytest

from invoice_sync.domain.pace import PLENTY, REST_SECONDS, rest_after


@pytest.mark.parametrize(
    ("calls_left", "is_full", "rest"),
    [
        (None, False, 0.0),
        (60, False, 0.0),
        (PLENTY, False, 0.0),
        (PLENTY - 1, False, REST_SECONDS),
        (0, False, REST_SECONDS),
        (0, True, 0.0),
    ],
)
def test_an_account_rests_only_when_calls_are_scarce_and_something_may_gather(
    calls_left, is_full, rest
):
    assert rest_after(calls_left, is_full=is_full) == rest
