"""Style sheet and scripts of the dashboard's pages."""

import pathlib
from typing import Final

from pipeline_service_defaults.assets import Assets

_FILES: Final = Assets(pathlib.Path(__file__).parent.parent / "static")

router: Final = _FILES.router
asset: Final = _FILES.path
