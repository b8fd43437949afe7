"""Images built without a container engine, and their root file systems started as their own user.

buildah builds `deploy/Dockerfile` on a base that mmdebstrap makes of the same Debian release with the same Python as the
published one; bubblewrap starts what came out: read-only, without privileges, with a `/tmp` of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
_DEBIAN = "trixie"
_PYTHON_IMAGE, _UV_IMAGE = "localhost/local-python", "localhost/local-uv"
_CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True, slots=True)
class Package:
    """A member of the workspace that gets an image."""

    name: str
    module: str


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its root file system, unpacked, and what a container engine would read of it."""

    root: Path
    config: dict


def packages() -> list[Package]:
    """Every service."""
    folders = sorted((REPOSITORY / "services").glob("*/"))
    found = []
    for folder in folders:
        described = tomllib.loads((folder / "pyproject.toml").read_text())
        module = described["tool"]["uv"]["build-backend"]["module-name"]
        found.append(Package(described["project"]["name"], module))
    return found


class Workshop:
    """A place to build images in; everything in it is gone afterwards, but for the base kept in `keep`."""

    def __init__(self, keep: Path) -> None:
        self._keep = keep
        self._folder = Path(tempfile.mkdtemp(prefix="pipeline-images-"))
        self._folder.chmod(0o711)

    def __enter__(self) -> Self:
        self._make_python_image()
        self._make_uv_image()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def build(self, package: str, **arguments: str) -> Image:
        self._build(package, "service", arguments)
        container = self._buildah("from", package).strip()
        root = Path(self._buildah("mount", container).strip())
        self._let_enter(root)
        inspected = json.loads(self._buildah("inspect", "--type", "image", package))
        return Image(root, inspected["OCIv1"]["config"])

    def bill_of_materials(self, package: str) -> dict:
        """What the target `sbom` gives, as an output beside the image."""
        self._build(f"{package}-sbom", "sbom", {"PACKAGE": package})
        container = self._buildah("from", f"{package}-sbom").strip()
        folder = Path(self._buildah("mount", container).strip())
        assert [file.name for file in folder.iterdir()] == ["sbom.cdx.json"]
        return json.loads((folder / "sbom.cdx.json").read_text())

    def _build(self, tag: str, target: str, arguments: dict[str, str]) -> None:
        given = {
            "PYTHON_IMAGE": _PYTHON_IMAGE,
            "UV_IMAGE": _UV_IMAGE,
            "PACKAGE": tag,
            **arguments,
        }
        options = [
            part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")
        ]
        # A build behind a proxy that signs for everybody needs this machine's authorities.
        certificates = ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
        self._buildah(
            "build", "--isolation", "chroot", "--layers=false", "--target", target, *certificates, *options,
            "--file", str(DOCKERFILE), "--tag", tag, str(REPOSITORY),
        )  # fmt: skip

    def _make_python_image(self) -> None:
        base = self._keep / f"{_DEBIAN}.tar"
        if not base.exists():
            self._keep.mkdir(parents=True, exist_ok=True)
            unfinished = base.with_suffix(".unfinished.tar")
            excluded = [
                f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")
            ]
            self._run(
                "mmdebstrap", "--mode=root", "--variant=essential", "--quiet",
                "--include=python3,ca-certificates", *excluded, _DEBIAN, str(unfinished),
            )  # fmt: skip
            unfinished.replace(base)
        folder = self._folder / "python"
        # Where the official image has its pip, which ours must not have.
        for planted in ("bin/pip3.13", "lib/python3.13/site-packages/pip/__init__.py"):
            (folder / planted).parent.mkdir(parents=True, exist_ok=True)
            (folder / planted).touch(mode=0o755)
        os.link(base, folder / base.name) if _same_device(base, folder) else shutil.copy(
            base, folder
        )
        (folder / "Dockerfile").write_text(
            f"FROM scratch\nADD {base.name} /\nCOPY bin /usr/local/bin\nCOPY lib /usr/local/lib\n"
        )
        self._buildah("build", "--isolation", "chroot", "--tag", _PYTHON_IMAGE, str(folder))

    def _make_uv_image(self) -> None:
        folder = self._folder / "uv"
        folder.mkdir()
        shutil.copy(Path(sys.executable).with_name("uv"), folder)
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n")
        self._buildah("build", "--isolation", "chroot", "--tag", _UV_IMAGE, str(folder))

    def _let_enter(self, root: Path) -> None:
        """Containers' storage is root's alone; the image's user must reach its own root file system."""
        for parent in root.parents:
            if parent == self._folder:
                return
            parent.chmod(0o711)

    def _buildah(self, *arguments: str) -> str:
        store = ["--root", self._folder / "store", "--runroot", self._folder / "run"]
        return self._run("buildah", *store, "--storage-driver=vfs", *arguments)

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command,
            env={"PATH": _path(), "HOME": str(self._folder), "TMPDIR": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout


def in_sandbox(
    image: Image, command: list[str], environment: dict[str, str], secrets: Path, tmp: Path
) -> list:
    """The command that runs `command` in the image; to be started as `user(image)`."""
    own = [part for setting in image.config["Env"] for part in ("--setenv", *setting.split("=", 1))]
    more = [part for name, value in environment.items() for part in ("--setenv", name, value)]
    return [
        "bwrap", "--ro-bind", image.root, "/", "--proc", "/proc", "--dev", "/dev", "--bind", tmp, "/tmp",  # noqa: S108 - the sandbox's own
        "--ro-bind", secrets, "/mnt", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent",
        "--clearenv", *own, *more, "--chdir", image.config["WorkingDir"], "--", *command,
    ]  # fmt: skip


def user(image: Image) -> dict:
    """Who the image says that its processes are, as `subprocess` takes it."""
    uid, gid = image.config["User"].split(":")
    return {"user": int(uid), "group": int(gid), "extra_groups": []}


def run_in(image: Image, command: list[str], environment: dict[str, str], secrets: Path, tmp: Path):
    return subprocess.run(
        in_sandbox(image, command, environment, secrets, tmp),
        **user(image), env={"PATH": _path()}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@contextmanager
def serving_in(image: Image, environment: dict[str, str], secrets: Path, tmp: Path, log: Path):
    """The image's own command; gives the service's process, and ends it as Kubernetes does."""
    with log.open("w") as written:
        sandbox = subprocess.Popen(
            in_sandbox(image, image.config["Cmd"], environment, secrets, tmp),
            **user(image), env={"PATH": _path()}, stdout=written, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield lambda: _inside(sandbox)
    finally:
        for process in _inside(sandbox):
            process.terminate()
        try:
            sandbox.wait(30)
        except subprocess.TimeoutExpired:
            sandbox.kill()
            sandbox.wait()
            raise


def _inside(sandbox: subprocess.Popen) -> list[psutil.Process]:
    """The sandbox's processes that are not the sandbox's own."""
    children = psutil.Process(sandbox.pid).children(recursive=True)
    return [child for child in children if child.name() != "bwrap"]


def privileges(process: psutil.Process) -> dict[str, str]:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return dict(
        re.findall(r"^(Uid|Gid|Groups|CapEff|CapPrm|NoNewPrivs):\t(.*)$", status, re.MULTILINE)
    )


def programs(image: Image) -> set[str]:
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "app/bin")
    return {file.name for folder in folders for file in (image.root / folder).iterdir()}


def size(root: Path) -> int:
    return sum(file.lstat().st_size for file in root.rglob("*") if not file.is_dir())


def _same_device(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def _path() -> str:
    # Tools of the system's administrator are not on everybody's path; the local base's dpkg needs them.
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
