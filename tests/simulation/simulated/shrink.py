"""Cut a script that breaks a promise down to a short one that still does."""

from collections.abc import Awaitable, Callable

from simulated.script import Script

Breaks = Callable[[Script], Awaitable[bool]]


async def shrunk(script: Script, breaks: Breaks) -> Script:
    """The script without every step that is not needed, by halves, quarters and so on down to single steps."""
    size = max(len(script) // 2, 1)
    while True:
        start, was_cut = 0, False
        while start < len(script):
            shorter = script[:start] + script[start + size :]
            if await breaks(shorter):
                script, was_cut = shorter, True
            else:
                start += size
        if size == 1 and not was_cut:
            return await _with_fewer_turns(script, breaks)
        size = max(size // 2, 1)


async def _with_fewer_turns(script: Script, breaks: Breaks) -> Script:
    """The same with each `go` as short as can be: which turns those are does not change with their number."""
    for place, step in enumerate(script):
        if step[0] != "go":
            continue
        for turns in (1, 2, 4, 8, 16):
            shorter = [*script[:place], ("go", turns, step[2]), *script[place + 1 :]]
            if turns < step[1] and await breaks(shorter):
                script = shorter
                break
    return script
