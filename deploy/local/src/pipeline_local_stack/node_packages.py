"""Packages of npm that a lock file names, installed once into this folder's cache."""

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline_local_stack.paths import CACHE, StackError

_FILES = ("package.json", "package-lock.json")
_SECONDS = 240


def installed(npm: str, source: Path) -> Path:
    """A folder with the packages that the lock file in `source` names; made when there is none for this lock file.

    Raises:
        StackError: npm could not install them.
    """
    locked = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = CACHE / f"{source.name.replace('_', '-')}-{locked}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed: a run that was cut off leaves nothing that looks complete.
    fresh = Path(tempfile.mkdtemp(dir=CACHE))
    for name in _FILES:
        shutil.copy(source / name, fresh)
    ran = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=fresh,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if ran.returncode != 0:
        raise StackError(f"npm could not install {source.name}'s packages: {ran.stderr[-2000:]}")
    with suppress(OSError):  # another run was first
        fresh.rename(folder)
    return folder
