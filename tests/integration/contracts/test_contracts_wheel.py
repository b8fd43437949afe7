"""The wheel other teams install, built and looked into."""

import os
import shutil
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pipeline_contracts import EVENT_TYPES

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


def test_it_depends_on_pydantic_only(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(wheel.read(metadata).decode())
    always = [need for need in told.get_all("Requires-Dist") if "extra ==" not in need]
    assert [need.split(">")[0].strip() for need in always] == ["pydantic"]
    assert told.get_all("Provides-Extra") == ["kafka", "producer"]
    assert told["Requires-Python"] == ">=3.11"
