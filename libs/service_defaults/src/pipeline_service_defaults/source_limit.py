"""How often one address of the internet may ask for public pages: a leaky bucket for each, in this process's memory.

It keeps one noisy address from taking the processor from everybody else. It is no defence against a flood from many
addresses, which has to be stopped before it reaches us.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from pipeline_service_defaults.problems import Problem

_MINUTE: Final = 60.0
_MOST_SOURCES: Final = 50_000
_IPV6_NETWORK: Final = 64
"""Bits of an IPv6 address that one customer of a provider shares; the rest is his to choose (RFC 6177)."""


class SourceLimit:
    """A dependency of public routes: `include_router(router, dependencies=[Depends(SourceLimit(600))])`.

    A source that was quiet for a minute may ask `per_minute` times at once, and from then on at that rate.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        trusted_proxies: int = 0,
        most_sources: int = _MOST_SOURCES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Limit each source.

        Args:
            per_minute: Requests of one source in a minute.
            trusted_proxies: Proxies of ours between the internet and us (see `source_of`).
            most_sources: Sources remembered; beyond them, the one that asked longest ago is forgotten.
            clock: Seconds that never go back.
        """
        self._apart = _MINUTE / per_minute
        self._trusted_proxies = trusted_proxies
        self._most_sources = most_sources
        self._clock = clock
        # When a source's requests so far would have been through, had they come evenly; the last to ask stands last.
        self._even_until: OrderedDict[str, float] = OrderedDict()

    async def __call__(self, request: Request) -> None:
        """Count a request. Raises Problem 429 TOO_MANY_REQUESTS with Retry-After where it is one too many."""
        peer = request.client.host if request.client else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        wait = self.wait_of(source_of(peer, forwarded, trusted_proxies=self._trusted_proxies))
        if wait > 0:
            raise Problem(
                429,
                "TOO_MANY_REQUESTS",
                "Too many requests",
                "More requests came from this internet address than one may send in a minute.",
                hint="Wait for as long as Retry-After says.",
                headers={"Retry-After": str(math.ceil(wait))},
            )

    def wait_of(self, source: str) -> float:
        """Seconds until this source may ask again; 0 where it may now, and then this request is counted."""
        now = self._clock()
        even_until = max(self._even_until.pop(source, now), now)
        wait = even_until + self._apart - _MINUTE - now
        self._even_until[source] = even_until if wait > 0 else even_until + self._apart
        if len(self._even_until) > self._most_sources:
            self._even_until.popitem(last=False)
        return max(wait, 0.0)


def source_of(peer: str, forwarded: str, *, trusted_proxies: int) -> str:
    """Who asks: an IPv4 address, the /64 network of an IPv6 address, or the peer as it is.

    Args:
        peer: The address at the other end of the connection.
        forwarded: `X-Forwarded-For`, to whose end each proxy adds the address it was asked from. What stands before the
            entries of our own proxies is whatever the sender wrote.
        trusted_proxies: How many proxies of ours a request passes; 0 believes nobody's header.
    """
    entries = [entry.strip() for entry in forwarded.split(",")] if forwarded else []
    if 0 < trusted_proxies <= len(entries):
        return _network_of(entries[-trusted_proxies]) or _network_of(peer) or peer
    return _network_of(peer) or peer


def _network_of(text: str) -> str | None:
    host = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:  # IPv4 with a port, as some proxies write it
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_NETWORK), strict=False))
    return str(address)
