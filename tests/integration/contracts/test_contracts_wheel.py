"""The wheel other teams install, built and looked into."""

import os
import shutil
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pipeline_contracts import EVENT_TYPES
from pipeline_contracts.replay import scenarios

ROOT = Path(__file__).parents[3]
OWN_UV = ROOT / ".local" / "uv" / "bin" / "uv"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # `uv run` tells its programs where it is; otherwise as the Makefile looks for it.
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which(OWN_UV)
    if uv is None:
        message = "building the wheel needs uv: run `make setup` or put uv on the PATH"
        if os.environ.get("STRICT") == "1":
            pytest.fail(message)
        pytest.skip(message)
    out = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [uv, "build", "--package", "pipeline-contracts", "--wheel", "--out-dir", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("pipeline_contracts-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_is_typed_and_carries_the_schemas(wheel):
    names = set(wheel.namelist())
    assert "pipeline_contracts/py.typed" in names
    for event_type in EVENT_TYPES:
        assert f"pipeline_contracts/json_schemas/{event_type}.json" in names
    for name in scenarios():
        assert f"pipeline_contracts/scenarios/{name}.jsonl" in names


def test_it_depends_on_pydantic_only(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(wheel.read(metadata).decode())
    always = [need for need in told.get_all("Requires-Dist") if "extra ==" not in need]
    assert [need.split(">")[0].strip() for need in always] == ["pydantic"]
    assert told.get_all("Provides-Extra") == ["kafka", "producer"]
    assert told["Requires-Python"] == ">=3.11"


def test_installed_alone_it_checks_and_replays_and_says_what_kafka_needs(wheel, tmp_path):
    """In an empty environment: what needs no Kafka works without aiokafka, and the rest names the extra."""
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which(OWN_UV)
    home = tmp_path / "empty"
    python = home / "bin" / "python"
    for arguments in (["venv", home], ["pip", "install", "--python", python, wheel.filename]):
        made = subprocess.run(
            [uv, *arguments, "--quiet"], capture_output=True, text=True, timeout=120, check=False
        )
        assert made.returncode == 0, made.stderr

    def run(*arguments, text=None):
        return subprocess.run(
            [python, "-m", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    replayed = run("pipeline_contracts.replay", "pay")
    assert replayed.returncode == 0, replayed.stderr
    checked = run("pipeline_contracts.check", "-", text=replayed.stdout)
    assert (checked.returncode, checked.stderr) == (0, "")
    for refused in (
        run("pipeline_contracts.replay", "pay", "--to", "kafka:9092"),
        run("pipeline_contracts.check", "--from", "kafka:9092"),
    ):
        assert refused.returncode == 2
        assert refused.stderr.endswith("aiokafka: install pipeline-contracts[kafka]\n")
