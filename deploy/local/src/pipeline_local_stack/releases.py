"""The services as they were released last, to be run beside those of this checkout.

The code comes out of the repository's history; the third-party packages are those of this checkout, for what is tried
is our own two releases on one database and one set of topics.
"""

import io
import os
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline_local_stack.paths import LOCAL, ROOT, StackError
from pipeline_service_defaults.migrate import MESSAGING_PACKAGE, directories_of

MARKER = ROOT / "deploy" / "last-release"
"""Names the commit that was released last; moved on with each release, in the commit after it."""
_FOLDERS = ("libs", "services")


@dataclass(frozen=True, slots=True)
class Release:
    """The source of one release; without a folder that of this checkout."""

    folder: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What makes Python take the services and libraries of this release."""
        if self.folder is None:
            return {}
        return {"PYTHONPATH": os.pathsep.join(str(path) for path in self._sources())}

    def migrations(self, package: str) -> tuple[Path, ...]:
        """The folders of a service's migrations, as `directories_of` names this checkout's."""
        if self.folder is None:
            return directories_of(package)
        return tuple(
            path / name / "migrations"
            for name in (MESSAGING_PACKAGE, package)
            for path in self._sources()
            if (path / name).is_dir()
        )

    def _sources(self) -> list[Path]:
        if self.folder is None:
            return []
        return sorted(path for name in _FOLDERS for path in (self.folder / name).glob("*/src"))


THIS = Release()


def last_release() -> Release:
    """What was released last, taken out of the repository's history into `.local`.

    Raises:
        StackError: the marker names no commit, or this checkout has not got it.
    """
    commit = MARKER.read_text(encoding="ascii").strip()
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise StackError(f"{MARKER.name} holds {commit[:60]!r}; expected a commit's 40 hex digits.")
    folder = LOCAL / "releases" / commit
    if not folder.is_dir():
        _take_out(commit, folder)
    return Release(folder)


def _take_out(commit: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *_FOLDERS],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        words = archive.stderr.decode(errors="replace").strip()
        raise StackError(
            f"The last release, {commit[:12]}, is not in this checkout's history ({words}):"
            " a shallow clone gets it with `git fetch --unshallow`."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as half,
        tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files,
    ):
        files.extractall(half, filter="data")
        whole = Path(half) / "whole"
        whole.mkdir()
        for name in _FOLDERS:
            (Path(half) / name).rename(whole / name)
        whole.rename(folder)  # readers see all of it or nothing
