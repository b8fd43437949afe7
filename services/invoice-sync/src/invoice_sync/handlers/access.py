"""Who may call, and under which name a change by hand is recorded."""

from typing import Annotated

from fastapi import Depends, Request

from invoice_sync.deps import Deps
from pipeline_service_defaults.auth import Person, Principal, require_access

BACKEND = "pipeline-backend"

Reader = Annotated[Principal, Depends(require_access("viewer", BACKEND))]
Admin = Annotated[Principal, Depends(require_access("admin", BACKEND))]
Writer = Annotated[Principal, Depends(require_access("operator", BACKEND))]


def deps_of(request: Request) -> Deps:
    """What the verbs need, as the application's start put it together."""
    deps: Deps = request.app.state.deps
    return deps


def name_of(principal: Principal) -> str:
    """The caller's name for the audit."""
    return (
        f"user:{principal.user_id}"
        if isinstance(principal, Person)
        else f"service:{principal.name}"
    )
