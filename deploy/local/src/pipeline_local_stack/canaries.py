"""Known secrets, and where they turn up although they must not: raw or encoded, whole or any 16 characters of them."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

WINDOW = 16
_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True, slots=True)
class Leak:
    """A piece of a secret in a place where anybody may read. Says which secret, never the secret."""

    secret: str
    encoding: str
    where: str


class Canaries:
    """The secrets of one run. Every form of every secret is cut into windows, and all text is looked through once."""

    def __init__(self) -> None:
        self._windows: dict[bytes, tuple[str, str]] = {}
        self.names: set[str] = set()

    def watch(self, name: str, secret: str | bytes) -> None:
        """Look for this secret from now on. Raises ValueError for one too short to be told from chance."""
        value = secret.encode() if isinstance(secret, str) else secret
        if len(value) < WINDOW:
            raise ValueError(f"{name} has {len(value)} bytes: at least {WINDOW} are needed")
        self.names.add(name)
        for encoding, form in forms(value):
            for window in windows(form):
                self._windows.setdefault(window, (name, encoding))

    def watch_jwt(self, name: str, token: str) -> None:
        """A JWT without its header, which is the same for many and no secret."""
        self.watch(name, token.split(".", 1)[1])

    def leaks(self, where: str, text: str | bytes) -> set[Leak]:
        """What of the secrets is in a text, and any JWT at all: nobody but a test ever names one in the open."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        known = self._windows
        found = {
            Leak(*known[window], where)
            for window in {data[i : i + WINDOW] for i in range(len(data) - WINDOW + 1)}
            & known.keys()
        }
        if _JWT.search(data):
            found.add(Leak("some JWT", "raw", where))
        return found


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Every way in which a secret is looked for."""
    yield "raw", secret
    yield "hex", secret.hex().encode()
    yield "hex", secret.hex().upper().encode()
    yield "url", quote(secret, safe="").encode()
    yield "url", quote_plus(secret, safe="").encode()
    yield "url", quote(secret, safe="").lower().encode()
    yield "url", b"".join(b"%%%02X" % byte for byte in secret)
    for alignment in range(3):
        # Bytes in front shift the groups of three; the characters they share with the secret say nothing about it.
        shifted = base64.b64encode(bytes(alignment) + secret)
        pure = shifted[(0, 2, 3)[alignment] :].rstrip(b"=")
        pure = pure if (alignment + len(secret)) % 3 == 0 else pure[:-1]
        yield "base64", pure
        yield "base64", pure.translate(bytes.maketrans(b"+/", b"-_"))


def windows(form: bytes) -> Iterable[bytes]:
    """Every run of 16 characters of a form."""
    return {form[i : i + WINDOW] for i in range(len(form) - WINDOW + 1)}
