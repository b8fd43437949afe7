"""Run a service: logs, socket, uvicorn, and an end without loss on SIGTERM."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import uvicorn

from pipeline_service_defaults.auth import IssuersFileError
from pipeline_service_defaults.bounded_http import BoundedHttpProtocol
from pipeline_service_defaults.keys import UnusableKeyError
from pipeline_service_defaults.settings import EXIT_BAD_SETTINGS, ServiceSettings

_LOG = logging.getLogger(__name__)
EXIT_CANNOT_START = 3
_BACKLOG = 2048
_OBJECTS_BETWEEN_ROUNDS = 20_000

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def run(app_factory: Callable[[SettingsT], Any], settings: SettingsT) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish and the application's lifespan end.

    Call ``telemetry.configure_logging`` first.

    Args:
        app_factory: Makes the ASGI application from the settings.
        settings: Gives the address and the patience at shutdown.

    Raises:
        SystemExit: Status 0 after a signal, 2 when a file named by a setting cannot be used, 3 when the address is
            taken or the application could not start.
    """
    app = _make_app(app_factory, settings)
    spare_what_stands()
    listener = _listen(settings.http_host, settings.http_port)
    # uvicorn raises the signal again when it is done; without this the process would end as killed, not as finished.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _finish)
    config = uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = uvicorn.Server(config)
    host, port = listener.getsockname()[:2]
    _LOG.info("listening", extra={"host": host, "port": port, "pid": os.getpid()})
    with contextlib.closing(listener):
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(EXIT_CANNOT_START)


def spare_what_stands() -> None:
    """Take what exists now out of the garbage collector's rounds: call once, after importing and before working.

    Modules and models live as long as the process. A batch of a thousand events starts several full rounds, and each
    would walk through all of them: a quarter of the processor time that taking in an event needs. And a batch makes
    tens of thousands of objects that go together at its end: a round after every 700 of them, Python's default, finds
    nothing and costs another eighth.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_ROUNDS)


def _make_app(app_factory: Callable[[SettingsT], Any], settings: SettingsT) -> Any:
    """Make the application; a file that cannot be used is a wrong setting, said in one line like the others."""
    try:
        return app_factory(settings)
    except IssuersFileError as error:
        complaint = f"AUTH_ISSUERS_FILE: {error}"
    except UnusableKeyError as error:
        complaint = f"SERVICE_KEY_FILE: {settings.service_key_file}: {error}"
    sys.stderr.write(f"Cannot start, these settings are wrong:\n  {complaint}\n")
    raise SystemExit(EXIT_BAD_SETTINGS)


def _finish(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    """Bind here and not in uvicorn, for a message that names the setting."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        sys.stderr.write(
            f"Cannot listen on {host}:{port} ({error.strerror});"
            " set HTTP_HOST and HTTP_PORT to a free address of this machine.\n"
        )
        raise SystemExit(EXIT_CANNOT_START) from None
    listener.setblocking(False)
    return listener
