"""Fetches the jars of the Apache Kafka server, pinned by version and checksum, into the checkout's cache."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from jgo.constants import MAVEN_CENTRAL_URL

from pipeline_local_stack.paths import CACHE, StackError

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact: Maven coordinates and the SHA-256 of its file, in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in the cache and in the repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """The path below a Maven repository's root."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.filename}"


def read_lock(text: str) -> list[Jar]:
    """The jars of a lock file: lines of `group:artifact:version sha256:<hex>`."""
    jars = []
    for line in text.splitlines():
        coordinates, checksum = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, checksum.removeprefix("sha256:")))
    return jars


def kafka_version() -> str:
    """The version of Apache Kafka that the lock file pins."""
    return next(
        jar.version for jar in read_lock(LOCK_FILE.read_text()) if jar.artifact == "kafka_2.13"
    )


def fetch_kafka_jars(say: Callable[[str], None] = lambda _: None) -> list[Path]:
    """All jars of the server's class path, downloaded where the cache lacks them.

    An interrupted download goes on where it stopped; a file with a wrong checksum is never used.

    Raises:
        StackError: the repository cannot be reached, or serves something else than what is pinned.
    """
    directory = CACHE / "kafka" / kafka_version()
    directory.mkdir(parents=True, exist_ok=True)
    jars = read_lock(LOCK_FILE.read_text())
    with (directory / "lock").open("w") as lock:
        # Two that start in one checkout at the same time would write the same files.
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [jar for jar in jars if not _is_whole(directory / jar.filename, jar.sha256)]
        if missing:
            say(f"Downloading Apache Kafka {kafka_version()} ({len(missing)} jars, once)…")
            _download_all(missing, directory)
    return [directory / jar.filename for jar in jars]


def _download_all(jars: list[Jar], directory: Path) -> None:
    # A mirror takes the place of Maven Central, whose address the jgo library knows.
    repository = os.environ.get("MAVEN_REPOSITORY_URL", MAVEN_CENTRAL_URL)
    with httpx.Client(timeout=60, follow_redirects=True) as http, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda jar: _download(http, repository, jar, directory), jars))


def _is_whole(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(http: httpx.Client, repository: str, jar: Jar, directory: Path) -> None:
    part = directory / f"{jar.filename}.part"
    url = f"{repository}/{jar.repository_path}"
    why = ""
    for _attempt in range(3):
        have = part.stat().st_size if part.exists() else 0
        try:
            with http.stream(
                "GET", url, headers={"Range": f"bytes={have}-"} if have else {}
            ) as reply:
                if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    pass  # the part is already as long as the file: the checksum decides
                else:
                    reply.raise_for_status()
                    resumed = reply.status_code == httpx.codes.PARTIAL_CONTENT
                    with part.open("ab" if resumed else "wb") as out:
                        for chunk in reply.iter_bytes():
                            out.write(chunk)
        except httpx.HTTPStatusError as error:
            raise StackError(
                f"Could not download {jar.filename}: {repository} answered {error.response.status_code}. "
                "Set MAVEN_REPOSITORY_URL to a mirror of Maven Central that has it."
            ) from error
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            continue  # the next attempt resumes
        if _is_whole(part, jar.sha256):
            part.replace(directory / jar.filename)
            return
        part.unlink()
        why = "what came has another checksum than the pinned one"
    raise StackError(
        f"Could not download {jar.filename} from {repository} ({why}): check the network, "
        "or set MAVEN_REPOSITORY_URL to a mirror of Maven Central. "
        "Without any, `make up BROKER=tansu` runs a demo broker that keeps nothing."
    )
