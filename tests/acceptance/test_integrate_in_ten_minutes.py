"""The page "Integrate in ten minutes", followed to the letter beside the running system."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pages import Run, Save, steps_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "integrate-in-ten-minutes.md"
FOLDER = ROOT / ".local" / "ten-minutes"
_PATIENCE = 120


class Reader:
    """Somebody in a terminal in the folder of the clone."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._environment = dict(os.environ)

    def run(self, step: Run) -> None:
        """A command that ends; what it exports stays in the terminal."""
        left = self._notes / "environment"
        ran = subprocess.run(
            ["/bin/sh", "-ec", f"{step.commands}\nenv -0 > {left}"],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, f"{step.commands}: {ran.stdout}{ran.stderr}"
        for line in step.prints:
            assert line.search(ran.stdout), f"{line.pattern} not in: {ran.stdout}"
        pairs = left.read_text().rstrip("\0").split("\0")
        self._environment = dict(pair.partition("=")[::2] for pair in pairs)

    def run_until_it_prints(self, step: Run) -> None:
        """A command that goes on until it is stopped, as Kubernetes stops it."""
        output = self._notes / "output"
        with (
            output.open("wb") as out,
            subprocess.Popen(
                # `exec`: the signal is for the program, not for the shell around it.
                ["/bin/sh", "-ec", f"exec {step.commands}"],
                cwd=ROOT,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                self._wait_for(step, process, output)
                process.terminate()
                process.wait(_PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
        printed = output.read_text()
        assert process.returncode == 0, printed
        assert "Traceback" not in printed
        assert "Error" not in printed

    def _wait_for(self, step: Run, process: subprocess.Popen[bytes], output: Path) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not all(line.search(output.read_text()) for line in step.prints):
            assert process.poll() is None, f"ended: {output.read_text()}"
            assert time.monotonic() < deadline, f"never printed: {step}; but: {output.read_text()}"
            time.sleep(0.05)


@pytest.fixture
def no_folder():
    shutil.rmtree(FOLDER, ignore_errors=True)
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)


def test_the_page_does_what_it_says(stack, npm, no_folder, tmp_path):
    reader = Reader(tmp_path)
    until_stopped = 0
    for step in steps_of(PAGE.read_text("utf-8")):
        match step:
            case Save(path, text):
                assert (ROOT / path).parent == FOLDER
                (ROOT / path).write_text(text)
            case Run(until_stopped=True):
                reader.run_until_it_prints(step)
                until_stopped += 1
            case Run():
                reader.run(step)
    assert until_stopped == 2
