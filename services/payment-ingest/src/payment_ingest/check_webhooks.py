"""Say what to paste at Xero, and try Xero's intent-to-receive check against the running endpoint."""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Sequence

import httpx

from payment_ingest.domain.intent_to_receive import (
    ANSWER_SECONDS,
    Answer,
    NoAnswer,
    Probe,
    Reply,
    cause,
    complaint,
    objections,
    probes,
)

Say = Callable[[str], None]

_HEADERS = {"content-type": "application/json; charset=utf-8"}


def explain(url: str, say: Say) -> None:
    """Print what a person does at Xero and at the service, in order."""
    say("At developer.xero.com/app/manage, open the app and its page Webhooks:")
    say(
        "  1. Tick Invoices, and Credit notes, Prepayments, Overpayments and Payments where the page has them."
    )
    say("     Contacts and Subscriptions are not needed.")
    say(f"  2. Delivery URL: {url}")
    say(
        "  3. Save. Put the webhooks key that Xero shows then into the secret that becomes the environment variable"
    )
    say(
        "     XERO_WEBHOOK_KEYS of payment-ingest, and restart it. While one key replaces another, name both: new,old"
    )
    say(
        "  4. Run this command again; when everything is ok, press 'Send Intent to receive' at Xero."
    )


async def check(url: str, keys: Sequence[bytes], say: Say) -> bool:
    """Try the check and print each step; whether Xero's would pass. Keys are named by their position only."""
    passes = True
    tried: list[tuple[Probe, Reply]] = []
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
        for probe in probes(keys, secrets.token_hex(8), secrets.token_bytes(32)):
            reply = await _send(client, url, probe)
            tried.append((probe, reply))
            wrong = complaint(probe, reply)
            passes &= wrong is None
            if wrong is not None:
                say(f"  FAILED  {probe.name}: {wrong}")
            elif isinstance(reply, Answer):
                say(f"  ok      {probe.name}: {reply.status}, empty, in {reply.seconds:.2f} s")
            if isinstance(reply, NoAnswer):
                break  # the others would meet the same, each after its own wait
    common = cause(tried)
    for sentence in [*objections(url), *([common] if common else [])]:
        passes = False
        say(f"  {sentence}")
    return passes


async def _send(client: httpx.AsyncClient, url: str, probe: Probe) -> Reply:
    headers: dict[str, str] = {**_HEADERS}
    if probe.signature is not None:
        headers["x-xero-signature"] = probe.signature.decode()
    began = time.monotonic()
    try:
        # httpx's own limits are for each step; Xero's is for the whole.
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            client.stream("POST", url, content=probe.body, headers=headers) as reply,
        ):
            first = await anext(reply.aiter_raw(), b"")
            return Answer(
                status=reply.status_code,
                has_body=bool(first),
                sets_cookie="set-cookie" in reply.headers,
                location=reply.headers.get("location") if reply.is_redirect else None,
                seconds=time.monotonic() - began,
            )
    except (TimeoutError, httpx.TimeoutException):
        return NoAnswer(
            f"did not answer within {ANSWER_SECONDS:.0f} seconds, and Xero waits no longer"
        )
    except httpx.TransportError as error:
        return NoAnswer(_words(error))


def _words(error: httpx.TransportError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"shows a certificate that is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return f"could not be reached: {str(error) or type(error).__name__}"
