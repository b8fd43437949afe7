"""The file of keys that seal tokens in the local stack: one `version:base64` a line, the first seals."""

import base64
import os
from pathlib import Path

from pipeline_local_stack.paths import LOCAL

TOKEN_KEYS_FILE = LOCAL / "keys" / "token-keys"


def new_key(version: int) -> str:
    """A fresh key as a line of the file."""
    return f"v{version}:{base64.b64encode(os.urandom(32)).decode()}"


def version_of(line: str) -> int:
    """The number in a line's version."""
    return int(line.partition(":")[0].removeprefix("v"))


def write_keys(lines: list[str], file: Path = TOKEN_KEYS_FILE) -> None:
    """Put the file in place whole, for the owner's eyes only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".tmp")
    fresh.touch(mode=0o600)
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(file)
