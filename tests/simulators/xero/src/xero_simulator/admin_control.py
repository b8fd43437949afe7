"""The hands of a test: limits, faults, clock, switches, consent, tokens, webhooks, call log."""

from dataclasses import asdict, fields
from itertools import islice
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, create_model

from xero_simulator.config import SettingInvalid, Switches, check_redirect_uri
from xero_simulator.faults import KINDS
from xero_simulator.limits import Limits, LimitSettings
from xero_simulator.webhooks import CATEGORIES, event_summary
from xero_simulator.wire import Json
from xero_simulator.world import AutoConsent, World


class Strict(BaseModel):
    """A misspelt field is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")


class LimitChange(Strict):
    """Limits; null lifts one, absent leaves it. `unlimited` lifts all."""

    concurrent: int | None = None
    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None
    unlimited: bool = False


class NewFault(Strict):
    """A scripted fault; see the README for the kinds."""

    kind: str
    method: str = "*"
    path: str = "*"
    tenant_id: str = ""
    nth: int = 1
    times: int = 1
    probability: float = 0.0
    seconds: float = 30.0
    text: Literal["maintenance", "unavailable", "organisation"] = "unavailable"


class ClockChange(Strict):
    """Moves, stops or restarts time."""

    advance: float = 0.0
    frozen: bool | None = None


class Consent(Strict):
    """How the consent page answers by itself."""

    user: str
    tenants: list[str] = []
    action: Literal["allow", "cancel"] = "allow"
    times: int = 1


class WebhookChange(Strict):
    """The subscription; absent fields stay."""

    url: str | None = None
    key: str | None = None
    status: Literal["enabled", "disabled", "awaiting_intent"] | None = None
    categories: list[str] | None = None
    batch_size: int | None = None
    batch_seconds: float | None = None
    retry_seconds: float | None = None
    drop_probability: float | None = None
    double_probability: float | None = None
    reorder_probability: float | None = None
    delay_seconds: float | None = None


class Who(Strict):
    """A user by e-mail; everybody when absent."""

    user: str | None = None


_SWITCH_FIELDS: dict[str, Any] = {
    field.name: (field.type | None, None)  # type: ignore[operator]
    for field in fields(Switches)
}
SwitchChange: Any = create_model("SwitchChange", __base__=Strict, **_SWITCH_FIELDS)


def control_router(world: World) -> APIRouter:  # noqa: C901, PLR0915 -- a table of routes
    """The routes of control."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Json:
        return {"status": "ok", "webhooks_idle": world.webhooks.idle}

    @router.post("/reset")
    async def reset() -> Json:
        world.reset()
        return {"status": "reset"}

    @router.get("/limits")
    async def limits() -> Json:
        return _limits(world.limits)

    @router.put("/limits")
    async def set_limits(body: LimitChange, tenant: str = "") -> Json:
        current = world.limits.settings_of(tenant) if tenant else world.limits.settings
        changed = LimitSettings(**asdict(current))
        if body.unlimited:
            changed = LimitSettings(None, None, None, None)
        for name, value in body.model_dump(exclude_unset=True, exclude={"unlimited"}).items():
            setattr(changed, name, value)
        if tenant:
            world.limits.overrides[tenant] = changed
        else:
            world.limits.settings = changed
        return _limits(world.limits)

    @router.delete("/limits/usage")
    async def forget_usage() -> Json:
        in_flight = {key: row.in_flight for key, row in world.limits.tenants.items()}
        for key, places in in_flight.items():
            counters = world.limits.tenant(key)
            counters.minute.calls.clear()
            counters.day.calls.clear()
            counters.in_flight = places
        world.limits.app.calls.clear()
        return _limits(world.limits)

    @router.get("/switches")
    async def switches() -> Json:
        return asdict(world.switches)

    @router.patch("/switches")
    async def set_switches(body: SwitchChange) -> Json:
        for name, value in body.model_dump(exclude_unset=True).items():
            setattr(world.switches, name, value)
        return asdict(world.switches)

    @router.get("/faults")
    async def faults() -> Json:
        rows = [asdict(fault) for fault in world.faults.faults]
        return {"seed": world.faults.seed, "kinds": sorted(KINDS), "faults": rows}

    @router.post("/faults", status_code=201)
    async def add_fault(body: NewFault) -> Json:
        try:
            return asdict(world.faults.add(**body.model_dump()))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @router.delete("/faults")
    async def clear_faults() -> Json:
        world.faults.faults.clear()
        return {"faults": []}

    @router.put("/faults/seed/{seed}")
    async def reseed(seed: int) -> Json:
        world.faults.reseed(seed)
        return {"seed": seed}

    @router.get("/clock")
    async def clock() -> Json:
        return {"now": world.clock.now().isoformat(), "frozen": world.clock.frozen}

    @router.post("/clock")
    async def set_clock(body: ClockChange) -> Json:
        if body.frozen is True:
            world.clock.freeze()
        elif body.frozen is False:
            world.clock.resume()
        world.clock.advance(body.advance)
        return {"now": world.clock.now().isoformat(), "frozen": world.clock.frozen}

    @router.get("/calls")
    async def calls(since: int = 0, tenant: str = "", path: str = "", limit: int = 1000) -> Json:
        rows = list(islice(world.calls.select(since, tenant, path), limit))
        return {"count": world.calls.count, "calls": rows}

    @router.get("/calls/summary")
    async def call_summary() -> Json:
        return world.calls.summary()

    @router.put("/consent")
    async def arrange_consent(body: Consent) -> Json:
        if world.user_by_email(body.user) is None:
            raise HTTPException(404, f"no user {body.user}")
        world.auto_consent = AutoConsent(body.user, tuple(body.tenants), body.action, body.times)
        return asdict(world.auto_consent)

    @router.delete("/consent")
    async def ask_again() -> Json:
        world.auto_consent = None
        return {}

    @router.get("/redirect-uris")
    async def redirect_uris() -> list[str]:
        return world.redirect_uris

    @router.post("/redirect-uris", status_code=201)
    async def add_redirect_uri(uri: str) -> list[str]:
        try:
            check_redirect_uri(uri)
        except SettingInvalid as error:
            raise HTTPException(422, str(error)) from error
        if uri not in world.redirect_uris:
            world.redirect_uris.append(uri)
        return world.redirect_uris

    @router.get("/connections")
    async def connections() -> list[Json]:
        return [
            {
                "connection_id": row.connection_id,
                "user_id": row.user_id,
                "tenant_id": row.tenant_id,
                "created": row.created.isoformat(),
            }
            for row in world.grants.connections.values()
        ]

    @router.delete("/connections/{tenant}")
    async def disconnect(tenant: str) -> Json:
        """What a person does under Connected apps: tokens keep working, the tenant is gone."""
        return {"removed": world.grants.disconnect_tenant(tenant)}

    @router.post("/tokens/expire")
    async def expire(body: Who) -> Json:
        """Access tokens run out now."""
        return {"expired": world.grants.expire_access(world.clock.now(), _user_id(world, body))}

    @router.post("/tokens/revoke")
    async def revoke(body: Who) -> Json:
        """The consent ends: refreshing answers invalid_grant, connections are gone."""
        wanted = _user_id(world, body)
        users = list(world.users) if wanted is None else [wanted]
        for user_id in users:
            world.grants.revoke_user(user_id)
        return {"revoked": users}

    _webhook_routes(router, world)
    return router


