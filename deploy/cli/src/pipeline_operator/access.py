"""Where the services and Kafka are, and the operator's credentials: from the environment, a profile, or `make up`.

One source of addresses is taken, never a mixture: the environment if it names any service, else the profile asked for,
else the local stack that runs in this folder. Credentials are only sent to the addresses of their own source, or to
those for which the operator gave them expressly.
"""

import getpass
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from pipeline_messaging.broker import KafkaSettings
from pipeline_operator.failure import Failure, Status
from pipeline_service_defaults.settings import KafkaAccess

SERVICES = ("connector", "invoice-sync", "payment-ingest")
CONFIG = Path("~/.config/pipeline-xero/config.toml")
_CLIENT = "pipeline-xero"
_LONGEST_TOKEN = 64 * 1024


@dataclass(frozen=True)
class Access:
    """How to reach one installation.

    Attributes:
        source: where the addresses come from, for people.
        given: every setting by its name in lower case, such as `connector_url` or `kafka_bootstrap_servers`.
        environment: the process's, for credentials.
        from_stdin: take the token from standard input.
        is_local: it is the stack of `make up`, whose Kafka is its own whatever the environment says.
        is_profile: it is a profile, whose Kafka is its own, too.
    """

    source: str
    given: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    from_stdin: bool = False
    is_local: bool = False
    is_profile: bool = False

    def url(self, service: str) -> str:
        """Address of a service. Raises Failure."""
        name = f"{service.replace('-', '_')}_url"
        address = str(self.given.get(name) or "").rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise Failure(
                Status.USAGE,
                f"The address of {service} is missing or no http(s) address ({self.source}).",
                f"Set PIPELINE_XERO_{name.upper()}, or {name} in the profile.",
            )
        return address

    @property
    def account(self) -> str | None:
        """The account that is meant where none is named."""
        return self.given.get("account")

    @property
    def operator(self) -> str:
        """Who is said to have done what is done in Kafka: the name given, else the login name. Raises Failure."""
        name = self.environment.get("PIPELINE_XERO_OPERATOR") or self.given.get("operator")
        try:
            return str(name or getpass.getuser())
        except (OSError, KeyError, ImportError):
            raise Failure(
                Status.USAGE, "Who you are is not known here.", "Set PIPELINE_XERO_OPERATOR."
            ) from None

    def token(self, service: str) -> SecretStr:
        """The credentials for a service. Raises Failure."""
        found = self._tokens
        token = found if isinstance(found, str) else str(found.get(service) or "")
        if not token or not token.isascii() or any(each.isspace() for each in token):
            raise Failure(
                Status.USAGE,
                f"There are no credentials for {service}, or they are no token.",
                "Put a session token of Pipeline, or a JSON object of service tokens by service, into PIPELINE_XERO_TOKEN,"
                " a file named by PIPELINE_XERO_TOKEN_FILE, or standard input with --token-stdin.",
            )
        return SecretStr(token)

    @cached_property
    def _tokens(self) -> str | Mapping[str, Any]:
        text = self._secret_text().strip()
        if text.startswith("{"):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                return ""
            return found if isinstance(found, dict) else ""
        return text

    def _secret_text(self) -> str:
        if self.from_stdin:
            return sys.stdin.read(_LONGEST_TOKEN)
        if token := self.environment.get("PIPELINE_XERO_TOKEN"):
            return token
        file = self.environment.get("PIPELINE_XERO_TOKEN_FILE") or self.given.get("token_file")
        if file:
            return _read(Path(str(file)), "The file with the token")
        return str(self.given.get("tokens") or "")

    def kafka(self) -> KafkaSettings:
        """How to reach Kafka. Raises Failure."""
        given = {name: value for name, value in self.given.items() if name.startswith("kafka_")}
        if self.is_local:
            return KafkaSettings(
                given["kafka_bootstrap_servers"],
                client_id=_CLIENT,
                enable_idempotence=given["kafka_enable_idempotence"],
            )
        if self.is_profile and not given.get("kafka_bootstrap_servers"):
            raise Failure(
                Status.USAGE,
                f"The {self.source} does not name its Kafka, and another one must not stand in for it.",
                "Add kafka_bootstrap_servers to the profile.",
            )
        try:
            # What else a profile leaves out, such as the password, comes from KAFKA_* of the environment.
            return KafkaSettings.of(_CLIENT, KafkaAccess(**given))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"]).upper() or "KAFKA"
            raise Failure(
                Status.USAGE,
                f"How to reach Kafka is not clear: {name}: {first['msg']} ({self.source}).",
                "Set KAFKA_BOOTSTRAP_SERVERS, and KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_* where the cluster asks for them.",
            ) from None


