"""Style sheets and scripts, under names that carry a hash of their content: whoever has one never asks again."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from pipeline_service_defaults.problems import Problem

_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_HASHED: Final = re.compile(r"(.+)\.([0-9a-f]{16})(\.[a-z]+)")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of ours, and the name it is asked for by."""

    content: bytes
    media_type: str
    digest: str
    path: str


class Assets:
    """The style sheets and scripts of one folder, and the route that serves them."""

    def __init__(self, folder: Path) -> None:
        self.files: Final = {
            file.name: _read(file) for file in folder.iterdir() if file.suffix in _TYPES
        }
        self.router: Final = APIRouter(include_in_schema=False)
        self.router.get("/static/{name}")(self._serve)

    def path(self, name: str) -> str:
        """The address of a file, for templates. Raises KeyError when there is none."""
        return self.files[name].path

    async def _serve(self, name: str) -> Response:
        """A file of ours. Asked for by another release's hash it is given all the same, but not to be kept.

        While releases change over, one replica's page may ask another for its style sheet.
        """
        asked = _HASHED.fullmatch(name)
        found = self.files.get(asked[1] + asked[3]) if asked else None
        if asked is None or found is None:
            raise Problem(404, "NOT_FOUND", "Not found", "There is no such file.")
        ours = asked[2] == found.digest
        keep = "public, max-age=31536000, immutable" if ours else "no-store"
        return Response(found.content, media_type=found.media_type, headers={"Cache-Control": keep})


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = f"/static/{file.stem}.{digest}{file.suffix}"
    return Asset(content, _TYPES[file.suffix], digest, path)
