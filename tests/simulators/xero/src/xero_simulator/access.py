"""Who may call: bearer tokens, tenants and scopes, with Xero's odd refusals."""

from collections.abc import Mapping

from xero_simulator.grants import Access
from xero_simulator.idempotency import Answer
from xero_simulator.routes.request import JSON
from xero_simulator.wire import Json, dumps
from xero_simulator.world import World

UNSUCCESSFUL = "AuthenticationUnsuccessful"


class AccessRefused(Exception):  # noqa: N818 -- the refusal, not a fault of the program
    """Ends a call with 401 or 403."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def bearer(world: World, headers: Mapping[str, str]) -> Access:
    """The access a call's token gives.

    Raises:
        AccessRefused: 401; an expired token says since when, any other just fails.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    access = world.grants.accesses.get(token.strip()) if scheme.lower() == "bearer" else None
    if access is None:
        raise AccessRefused(refusal(world, 401, UNSUCCESSFUL, "invalid_token"))
    if access.expires <= world.clock.now():
        moment = access.expires.strftime("%m/%d/%Y %H:%M:%S")
        detail = f"TokenExpired: token expired at {moment}"
        raise AccessRefused(refusal(world, 401, detail, "invalid_token"))
    return access


def check_tenant(world: World, access: Access, tenant_id: str) -> None:
    """Refuses a missing, foreign or disconnected tenant.

    Raises:
        AccessRefused: 403 (or what the switch says for a disconnected tenant).
    """
    if tenant_id in world.books and world.grants.reaches(access.user_id, tenant_id):
        return
    own = world.users[access.user_id].tenant_ids if access.user_id in world.users else ()
    status = world.switches.disconnected_status if tenant_id in own else 403
    raise AccessRefused(refusal(world, status, UNSUCCESSFUL, ""))


def insufficient_scope(world: World) -> Answer:
    """401 with insufficient_scope."""
    return refusal(
        world, 401, "AuthorizationUnsuccessful: insufficient_scope", "insufficient_scope"
    )


def refusal(world: World, status: int, detail: str, challenge: str) -> Answer:
    """The recorded problem body of 401 and 403."""
    instance = world.ids.guid()
    body: Json = {
        "Type": None,
        "Title": "Unauthorized" if status == 401 else "Forbidden",
        "Status": status,
        "Detail": detail,
        "Instance": instance,
        "Extensions": {},
    }
    headers = [JSON, ("Xero-Correlation-Id", instance)]
    if challenge:
        headers.append(("WWW-Authenticate", f"Bearer error={challenge}"))
    return Answer(status, tuple(headers), dumps(body))
