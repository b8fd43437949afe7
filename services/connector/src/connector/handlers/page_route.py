"""Routes of pages: a person who is refused, or meets a fault of ours, reads a page instead of a problem document."""

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from connector.domain.failures import PAGES, Failure, failure_of_status
from connector.handlers.browser import PageOf, deps_of, render
from pipeline_service_defaults import page_routes
from pipeline_service_defaults.auth import Person, authenticate
from pipeline_service_defaults.problems import Problem

log = structlog.get_logger(__name__)


class PageRoute(page_routes.PageRoute):
    """A route whose refusals are the connector's pages."""

    def refusal(self, request: Request, error: Exception) -> Response:
        """The page that stands for it; a fault of ours is logged."""
        match error:
            case Problem():
                return constant_page(request, failure_of_problem(error), error.status)
            case HTTPException():
                return page_of_status(request, error.status_code)
            case RequestValidationError():
                return page_of_status(request, 422)
            case _:
                log.error("page_failed", exc_info=error)
                return page_of_status(request, 500)


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