def find_access(
    profile: str | None,
    *,
    from_stdin: bool = False,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Access:
    """Decide which installation is meant. Raises Failure."""
    profile = profile or environment.get("PIPELINE_XERO_PROFILE")
    if profile:
        values = _of_profile(profile, environment)
        return Access(f"profile {profile}", values, environment, from_stdin, is_profile=True)
    names = ["account", *(f"{service.replace('-', '_')}_url" for service in SERVICES)]
    named = {name: environment.get(f"PIPELINE_XERO_{name.upper()}") for name in names}
    if any(named[name] for name in names if name.endswith("_url")):
        return Access("environment", named, environment, from_stdin)
    stack = _stack_file(environment, folder or Path.cwd())
    if stack is not None:
        return Access(
            f"local stack, {stack}", _of_stack(stack), environment, from_stdin, is_local=True
        )
    if environment.get("KAFKA_BOOTSTRAP_SERVERS"):
        return Access("environment", named, environment, from_stdin)  # enough for dead letters
    raise Failure(
        Status.USAGE,
        "Nothing says where the services are.",
        "Set PIPELINE_XERO_CONNECTOR_URL, PIPELINE_XERO_INVOICE_SYNC_URL and PIPELINE_XERO_PAYMENT_INGEST_URL, name a"
        f" profile of {CONFIG}, or run this in the folder where `make up` runs.",
    )


def _of_profile(profile: str, environment: Mapping[str, str]) -> Mapping[str, Any]:
    file = Path(environment.get("PIPELINE_XERO_CONFIG") or CONFIG).expanduser()
    try:
        found = tomllib.loads(_read(file, "The file with the profiles"))
    except tomllib.TOMLDecodeError as error:
        raise Failure(Status.USAGE, f"{file} is not TOML: {error}.", "Correct the file.") from None
    values = found.get(profile)
    if not isinstance(values, dict):
        known = ", ".join(sorted(name for name, each in found.items() if isinstance(each, dict)))
        raise Failure(
            Status.USAGE,
            f"{file} has no profile {profile!r}.",
            f"It has: {known or 'none'}.",
        )
    return values


def _of_stack(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(file, "The description of the local stack"))
        return {
            **{f"{name.replace('-', '_')}_url": found["urls"][name] for name in SERVICES},
            "account": found["account_id"],
            "tokens": json.dumps(found["service_tokens"]),
            "kafka_bootstrap_servers": found["kafka_bootstrap_servers"],
            "kafka_enable_idempotence": found["kafka_supports_idempotence"],
        }
    except (ValueError, KeyError, TypeError):
        raise Failure(
            Status.USAGE, f"{file} does not describe a local stack.", "Start it again: `make up`."
        ) from None


def _stack_file(environment: Mapping[str, str], folder: Path) -> Path | None:
    return next((file for file in _candidates(environment, folder) if file.is_file()), None)


def _candidates(environment: Mapping[str, str], folder: Path) -> Iterator[Path]:
    if local := environment.get("PIPELINE_XERO_LOCAL"):
        yield Path(local) / "stack.json"
        return
    for each in (folder, *folder.parents):
        yield each / ".local" / "stack.json"


def _read(file: Path, what: str) -> str:
    try:
        return file.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failure(
            Status.USAGE, f"{what}, {file}, cannot be read: {reason}.", "Check path and rights."
        ) from None
