"""A real Kafka and a real Postgres that ask who comes: TLS, SCRAM, and an authoriser with `deploy/kafka/acls.yaml`."""

import asyncio
import ipaddress
import os
import secrets
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline_local_stack.kafka import Broker, Protection, start_kafka
from pipeline_local_stack.paths import ROOT
from pipeline_local_stack.postgres import Postgres, start_postgres
from pipeline_local_stack.processes import free_port
from pipeline_local_stack.stack import Servers

ACLS = yaml.safe_load((ROOT / "deploy/kafka/acls.yaml").read_text())
ADMIN = "admin"
INSTALLER = "installer"
# What docs/operate/install.md says that whoever makes the topics needs.
_INSTALLERS = [
    {
        "resource": {"type": "cluster", "name": "kafka-cluster", "patternType": "literal"},
        "operations": ["Create"],
    },
    {
        "resource": {"type": "topic", "name": "pipeline.", "patternType": "prefix"},
        "operations": ["Describe", "DescribeConfigs"],
    },
]
_PATIENCE_SECONDS = 60
# Numbers of Kafka's protocol: clients' ResourceType, PatternType and AclOperation.
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
_PATTERNS = {"literal": 3, "prefix": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3


class Authority:
    """Signs certificates for this machine's names."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._signed(self._name, self._key.public_key(), is_authority=True)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(certificate)
        self.pem = certificate.decode()

    def certificate(self, common_name: str) -> tuple[str, str]:
        """A private key and its certificate for localhost, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return private, self._signed(name, key.public_key(), is_authority=False).decode()

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> bytes:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=12))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Secured:
    """The two servers' authority, and the passwords of Kafka's users."""

    folder: Path
    authority: Authority
    passwords: dict[str, str]
    postgres_package: str
    certificates_port: int = field(default_factory=free_port)
    """Of Kafka's listener that takes clients by their certificates."""

    def kafka_environment(self, principal: str) -> dict[str, str]:
        """A service's settings, with which it enters as `principal`."""
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": principal,
            "KAFKA_SASL_PASSWORD": self.passwords[principal],
            "KAFKA_SSL_CA_FILE": str(self.authority.file),
        }

    def certificate_environment(self, principal: str) -> dict[str, str]:
        """A service's settings, with which it enters as `principal` by a certificate of its own."""
        files = {}
        for name, pem in zip(("key", "crt"), self.authority.certificate(principal), strict=True):
            files[name] = self.folder / f"{principal}.{name}"
            files[name].write_text(pem)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.certificates_port}",
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_FILE": str(self.authority.file),
            "KAFKA_SSL_CERT_FILE": str(files["crt"]),
            "KAFKA_SSL_KEY_FILE": str(files["key"]),
        }

    def client(self, principal: str) -> dict:
        """aiokafka's options to enter as `principal`."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": principal,
            "sasl_plain_password": self.passwords[principal],
            "ssl_context": ssl.create_default_context(cafile=self.authority.file),
        }

    @property
    def database_environment(self) -> dict[str, str]:
        return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(self.authority.file)}

    def servers(self) -> Servers:
        return Servers(self._kafka, self._postgres, self._prepare_kafka)

    def _kafka(self) -> Broker:
        key, certificate = self.authority.certificate("broker")
        keys = self.folder / "broker.pem"
        keys.write_text(key + certificate)
        keys.chmod(0o600)
        tls = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keys),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
        }
        certificates = f"CERTIFICATES://127.0.0.1:{self.certificates_port}"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        settings = {
            "listeners": f"CLIENTS://127.0.0.1:{{port}},{certificates},CONTROLLER://127.0.0.1:{{controller_port}}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{{port}},{certificates}",
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CERTIFICATES:SSL,CONTROLLER:SSL",
            "listener.name.certificates.ssl.client.auth": "required",
            # The certificate's common name is the principal, as it is with SCRAM: one list of rights for both.
            "listener.name.certificates.ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": (
                f'{login} username="{ADMIN}" password="{self.passwords[ADMIN]}";'
            ),
            # The broker enters its own controller with its certificate.
            "listener.name.controller.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN};User:CN=broker",
            **tls,
        }
        return start_kafka(
            "kafka-secured", self.folder, protection=Protection(settings, self.passwords)
        )

    def _postgres(self) -> Postgres:
        key, certificate = self.authority.certificate("database")
        files = {
            "server.key": key,
            "server.crt": certificate,
            "pg_hba.conf": "hostssl all all all scram-sha-256\n",
            "postgresql.auto.conf": "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n",
        }
        return start_postgres("postgres-secured", self.folder, files, self.postgres_package)

    async def _prepare_kafka(self, bootstrap_servers: str) -> None:
        await allow(bootstrap_servers, self.client(ADMIN))
        await self._make_topics(bootstrap_servers)

    async def _make_topics(self, bootstrap_servers: str) -> None:
        """As an operator does, with no more rights than that needs."""
        command = [Path(sys.executable).with_name("pipeline-xero"), "topics", "create"]
        environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            **self.kafka_environment(INSTALLER),
        }
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            made = await asyncio.create_subprocess_exec(
                *command, "--replication-factor", "1", env=environment,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await made.communicate()
            if made.returncode == 0:
                return
            # A broker that just started does not yet count as one to place replicas on.
            assert time.monotonic() < deadline, said.decode()


def secured(folder: Path, postgres_package: str) -> Secured:
    passwords = {user: secrets.token_urlsafe(24) for user in (ADMIN, INSTALLER, "nobody", *ACLS)}
    return Secured(folder, Authority(folder, "authority"), passwords, postgres_package)


async def allow(bootstrap_servers: str, options: dict) -> None:
    """Give every principal what the list says, and the installer its own."""
    wanted = [
        CreateAclsRequest(
            _RESOURCES[entry["resource"]["type"]],
            entry["resource"]["name"],
            _PATTERNS[entry["resource"]["patternType"]],
            f"User:{principal}",
            "*",
            _OPERATIONS[operation],
            _ALLOW,
        )
        for principal, entries in (ACLS | {INSTALLER: _INSTALLERS}).items()
        for entry in entries
        for operation in entry["operations"]
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, **options)
    await admin.start()
    try:
        for request in wanted:
            answer = await admin._send_request(request)
            assert [code for code, _ in answer.creation_responses] == [0], answer
    finally:
        await admin.close()
