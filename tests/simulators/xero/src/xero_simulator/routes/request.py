"""What a resource route gets, and the replies it can give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xero_simulator import messages
from xero_simulator.contacts import Scene
from xero_simulator.idempotency import Answer
from xero_simulator.ids import NIL
from xero_simulator.messages import RuleBroken
from xero_simulator.state import Books
from xero_simulator.wire import Json, Unreadable, dumps, envelope, loads, parse_flag
from xero_simulator.world import World

JSON = ("Content-Type", "application/json; charset=utf-8")
HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain; charset=utf-8")


class ApiError(Exception):
    """Ends a call with a ready answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One authorised call of one tenant."""

    world: World
    books: Books
    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    refusal: str = ""
    """What a scripted fault has Xero say of every element of this write."""

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean query parameter."""
        return parse_flag(self.query.get(name.lower()), default=default)

    def parameter(self, name: str) -> str:
        """A query parameter, by any case of its name; empty when absent."""
        return self.query.get(name.lower(), "")

    @property
    def unit_places(self) -> int:
        """4 with `unitdp=4`, else 2."""
        return 4 if self.parameter("unitdp") == "4" else 2

    def scene(self) -> Scene:
        """The surroundings of a write by the app."""
        return self.world.scene(self.books, unit_places=self.unit_places)

    def reply(
        self, members: Mapping[str, object], paging: tuple[int, int, int] | None = None
    ) -> Answer:
        """200 with the envelope."""
        world = self.world
        body = envelope(
            world.ids.guid(), world.settings.provider, world.clock.now(), members, paging=paging
        )
        return Answer(200, (JSON,), dumps(body))

    def elements(self, plural: str) -> list[Json]:
        """The elements of the body: one object, or a list under the plural name.

        Raises:
            ApiError: 400 PostDataInvalidException.
        """
        try:
            body = loads(self.body)
        except Unreadable as error:
            raise ApiError(post_data_invalid("Invalid Json data")) from error
        rows: Any = body.get(plural, [body]) if isinstance(body, dict) else body
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            raise ApiError(post_data_invalid(f"No data for {plural} was found in the request"))
        return rows


def not_found() -> Answer:
    """404 as recorded: text/html with one sentence."""
    return Answer(404, (HTML,), messages.NOT_FOUND.encode())


def post_data_invalid(detail: str) -> Answer:
    """400 for a body Xero cannot read."""
    return _exception(14, "PostDataInvalidException", detail)


def query_malformed(detail: str) -> Answer:
    """400 for a `where` or `order` Xero cannot read."""
    return _exception(16, "QueryParseException", detail)


def validation_failed(elements: Sequence[Json]) -> Answer:
    """400 with the elements that broke rules."""
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": list(elements),
    }
    return Answer(400, (JSON,), dumps(body))


def _exception(number: int, kind: str, detail: str) -> Answer:
    return Answer(400, (JSON,), dumps({"ErrorNumber": number, "Type": kind, "Message": detail}))


@dataclass(frozen=True, slots=True)
class Writer:
    """How elements of one resource are written and shown.

    Attributes:
        plural: The name of the list in bodies.
        id_key: The field that holds the id.
        apply: Applies one element; gives the id written and the warnings.
        show: The element as the reply shows it.
        flag: The field that says an element has errors.
    """

    plural: str
    id_key: str
    apply: Callable[[Scene, Json], tuple[str, Sequence[str]]]
    show: Callable[[str], Json]
    flag: str = "HasErrors"


def write(request: ApiRequest, rows: Sequence[Json], writer: Writer) -> Answer:
    """Writes elements one by one and reports the way `summarizeErrors` asks for.

    Without `summarizeErrors=false` one bad element makes the whole answer a 400 (recorded, although
    the specification calls `false` the default); whether the good ones are then saved is a switch.
    """
    summarise = request.flag("summarizeErrors", default=True)
    outcomes: list[tuple[Json, bool]] = []
    with request.books.atomic() as undo:
        outcomes.extend(_write_one(request, row, writer, summarise=summarise) for row in rows)
        failed = [shown for shown, ok in outcomes if not ok]
        if failed and summarise and request.world.switches.atomic_without_summarize:
            undo()
    request.world.commit(request.books)
    if failed and summarise:
        return validation_failed(failed)
    return request.reply({writer.plural: [shown for shown, _ in outcomes]})


def _write_one(
    request: ApiRequest, row: Json, writer: Writer, *, summarise: bool
) -> tuple[Json, bool]:
    if request.refusal:
        scripted = RuleBroken(request.refusal)
        return _refused(row, writer, scripted, summarise=summarise), False
    try:
        with request.books.atomic():
            record_id, warnings = writer.apply(request.scene(), row)
    except RuleBroken as refusal:
        return _refused(row, writer, refusal, summarise=summarise), False
    except KeyError:
        unknown = RuleBroken(f"{writer.id_key} could not be found")
        return _refused(row, writer, unknown, summarise=summarise), False
    shown = writer.show(record_id)
    if warnings:
        shown["Warnings"] = [{"Message": text} for text in warnings]
    if not summarise:
        shown["StatusAttributeString"] = "WARNING" if warnings else "OK"
    return shown, True


def _refused(row: Json, writer: Writer, refusal: RuleBroken, *, summarise: bool) -> Json:
    """Echoes what was *asked for*, whatever the record really says; the id is nil if there is none."""
    echo: Json = {writer.id_key: NIL} | row
    if not echo[writer.id_key]:
        echo[writer.id_key] = NIL
    echo[writer.flag] = True
    echo["ValidationErrors"] = [{"Message": text} for text in refusal.messages]
    if not summarise:
        echo["StatusAttributeString"] = "ERROR"
    return echo
