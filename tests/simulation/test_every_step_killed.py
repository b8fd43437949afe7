"""Every named step of invoice-sync and of the messaging library killed once on virtual time, and nothing may break.

`make failpoints PAIRS=1` kills at all pairs of them. What a process leaves behind when it is really killed is in
`tests/integration/invoice_sync/test_killed_at_every_step.py`.
"""

import pytest
from simulated.matrix import ELSEWHERE, STEPS, once
from simulated.named_failpoints import named_in

from pipeline_local_stack.paths import ROOT


@pytest.mark.timeout(900)
def test_every_named_step_is_killed_once_and_no_promise_breaks(postgres_dsn):
    found = once(postgres_dsn)
    assert found.broken == []
    assert found.steps == dict.fromkeys(STEPS, 1)


def test_what_is_not_killed_here_is_killed_elsewhere():
    named = {*named_in("invoice_sync"), *named_in("pipeline_messaging")}
    assert named == {*STEPS, *ELSEWHERE}
    for step, file in ELSEWHERE.items():
        assert step in (ROOT / file).read_text(encoding="utf-8"), f"{step} is not killed in {file}"
