"""`python -m xero_simulator`: serves one simulator on SIM_HOST:SIM_PORT."""

import sys

import uvicorn

from xero_simulator.app import create_app
from xero_simulator.config import SettingInvalid, from_environment


def main() -> None:
    """Runs until interrupted; a wrong setting ends it with one sentence."""
    try:
        settings = from_environment()
    except SettingInvalid as error:
        sys.exit(str(error))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
