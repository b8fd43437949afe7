"""Would Xero's intent-to-receive check pass? The requests to try it with, and what each answer means in words.

Before Xero delivers anything it posts several bodies without events, some of them wrongly signed. Each must be answered within 5
seconds by an empty 200 or, if wrongly signed, an empty 401, without cookies, over HTTPS on port 443
(developer.xero.com/documentation/webhooks/configuring-your-server). The same is asked for here, with the keys at hand.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from payment_ingest.domain.signature import sign

PATH = "/webhooks/xero"
ANSWER_SECONDS = 5.0
_HTTPS_PORT = 443
_VERDICTS = frozenset({HTTPStatus.OK, HTTPStatus.UNAUTHORIZED})
_LONGEST_SHOWN = 100
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Probe:
    """One request: `key` is the position of the key that signed it rightly, None if it is wrongly signed."""

    name: str
    body: bytes
    signature: bytes | None
    key: int | None = None

    @property
    def wanted(self) -> int:
        """The status Xero wants to see."""
        return HTTPStatus.UNAUTHORIZED if self.key is None else HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `location` is where a redirect points."""

    status: int
    has_body: bool = False
    sets_cookie: bool = False
    location: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back, and why, as the end of "the endpoint …"."""

    why: str


Reply = Answer | NoAnswer


def delivery_url(address: str) -> str:
    """The URL to paste at Xero, from the public address of payment-ingest or from that URL itself.

    Raises:
        ValueError: It is no address that anybody could deliver to.
    """
    given = address.strip()
    try:
        parts = urlsplit(given)
        # Read for its check only: a port that is no number is said here and not by whatever connects.
        _ = parts.port
        is_deliverable = parts.scheme in {"http", "https"} and _is_host(parts.hostname or "")
    except ValueError:
        is_deliverable = False
    if not is_deliverable or not given.isprintable() or " " in given:
        raise ValueError(
            f"{given[:_LONGEST_SHOWN]!r} is no web address: one such as https://payments.example.com is needed"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address must have no user, query or fragment")
    path = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_host(name: str) -> bool:
    """Whether it is an IP address or can be looked up.

    Raises:
        UnicodeError: A part of it is empty or too long (a kind of ValueError).
    """
    return _HOST.fullmatch(name.encode("idna").decode()) is not None


def objections(url: str) -> list[str]:
    """Why Xero would not even try the URL."""
    parts = urlsplit(url)
    if parts.hostname in _LOOPBACK:
        return []
    found = []
    if parts.scheme != "https":
        found.append(
            "Xero delivers over HTTPS only: give the endpoint a certificate and paste its https address."
        )
    elif parts.port not in {None, _HTTPS_PORT}:
        found.append("Xero delivers to port 443 only: publish the endpoint there.")
    return found


def probes(keys: Sequence[bytes], entropy: str, strange_key: bytes) -> list[Probe]:
    """What to send: two rightly signed bodies for each key, then one of each wrong kind.

    Args:
        keys: The webhook keys.
        entropy: Makes the bodies of this check different from those of any other.
        strange_key: A key that nobody has.
    """
    intent = {"events": [], "firstEventSequence": 0, "lastEventSequence": 0}
    right = []
    for position, key in enumerate(keys):
        name = f"key {position + 1} of {len(keys)}"
        compact = _compact(intent | {"entropy": f"{entropy}-{position}"})
        # Who reads the JSON and writes it again leaves the first body as it is, and not the second.
        spaced = (
            json.dumps({"entropy": f"{entropy}-{position}"} | intent, indent=3).encode() + b"\n"
        )
        right.append(Probe(name, compact, sign(key, compact), position))
        right.append(Probe(f"{name}, body with spaces", spaced, sign(key, spaced), position))
    body = _compact(intent | {"entropy": f"{entropy}-wrong"})
    good = sign(keys[0], body)
    wrong = [
        Probe("signed with a strange key", body, sign(strange_key, body)),
        Probe("body changed after signing", body.replace(b"0", b"1", 1), good),
        Probe("signature cut short", body, good[:-4]),
        Probe("no signature", body, None),
    ]
    return right + wrong


def _compact(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def complaint(probe: Probe, reply: Reply) -> str | None:
    """What is wrong with the answer by itself; None when Xero would be content with it."""
    match reply:
        case NoAnswer(why):
            return f"The endpoint {why}."
        case Answer(location=str() as location):
            return f"It redirects to {location}, and Xero follows no redirects: paste an address that answers by itself."
        case Answer(status=status) if status != probe.wanted:
            return _wrong_status(probe, status)
        case Answer(has_body=True):
            return "The answer is not empty: something in front of payment-ingest adds a body; Xero refuses that."
        case Answer(sets_cookie=True):
            return "The answer sets a cookie: switch that off in what stands in front of payment-ingest; Xero refuses it."
    return None


def _wrong_status(probe: Probe, status: int) -> str:
    match status:
        case HTTPStatus.OK:
            return "It was ACCEPTED although it is wrongly signed: something answers in payment-ingest's place."
        case HTTPStatus.UNAUTHORIZED:
            return "The signature was refused."
        case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED:
            return f"Answered {status}: this address does not lead to payment-ingest."
        case HTTPStatus.SERVICE_UNAVAILABLE if probe.key is not None:
            return "Answered 503: payment-ingest cannot reach its database, or what stands before it finds no service."
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return f"Answered {status}: what stands in front of payment-ingest cannot reach it."
    return f"Answered {status} instead of {probe.wanted}: something else than payment-ingest answers the request."


def cause(tried: Sequence[tuple[Probe, Reply]]) -> str | None:
    """What refused signatures mean when they are looked at together; None when no right one was refused."""
    verified: dict[int, list[bool]] = {}
    for probe, reply in tried:
        if probe.key is not None and isinstance(reply, Answer) and reply.status in _VERDICTS:
            verified.setdefault(probe.key, []).append(reply.status == HTTPStatus.OK)
    if any(any(each) and not all(each) for each in verified.values()):
        return (
            "Something between here and payment-ingest rewrites the body: the same key was refused only where that"
            " shows. Have it pass the bytes on untouched."
        )
    refused = [str(position + 1) for position, each in verified.items() if not any(each)]
    if not refused:
        return None
    if len(refused) < len(verified):
        return (
            f"The running service does not have key {' and '.join(refused)}: restart it with the XERO_WEBHOOK_KEYS of"
            " this command, or take away a key that is no longer used."
        )
    return (
        "Not one key is right: the running service was started with other XERO_WEBHOOK_KEYS than this command, or"
        " something in front of it takes x-xero-signature away or rewrites the body."
    )
