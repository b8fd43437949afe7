"""What of TLS and SASL cannot be meant stops the start, in one sentence that names the setting."""

import io

import pytest
from secured_servers import Authority

from pipeline_service_defaults.settings import StorageSettings, load

SASL = {
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "connector",
    "KAFKA_SASL_PASSWORD": "hush-hush",
}
ADDRESS = "postgresql://connector:hush-hush@db.internal:5432/connector"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    key, certificate = Authority(folder, "authority").certificate("client")
    (folder / "client.key").write_text(key)
    (folder / "client.crt").write_text(certificate)
    (folder / "other.key").write_text(Authority(folder, "other").certificate("other")[0])
    (folder / "empty.crt").write_text("not a certificate\n")
    return folder


@pytest.fixture
def told(monkeypatch, files):
    """The sentences with which settings are refused; none when they are taken."""

    def tell(changes: dict[str, str]) -> str:
        given = {"DATABASE_URL": ADDRESS, "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093", **changes}
        for name in (
            *(name.upper() for name in StorageSettings.model_fields),
            "PGSSLMODE",
            "PGSSLROOTCERT",
        ):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value.replace("$", str(files)))
        stream = io.StringIO()
        try:
            load(StorageSettings, stream=stream)
        except SystemExit:
            assert "hush-hush" not in stream.getvalue()
        return stream.getvalue()

    return tell


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", **SASL},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SSL_CA_FILE": "$/authority.crt", **SASL},
        {
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CERT_FILE": "$/client.crt",
            "KAFKA_SSL_KEY_FILE": "$/client.key",
        },
        {"DATABASE_URL": f"{ADDRESS}?sslmode=verify-full&sslrootcert=$/authority.crt"},
        {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "$/authority.crt"},
        {"DATABASE_URL": f"{ADDRESS}?sslmode=disable", "PGSSLMODE": "verify-full"},
    ],
)
def test_what_belongs_together_is_taken(told, given):
    assert told(given) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_PASSWORD": "hush-hush"},
            "asks for SASL: KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME are needed too",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **SASL, "KAFKA_SASL_USERNAME": ""},
            "asks for SASL: KAFKA_SASL_USERNAME is needed too",
        ),
        (SASL, "KAFKA_SASL_MECHANISM: is set, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SASL_PASSWORD": "hush-hush"},
            "KAFKA_SASL_PASSWORD: is set, but KAFKA_SECURITY_PROTOCOL is SSL",
        ),
        (
            {"KAFKA_SSL_CA_FILE": "$/authority.crt"},
            "KAFKA_SSL_CA_FILE: is set, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT, which speaks no TLS",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "/nowhere/ca.crt"},
            "KAFKA_SSL_CA_FILE: '/nowhere/ca.crt' (there is no such file)",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "$/empty.crt"},
            "empty.crt holds no certificate",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERT_FILE": "$/client.crt"},
            "KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE belong together",
        ),
        (
            {
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "KAFKA_SSL_CERT_FILE": "$/client.crt",
                "KAFKA_SSL_KEY_FILE": "$/other.key",
            },
            "KAFKA_SSL_CERT_FILE: not a certificate (PEM) with the unencrypted key",
        ),
        (
            {"DATABASE_URL": f"{ADDRESS}?sslmode=full"},
            "DATABASE_URL: given, not shown (sslmode is 'full'",
        ),
        ({"PGSSLMODE": "verify-full"}, "sslmode=verify-full needs sslrootcert (or PGSSLROOTCERT)"),
        (
            {"DATABASE_URL": f"{ADDRESS}?sslmode=verify-full&sslrootcert=/nowhere/ca.crt"},
            "sslrootcert names /nowhere/ca.crt: there is no such file",
        ),
        (
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "$/empty.crt"},
            "it holds no certificate (PEM)",
        ),
        (
            {"PGSSLROOTCERT": "$/authority.crt"},
            "sslrootcert (or PGSSLROOTCERT) is set, but sslmode is prefer, which would not use it",
        ),
        (
            {
                "DATABASE_URL": f"{ADDRESS}?sslmode=disable",
                "PGSSLMODE": "verify-full",
                "PGSSLROOTCERT": "$/authority.crt",
            },
            "but sslmode is disable",
        ),
        (
            {"DATABASE_URL": f"{ADDRESS}?sslmode=require&sslcert=$/client.crt"},
            "sslcert and sslkey belong together",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(told, given, words):
    assert words in told(given)
