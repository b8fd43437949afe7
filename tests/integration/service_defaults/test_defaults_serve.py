"""A real process: it starts, serves, and ends without losing what is in flight."""

import asyncio
import json
import signal
import socket
import sys

import httpx
import pytest

from pipeline_service_defaults.keys import new_private_key, public_jwk

PROGRAM = """
import asyncio, gc, logging, sys
from contextlib import asynccontextmanager
from pipeline_service_defaults import api, auth, serve, telemetry
from pipeline_service_defaults.settings import ServiceSettings, load

def create_app(settings):
    @asynccontextmanager
    async def lifespan(app):
        if "fail" in sys.argv:
            raise RuntimeError("no database")
        logging.getLogger("t").info("up")
        if gc.get_freeze_count():
            logging.getLogger("t").info("what stands is spared")
        yield
        logging.getLogger("t").info("down")

    if settings.service_key_file:
        auth.TokenMinter("t", settings.service_key_file.read_bytes())
    app = api.create_api(
        title="T", description="", lifespan=lifespan,
        authenticator=auth.Authenticator.from_file(settings.auth_issuers_file, service_name="t"),
    )

    @app.get("/slow")
    async def slow():
        logging.getLogger("t").info("slow begun")
        await asyncio.sleep(0.5)
        return "finished"

    return app

settings = load(ServiceSettings)
telemetry.configure_logging("t", settings.log_level)
serve.run(create_app, settings)
"""


class Process:
    def __init__(self, process):
        self.process = process
        self.lines: list[dict] = []

    async def line_with(self, event):
        async with asyncio.timeout(30):
            while True:
                raw = await self.process.stdout.readline()
                assert raw, "ended early"
                self.lines.append(json.loads(raw))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]

    async def end(self):
        async with asyncio.timeout(30):
            out, err = await self.process.communicate()
        self.lines += [json.loads(raw) for raw in out.splitlines()]
        return self.process.returncode, err.decode()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def issuers(tmp_path):
    path = tmp_path / "issuers.json"
    key = public_jwk(new_private_key())
    path.write_text(json.dumps({"pipeline": {"kind": "person", "keys": [key]}}))
    return path


@pytest.fixture
async def start(program, issuers):
    started = []

    async def begin(*arguments, **environment):
        given = {
            "DATABASE_URL": "postgresql://u:hush@localhost/db",
            "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
            "AUTH_ISSUERS_FILE": str(issuers),
            "HTTP_PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            *arguments,
            env=given | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Process(process)

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_requests_in_flight_finish(start, number):
    service = await start()
    listening = await service.line_with("listening")
    await service.line_with("up")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening['port']}") as http:
        health = await http.get("/health/live")
        assert health.status_code == 200
        assert "server" not in health.headers
        assert "date" in health.headers
        slow = asyncio.create_task(http.get("/slow"))
        await service.line_with("slow begun")
        service.process.send_signal(number)
        answer = await slow
        assert answer.json() == "finished"
    status, err = await service.end()
    assert (status, err) == (0, "")
    events = [line["event"] for line in service.lines]
    assert events.index("down") > events.index("slow begun")


async def test_what_starting_up_made_is_spared_by_the_garbage_collector(start):
    service = await start()
    await service.line_with("what stands is spared")


async def test_a_taken_port_is_said_in_one_sentence(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = await start(HTTP_PORT=str(taken.getsockname()[1]))
        status, err = await service.end()
    assert status == 3
    assert err.startswith("Cannot listen on 127.0.0.1:")
    assert "set HTTP_HOST and HTTP_PORT" in err
    assert err.count("\n") == 1


async def test_an_application_that_cannot_start_ends_the_process(start):
    service = await start("fail")
    status, _ = await service.end()
    assert status == 3
    assert any("no database" in line.get("exception", line["event"]) for line in service.lines)


async def test_a_wrong_setting_ends_the_process_with_status_2(start):
    service = await start(LOG_LEVEL="LOUD", DATABASE_URL="hush")
    status, err = await service.end()
    assert status == 2
    assert "LOG_LEVEL: 'LOUD'" in err
    assert "DATABASE_URL: given, not shown" in err
    assert "hush" not in err


@pytest.mark.parametrize(
    ("setting", "content"),
    [("AUTH_ISSUERS_FILE", '{"x": {"kind": "robot"}}'), ("SERVICE_KEY_FILE", "hush")],
)
async def test_an_unusable_file_is_a_wrong_setting(start, tmp_path, setting, content):
    path = tmp_path / "given"
    path.write_text(content)
    service = await start(**{setting: str(path)})
    status, err = await service.end()
    assert status == 2
    assert f"{setting}: {path}: " in err
    assert err.count("\n") == 2
    assert "hush" not in err


async def test_a_body_with_conflicting_lengths_is_refused(start):
    service = await start()
    port = (await service.line_with("listening"))["port"]
    await service.line_with("up")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n"
    )
    async with asyncio.timeout(10):
        status_line = await reader.readline()
    assert b" 400 " in status_line
    writer.close()
    await writer.wait_closed()
