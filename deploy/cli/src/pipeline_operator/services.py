"""Calls of the services' public HTTP APIs, with every way they fail told in a sentence."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from pipeline_operator.access import Access
from pipeline_operator.failure import Failure, Status

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_TRIES = 4
_LONGEST_WAIT = 60.0
"""A longer Retry-After is told instead of waited for."""
_DEFAULT_WAIT = 2.0
_LIMITED = httpx.codes.TOO_MANY_REQUESTS
_AWAY = httpx.codes.SERVICE_UNAVAILABLE


class Services:
    """The three services of one installation, called as the operator."""

    def __init__(
        self,
        access: Access,
        say: Callable[[str], None],
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`say` is told when a limit has to be waited for."""
        self._access = access
        self._say = say
        self._sleep = sleep
        # Redirects are not followed: they would carry the token elsewhere. The machine's own CAs and SSL_CERT_FILE count,
        # not a list in a package; its proxies do for everything but what runs on it.
        self._http = httpx.Client(
            timeout=_TIMEOUT,
            transport=transport,
            verify=ssl.create_default_context(),
            trust_env=not access.is_local,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, service: str, path: str, **query: Any) -> Any:
        """What a service answers, as JSON. Raises Failure."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._json(service, self._call(service, "GET", path, params=params))

    def send(self, service: str, method: str, path: str, body: Any = None) -> Any:
        """Have a service do something; its answer, or None where it has none. Raises Failure."""
        content = {} if body is None else {"json": body}
        reply = self._call(service, method, path, **content)
        return None if not reply.content else self._json(service, reply)

    def pages(self, service: str, path: str, key: str, **query: Any) -> Iterator[Any]:
        """Every row of a list that is answered page by page. Raises Failure."""
        after = None
        while True:
            page = self.get(service, path, after=after, **query)
            yield from page[key]
            after = page["next_after"]
            if after is None:
                return

    def metrics(self, service: str) -> dict[str, float]:
        """The figures of the replica that answers, each summed over nothing: by name and labels. Raises Failure."""
        reply = self._call(service, "GET", "/metrics", secret=False)
        found = {}
        for line in reply.text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                try:
                    found[name] = float(value)
                except ValueError:
                    continue
        return found

    def _call(
        self, service: str, method: str, path: str, *, secret: bool = True, **content: Any
    ) -> httpx.Response:
        url = self._access.url(service) + path
        headers = {"Accept": "application/json"}
        if secret:
            token = self._access.token(service).get_secret_value()
            headers["Authorization"] = f"Bearer {token}"
        for attempt in range(1, _TRIES + 1):
            reply = self._once(service, method, url, headers, content)
            if reply.is_success:
                return reply
            wait = _wait_of(reply)
            # 429 and 503 with a Retry-After say that nothing was done, so whatever was asked may be asked again.
            if wait is None or wait > _LONGEST_WAIT or attempt == _TRIES:
                raise refusal(service, reply, wait)
            self._say(f"{service} asks to wait {wait:.0f} s.")
            self._sleep(wait)
        raise AssertionError("unreachable")

    def _once(
        self, service: str, method: str, url: str, headers: Mapping[str, str], content: Any
    ) -> httpx.Response:
        where = f"{service} at {self._access.url(service)}"
        check = f"Check the address ({self._access.source}) and that the service runs."
        done = "" if method == "GET" else " It may have been done all the same: look first."
        try:
            return self._http.request(method, url, headers=dict(headers), **content)
        except httpx.ConnectError:
            raise Failure(Status.UNREACHABLE, f"{where} cannot be reached.", check) from None
        except httpx.TimeoutException:
            raise Failure(
                Status.UNREACHABLE,
                f"{where} did not answer in time.{done}",
                "Try again; if it stays so, look at the service's /health/ready and log.",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(
                Status.UNREACHABLE, f"{where} broke off ({type(error).__name__}).{done}", check
            ) from None

    def _json(self, service: str, reply: httpx.Response) -> Any:
        try:
            return reply.json()
        except (ValueError, RecursionError):
            raise Failure(
                Status.UNREACHABLE,
                f"What answered at {self._access.url(service)} is not {service}: its answer is no JSON.",
                f"Check the address ({self._access.source}).",
            ) from None


def refusal(service: str, reply: httpx.Response, wait: float | None) -> Failure:
    """The failure an answer means, in the service's own words where it has any."""
    problem = _problem(reply)
    said = str(problem.get("detail") or problem.get("title") or f"it answered {reply.status_code}")
    hint = str(problem.get("hint") or "")
    name = f"{service}: "
    match reply.status_code:
        case 401:
            return Failure(
                Status.NOT_ALLOWED,
                f"{name}the credentials were refused: none, expired, or not for this service.",
                "Get a fresh token (PIPELINE_XERO_TOKEN, PIPELINE_XERO_TOKEN_FILE or --token-stdin) and try again.",
            )
        case 403:
            return Failure(Status.NOT_ALLOWED, name + said, hint or "Ask an administrator.")
        case 404:
            return Failure(Status.NOT_FOUND, name + said, hint or "Check the id and the account.")
        case 429:
            when = f" It says: not before {wait:.0f} s." if wait is not None else ""
            return Failure(Status.LIMITED, name + said + when, hint or "Try again later.")
        case status if 400 <= status < 500:  # noqa: PLR2004 - what the caller can change
            return Failure(Status.REFUSED, name + said, hint or "Correct it and try again.")
        case _:
            request = reply.headers.get("x-request-id")
            named = f" (request {request})" if request else ""
            return Failure(
                Status.UNREACHABLE,
                f"{name}{said}{named}",
                hint or "Try again; if it stays so, look at the service's log.",
            )


def path_of(*parts: str) -> str:
    """An address under `/v1`, whatever the ids hold."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _wait_of(reply: httpx.Response) -> float | None:
    """How long the answer asks to wait; None where asking again would not help."""
    given = reply.headers.get("retry-after", "")
    if reply.status_code not in {_LIMITED, _AWAY}:
        return None
    if given.isascii() and given.isdigit():
        return float(given[:9])
    return _DEFAULT_WAIT if reply.status_code == _LIMITED and not given else None


def _problem(reply: httpx.Response) -> Mapping[str, Any]:
    try:
        found = reply.json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
