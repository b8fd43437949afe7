"""Errors as RFC 9457 problem documents.

Every answer that is not a success has the same form, says what to do next where that is known, and repeats
nothing of the request: values a caller sent may be secrets or markup.
"""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20


class Problem(Exception):  # noqa: N818 - named after the document it becomes
    """Raise anywhere below a route to answer with a problem document.

    Args:
        status: HTTP status.
        code: Stable machine word in capitals, such as ``NOT_CONNECTED``.
        title: The kind of problem in a few words; the status in words by default.
        detail: One sentence about this occurrence.
        hint: The next step for whoever reads it.
        headers: Extra answer headers.
        extra: Further members of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str | None = None,
        detail: str | None = None,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title or http.HTTPStatus(status).phrase
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self) -> dict[str, Any]:
        """The members of the problem document."""
        members = {
            "type": f"urn:pipeline:problem:{self.code.lower().replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        }
        return {key: value for key, value in members.items() if value is not None} | self.extra

    def response(self) -> Response:
        """The answer, for code that stands outside FastAPI's exception handling."""
        return JSONResponse(
            self.document(), status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def install(app: FastAPI) -> None:
    """Make an application answer every error as a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return error.response()


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return invalid_request(error.errors()).response()


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem for a request whose parts do not validate; names each field and what it should be."""
    found = [
        {"field": _field(item["loc"]), "message": str(item["msg"]).removeprefix("Value error, ")}
        for item in errors[:_MOST_ERRORS]
    ]
    first = found[0] if found else {"field": "request", "message": "is not valid"}
    return Problem(
        422,
        "INVALID_REQUEST",
        "The request is not valid",
        f"{first['field']}: {first['message']}",
        hint="Correct the named fields and send the request again; /docs describes them.",
        errors=found,
    )


def _field(location: Sequence[Any]) -> str:
    # A key of the caller's own making may stand in a location; shortened, it stays readable and harmless.
    return ".".join(str(part)[:64] for part in location) or "request"


_HTTP_ERRORS: Mapping[int, tuple[str, str, str]] = {
    401: ("UNAUTHENTICATED", "A valid token for this service is needed.", "Sign in again."),
    403: ("NOT_ALLOWED", "This is not allowed.", "Ask an administrator of your account."),
    404: (
        "NOT_FOUND",
        "There is nothing at this address.",
        "/docs lists the addresses of this service.",
    ),
    405: (
        "METHOD_NOT_ALLOWED",
        "This address does not take this method.",
        "/docs lists the methods of each address.",
    ),
    413: ("BODY_TOO_LARGE", "The request body is too large.", "Send less in one request."),
}


async def _on_http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return from_http_error(error).response()


def from_http_error(error: HTTPException) -> Problem:
    """The problem for an error raised by the framework; its own words are left out."""
    fallback = (f"HTTP_{error.status_code}", None, None)
    code, detail, hint = _HTTP_ERRORS.get(error.status_code, fallback)
    return Problem(error.status_code, code, detail=detail, hint=hint, headers=error.headers)


async def _on_unexpected(_: Request, error: Exception) -> Response:
    # Starlette raises the error on to the server after this answer, and the server logs it.
    del error
    return unexpected().response()


def unexpected() -> Problem:
    """The problem for a fault of ours; says nothing about its cause."""
    return Problem(
        500,
        "INTERNAL_ERROR",
        "Something went wrong on our side",
        "The request could not be completed.",
        hint="Try again; if it keeps happening, give the X-Request-Id of this answer to your administrator.",
    )
