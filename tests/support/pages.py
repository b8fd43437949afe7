"""A page of instructions as steps that can be taken: files it says to save, commands it says to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVE_AS = re.compile(r"Save as `([^`]+)`:\s*$")
_UNTIL_STOPPED = "runs until Ctrl-C"


@dataclass(frozen=True, slots=True)
class Save:
    """A file to write."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """Commands to run, and what they print."""

    commands: str
    prints: tuple[re.Pattern[str], ...]
    until_stopped: bool


def steps_of(page: str) -> Iterator[Save | Run]:
    """What the page tells its reader to do, in order.

    A block after "Save as `path`:" is a file. A `sh` block is run; the `text` block after it is what it prints, with
    `…` for what differs each time. A `console` block is for another terminal and is left to the test.
    """
    blocks = list(_FENCE.finditer(page))
    before = 0
    for index, block in enumerate(blocks):
        told = page[before : block.start()].strip()
        before = block.end()
        language, text = block.groups()
        saved = _SAVE_AS.search(told)
        if saved:
            yield Save(Path(saved[1]), text)
        elif language == "sh":
            following = blocks[index + 1] if index + 1 < len(blocks) else None
            shown = following[2] if following and following[1] == "text" else ""
            yield Run(
                text,
                tuple(
                    re.compile(re.escape(line).replace("…", ".*")) for line in shown.splitlines()
                ),
                _UNTIL_STOPPED in told,
            )
