"""What comes with this repository: no secret, as a scanner with some hundred rules sees it and its history; locked packages."""

import subprocess
import tomllib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline_local_stack.paths import ROOT

FOUND = 200
"""Kingfisher's exit status when it found something."""


def scan(scanner: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Asks nobody: what is found is not tried out, and no newer version is looked for.

    What git ignores is no part of the repository: pytest's cache holds the names of tests, bad addresses among them.
    """
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    options = ["--no-validate", "--no-update-check"]
    options += [part for each in ignored for part in ("--exclude", each.rstrip("/"))]
    return subprocess.run(
        [scanner, "scan", folder, *options],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_nothing_in_the_repository_looks_like_a_secret(kingfisher: Path) -> None:
    done = scan(kingfisher, ROOT)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert "Blobs Scanned" in done.stdout + done.stderr


def test_every_dependency_is_locked_by_hash() -> None:
    """Of every file that may be installed, and none from anywhere but the package index."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    fetched = [each for each in lock["package"] if "registry" in each["source"]]
    assert len(fetched) > 100
    files = [
        file
        for each in fetched
        for file in [*each.get("wheels", ()), *filter(None, [each.get("sdist")])]
    ]
    assert [file for file in files if not file["hash"].startswith("sha256:")] == []
    ours = [each for each in lock["package"] if "registry" not in each["source"]]
    assert {kind for each in ours for kind in each["source"]} <= {"editable", "virtual"}


def test_a_planted_secret_is_found(kingfisher: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "service-key.pem").write_bytes(key)
    done = scan(kingfisher, tmp_path)
    assert done.returncode == FOUND
    assert "service-key.pem" in done.stdout
