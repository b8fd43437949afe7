"""Named places where a test may kill the process, to prove that dying there loses and doubles nothing.

`FAILPOINT=relay:after_send` kills this process with SIGKILL the first time the named place is passed,
`FAILPOINT=relay:after_send@3` the third time. The variable is read once, at import. It can do nothing but end the
process, which whoever sets a process's environment could do anyway.
"""

import os
import signal
from typing import Final

_name, _, _nth = os.environ.get("FAILPOINT", "").partition("@")
ARMED: Final = _name
_passes_left = int(_nth or 1)


def failpoint(name: str) -> None:
    """Kill this process if the environment asks for it at `name`; otherwise do nothing."""
    if not ARMED or name != ARMED:
        return
    global _passes_left  # noqa: PLW0603 - one counter per process is what "the third time" means
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
