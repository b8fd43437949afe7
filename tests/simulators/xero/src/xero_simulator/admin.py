"""The admin API: a person working in Xero, and the hands of a test. Loopback callers only.

There is no password by design: the simulator holds no secret worth one, and refuses every admin
call that does not come from the machine itself.
"""

import ipaddress
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from xero_simulator.admin_control import control_router
from xero_simulator.admin_people import people_router
from xero_simulator.messages import RuleBroken
from xero_simulator.wire import Unreadable
from xero_simulator.world import World


def create_admin(world: World) -> FastAPI:
    """The admin app over one world; its own pages are under /admin/docs."""
    admin = FastAPI(
        title="Xero simulator: admin",
        docs_url="/admin/docs",
        redoc_url=None,
        openapi_url="/admin/openapi.json",
    )
    admin.include_router(people_router(world), prefix="/admin")
    admin.include_router(control_router(world), prefix="/admin")

    @admin.middleware("http")
    async def loopback_only(
        request: Request, proceed: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if not _is_local(request.client.host if request.client else ""):
            return JSONResponse({"detail": "the admin API answers loopback callers only"}, 403)
        return await proceed(request)

    @admin.exception_handler(RuleBroken)
    async def rule_broken(_request: Request, refusal: RuleBroken) -> Response:
        return JSONResponse({"detail": list(refusal.messages)}, 422)

    @admin.exception_handler(Unreadable)
    async def unreadable(_request: Request, error: Unreadable) -> Response:
        return JSONResponse({"detail": f"the body is not JSON: {error}"}, 400)

    return admin


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
