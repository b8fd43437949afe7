"""Both fuzz targets for a bounded time, from the seeds in tests/data: a minute in CI, a few seconds elsewhere.

Atheris (libFuzzer for Python) has wheels for Linux on x86_64 only; elsewhere this is left out by name.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
TARGETS = ("webhook", "ledger")
SECONDS = int(os.environ.get("FUZZ_SECONDS") or (60 if os.environ.get("STRICT") == "1" else 6))


def seeds(target: str, folder: Path) -> None:
    if target == "ledger":
        for file in sorted((DATA / "fuzz_ledger").glob("*.jsonl")):
            (folder / file.name).write_bytes(file.read_bytes())
        return
    for file in sorted((DATA / "xero_webhooks").glob("*.json")):
        # The pages of single categories show one event without what is around it.
        envelope = b'{"events":[%s]}' if file.stem.endswith("-event") else b"%s"
        for how in range(6):  # each way to sign; the rest of the first byte is the fuzzer's to find
            (folder / f"{file.stem}-{how}").write_bytes(bytes([how]) + envelope % file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(SECONDS + 120)
def test_no_input_breaks_what_must_hold(target, tmp_path, atheris):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    seeds(target, corpus)
    command = [
        sys.executable,
        str(HERE / f"{target}_target.py"),
        f"-max_total_time={max(1, SECONDS // len(TARGETS))}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={tmp_path}/",
        str(corpus),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        found = sorted(
            file
            for file in tmp_path.iterdir()
            if file.name.startswith(("crash-", "timeout-", "oom-"))
        )
        shown = "".join(
            f"\n{file.name}: {file.read_bytes()!r}\nto repeat: {' '.join(command[:2])} {file}\n"
            for file in found
        )
        pytest.fail(f"{shown}{(done.stdout + done.stderr)[-4000:]}", pytrace=False)
    assert "DONE" in done.stderr
    sys.stdout.write(done.stderr.strip().splitlines()[-1])
