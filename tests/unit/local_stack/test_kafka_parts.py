import hashlib
from pathlib import Path

import httpx
import pytest

from pipeline_local_stack import java, kafka, kafka_jars
from pipeline_local_stack.kafka_jars import Jar
from pipeline_local_stack.paths import StackError

CONTENT = b"PK" + b"x" * 5000
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize(
    ("output", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 1),
        ('openjdk version "25.0.2" 2026-01-20 LTS', 25),
        ("command not found", None),
    ],
)
def test_the_version_of_java_is_read_from_what_it_says(output, major):
    assert java.java_major(output) == major


def test_every_pinned_jar_has_coordinates_and_a_checksum():
    jars = kafka_jars.read_lock(kafka_jars.LOCK_FILE.read_text())
    assert len(jars) > 40
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert JAR.repository_path == "org/example/thing/1.0/thing-1.0.jar"


def test_the_broker_listens_on_loopback_and_never_creates_topics():
    text = kafka.broker_properties(1, 2, Path("/d"))
    assert "listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n" in text
    assert "auto.create.topics.enable=false" in text


def _serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, handler) -> None:
    client = httpx.Client
    monkeypatch.setattr(kafka_jars, "CACHE", tmp_path)
    monkeypatch.setattr(kafka_jars, "read_lock", lambda _: [JAR])
    monkeypatch.setattr(kafka_jars, "kafka_version", lambda: "1")
    monkeypatch.setattr(
        kafka_jars.httpx, "Client", lambda **_: client(transport=httpx.MockTransport(handler))
    )


def test_a_download_goes_on_where_it_stopped(monkeypatch, tmp_path):
    (tmp_path / "kafka" / "1").mkdir(parents=True)
    (tmp_path / "kafka" / "1" / "thing-1.0.jar.part").write_bytes(CONTENT[:1000])
    ranges = []

    def rest(request: httpx.Request) -> httpx.Response:
        ranges.append(request.headers.get("Range"))
        return httpx.Response(206, content=CONTENT[1000:])

    _serve(monkeypatch, tmp_path, rest)
    (jar,) = kafka_jars.fetch_kafka_jars()
    assert jar.read_bytes() == CONTENT
    assert ranges == ["bytes=1000-"]
    kafka_jars.fetch_kafka_jars()
    assert len(ranges) == 1, "what the cache holds is not downloaded again"


def test_a_wrong_checksum_is_never_used(monkeypatch, tmp_path):
    _serve(monkeypatch, tmp_path, lambda _: httpx.Response(200, content=b"something else"))
    with pytest.raises(StackError, match="another checksum"):
        kafka_jars.fetch_kafka_jars()
    assert not (tmp_path / "kafka" / "1" / "thing-1.0.jar").exists()


def test_a_repository_without_the_jar_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MAVEN_REPOSITORY_URL", "https://mirror.example")
    _serve(monkeypatch, tmp_path, lambda _: httpx.Response(404))
    with pytest.raises(StackError, match=r"https://mirror\.example answered 404"):
        kafka_jars.fetch_kafka_jars()
