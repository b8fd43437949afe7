"""Routes of pages: a person who is refused, or meets a fault of ours, reads a page instead of a problem document."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from connector.domain.failures import PAGES, Failure, failure_of_status
from connector.handlers.browser import PageOf, deps_of, render
from pipeline_service_defaults.auth import Person, authenticate
from pipeline_service_defaults.docs import PROBLEM_CONTENT
from pipeline_service_defaults.problems import MEDIA_TYPE, Problem

log = structlog.get_logger(__name__)

_PAGE: Final[dict[str, Any]] = {"text/html": {"schema": {"type": "string"}}}
_REFUSAL: Final[dict[str, Any]] = {
    "description": "A page that explains it; without `text/html` in Accept, a problem document.",
    "content": {**_PAGE, MEDIA_TYPE: PROBLEM_CONTENT},
}
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The page.", "content": _PAGE},
    303: {"description": "On to another page, which says what happened."},
    "4XX": _REFUSAL,
    "5XX": _REFUSAL,
}
"""What every page may answer, for the OpenAPI document."""


class PageRoute(APIRoute):
    """A route whose every refusal is readable; programs, which do not ask for HTML, get the problem document."""

    def __init__(
        self, *given: Any, responses: dict[int | str, dict[str, Any]] | None = None, **named: Any
    ) -> None:
        super().__init__(*given, responses={**ANSWERS, **(responses or {})}, **named)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler with the last resort around it."""
        handle = super().get_route_handler()

        async def readable(request: Request) -> Response:
            if "text/html" not in request.headers.get("accept", ""):
                return await handle(request)
            try:
                return await handle(request)
            except Problem as problem:
                return constant_page(request, failure_of_problem(problem), problem.status)
            except HTTPException as problem:
                return page_of_status(request, problem.status_code)
            except RequestValidationError:
                return page_of_status(request, 422)
            except Exception:
                log.exception("page_failed")
                return page_of_status(request, 500)

        return readable


def person_or_none(request: Request) -> Person | None:
    """Who is signed in, for pages that explain themselves instead of answering with a problem document."""
    try:
        principal = authenticate(request)
    except Problem:
        return None
    return principal if isinstance(principal, Person) else None


def failure_of_problem(problem: Problem) -> Failure:
    """Which page stands for a refusal: a form of another site's page is no matter of roles, though it is a 403 too."""
    if problem.code == "CROSS_SITE_REQUEST":
        return Failure.FORM_EXPIRED
    return failure_of_status(problem.status)


def page_of_status(request: Request, status: int) -> Response:
    """The page of a refusal that happened before anything was known about the account."""
    return constant_page(request, failure_of_status(status), status)


def constant_page(request: Request, failure: Failure, status: int | None = None) -> Response:
    """A page of constant words, for whoever reads it: nothing of any account."""
    page = PAGES[failure]
    values = {
        "page": page,
        "failure": failure.value,
        "named": None,
        "bound": None,
        "missing": (),
        "is_admin": False,
        "base": None,
        "may_switch": False,
        "csrf": "",
    }
    return render(deps_of(request), PageOf("problem.html", values, status or page.status))
