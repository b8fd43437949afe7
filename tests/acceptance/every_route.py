"""Every route that the running services document, to be tried."""

from collections.abc import Iterator, Mapping

import httpx

from pipeline_local_stack.stack import SERVICES, Stack

PUBLIC = {
    "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json",
    "/webhooks/xero", "/oauth/xero/callback", "/oauth/xero/continue",
}  # fmt: skip


def routes(stack: Stack) -> Iterator[tuple[str, str, str]]:
    """Service, method and template of each that is not for everybody."""
    for service in SERVICES:
        document = httpx.get(f"{stack.urls[service]}/openapi.json").json()
        for path, operations in document["paths"].items():
            for method in operations:
                if path not in PUBLIC and not path.startswith("/static"):
                    yield service, method.upper(), path


def filled(path: str, account: str = "demo", ids: Mapping[str, str] | None = None) -> str:
    """The path with the account, and each other parameter by its name or as `x`."""
    path = path.replace("{account_id}", account)
    while "{" in path:
        start, end = path.index("{"), path.index("}")
        name = path[start + 1 : end].partition(":")[0]
        path = f"{path[:start]}{(ids or {}).get(name, 'x')}{path[end + 1 :]}"
    return path
