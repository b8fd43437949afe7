"""Where a browser says a request comes from."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def comes_from_elsewhere(request: Request) -> bool:
    """Whether the browser itself says a changing request was caused by another site.

    Sec-Fetch-Site is decisive where it is sent; else Origin must name this host. Neither is sent by programs and
    old browsers, for which a page's own CSRF token stays the proof.
    """
    if request.method in _SAFE_METHODS:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
