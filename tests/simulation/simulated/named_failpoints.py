"""Every step that is named in the sources, found where it stands: none can be forgotten."""

import re
from functools import cache
from pathlib import Path

import connector
import invoice_sync
import payment_ingest
import pipeline_messaging

_NAMED = re.compile(r'failpoint\(\s*"([^"]+)"')


@cache
def named_in(package: str) -> tuple[str, ...]:
    """The failpoints of a package, in order."""
    packages = (connector, invoice_sync, payment_ingest, pipeline_messaging)
    (folder,) = [Path(str(each.__file__)).parent for each in packages if each.__name__ == package]
    return tuple(
        sorted(
            {
                name
                for path in folder.rglob("*.py")
                for name in _NAMED.findall(path.read_text(encoding="utf-8"))
            }
        )
    )
