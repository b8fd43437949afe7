"""Taking secrets out of what is logged. Pure.

The allowlist decides which fields are logged at all; this is the second line, for a secret inside an allowed text
such as an exception's message.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"
LONGEST_TEXT = 16_384

_PATTERNS = (
    # A JWT, also one cut short.
    re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"-----BEGIN [A-Z ]+-----[\s\S]*?(?:-----END [A-Z ]+-----|\Z)"),
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
# name=value, "name": "value", name: value; for the names secrets go by. Every repetition is bounded: an attacker
# may choose the text, and an open one would let a long line hold up the whole process.
_NAMED = re.compile(
    r"(?i)((?:secret|passw(?:or)?d|token|authorization|api[_-]?key|private[_-]?key|verifier|cookie)"
    r"[\w-]{0,30}[\"']?\s{0,3}[:=]\s{0,3})(?:\"[^\"]{0,4096}\"|'[^']{0,4096}'|[^\s,;&}\])]+)"
)
# OAuth answers carry code and state in a query string.
_IN_QUERY = re.compile(r"(?i)([?&](?:code|state|nonce|session_state)=)[^&\s\"']+")
# What a random secret looks like when nothing names it: long, one run, letters and digits.
_OPAQUE = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{40,}={0,2}"
)
# Most of what is logged is a short word of these characters, and none of the patterns finds anything in such a word: to
# ask them all, for every field of every line, took a twentieth of a busy service's processor time.
_HARMLESS = re.compile(r"(?!.*eyJ)[A-Za-z0-9_./{}-]{0,39}")


def redact_text(text: str) -> str:
    """The text with everything that looks like a secret replaced, cut to a length a log line should have."""
    if _HARMLESS.fullmatch(text):
        return text
    return _without_secrets(text)


def _without_secrets(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}…"
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", text)
    return _OPAQUE.sub(HIDDEN, text)


def redact(value: Any) -> Any:
    """A loggable copy of a value: texts redacted, containers walked, anything else in words."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {redact_text(str(key)): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    return redact_text(str(value))
