"""Routes of pages: a person who is refused, or meets a fault of ours, reads a page instead of a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.routing import APIRoute

from pipeline_service_defaults.docs import PROBLEM_CONTENT
from pipeline_service_defaults.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request
    from starlette.responses import Response

_PAGE: Final[dict[str, Any]] = {"text/html": {"schema": {"type": "string"}}}
_REFUSAL: Final[dict[str, Any]] = {
    "description": "A page that explains it; without `text/html` in Accept, a problem document.",
    "content": {**_PAGE, MEDIA_TYPE: PROBLEM_CONTENT},
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The page.", "content": _PAGE},
    303: {"description": "On to another page, which says what happened."},
    "4XX": _REFUSAL,
    "5XX": _REFUSAL,
}


class PageRoute(APIRoute):
    """A route whose every refusal is readable; programs, which do not ask for HTML, get the problem document.

    A service says in `refusal` which page stands for which error.
    """

    def __init__(
        self, *given: Any, responses: dict[int | str, dict[str, Any]] | None = None, **named: Any
    ) -> None:
        """Take what `APIRoute` takes; to `responses` is added what every page may answer, for the OpenAPI document."""
        super().__init__(*given, responses={**_ANSWERS, **(responses or {})}, **named)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler with the last resort around it."""
        handle = super().get_route_handler()

        async def readable(request: Request) -> Response:
            if "text/html" not in request.headers.get("accept", ""):
                return await handle(request)
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, a person reads the answer
                page = self.refusal(request, error)
                if isinstance(error, Problem):
                    page.headers.update(error.headers)  # such as Retry-After
                return page

        return readable

    def refusal(self, request: Request, error: Exception) -> Response:
        """The page that says what went wrong, in constant words."""
        raise NotImplementedError
