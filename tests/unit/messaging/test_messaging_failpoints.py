import os
import signal
import subprocess
import sys

import pytest

PASS_THREE_TIMES = """
from pipeline_messaging.failpoints import failpoint
for n in range(3):
    failpoint("a:b")
    failpoint("c:d")
    print(n, flush=True)
"""


@pytest.mark.parametrize(
    ("armed", "code", "printed"),
    [
        ("", 0, "0\n1\n2\n"),
        ("a:b", -signal.SIGKILL, ""),
        ("c:d@2", -signal.SIGKILL, "0\n"),
        ("a:b@9", 0, "0\n1\n2\n"),
        ("other", 0, "0\n1\n2\n"),
    ],
)
def test_the_named_place_kills_and_nothing_else_does(armed, code, printed):
    ran = subprocess.run(
        [sys.executable, "-c", PASS_THREE_TIMES],
        env={**os.environ, "FAILPOINT": armed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (code, printed)