def _webhook_routes(router: APIRouter, world: World) -> None:
    sender = world.webhooks

    @router.get("/webhooks")
    async def webhooks() -> Json:
        return _subscription(world)

    @router.patch("/webhooks")
    async def change(body: WebhookChange) -> Json:
        changes = body.model_dump(exclude_unset=True)
        if unknown := set(changes.get("categories") or ()) - CATEGORIES:
            raise HTTPException(422, f"unknown categories {sorted(unknown)}")
        status = changes.pop("status", None)
        for name, value in changes.items():
            kept = frozenset(value) if name == "categories" else value
            setattr(sender.subscription, name, kept)
        if status == "enabled":
            sender.enable()
        elif status == "disabled":
            sender.disable()
        elif status is not None:
            sender.subscription.status = status
        return _subscription(world)

    @router.get("/webhooks/deliveries")
    async def deliveries(limit: int = 100) -> list[Json]:
        return event_summary(sender.deliveries)[-limit:]

    @router.post("/webhooks/intent-to-receive")
    async def intent() -> Json:
        if not sender.subscription.url:
            raise HTTPException(409, "no webhook URL is configured")
        return await sender.intent_to_receive()


def _subscription(world: World) -> Json:
    sender = world.webhooks
    shown = asdict(sender.subscription)
    del shown["key"]
    counts: dict[str, int] = {}
    for delivery in sender.deliveries:
        counts[delivery.status] = counts.get(delivery.status, 0) + 1
    return shown | {
        "categories": sorted(sender.subscription.categories),
        "idle": sender.idle,
        "deliveries": counts,
        "events_dropped": sender.dropped,
        "last_sequence": sender.sequence,
        "verdicts": sender.verdicts,
    }


def _limits(limits: Limits) -> Json:
    return {
        "default": asdict(limits.settings),
        "tenants": {key: asdict(row) for key, row in limits.overrides.items()},
    }


def _user_id(world: World, body: Who) -> str | None:
    if body.user is None:
        return None
    user = world.user_by_email(body.user)
    if user is None:
        raise HTTPException(404, f"no user {body.user}")
    return user.user_id
