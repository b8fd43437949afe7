"""The subset of Xero's `where` and `order` expressions that the simulator evaluates.

Comparisons (`== = != <> < <= > >=`) of a field with text, number, true/false, null, `guid("…")`
or `DateTime(y,m,d)`; `.Contains/.StartsWith/.EndsWith("…")`; AND, OR and brackets. Text compares
without case. Anything else is malformed.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

Getter = Callable[[Any], object]
Predicate = Callable[[Any], bool]


class QueryMalformed(ValueError):  # noqa: N818 -- named after the condition Xero reports
    """Xero answers 400 QueryParseException."""


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed condition; `equals` holds the top-level AND-ed equalities, for index look-ups."""

    matches: Predicate
    equals: Mapping[str, object]


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|""|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?)[mMdD]?(?![\w.])
    | (?P<op>==|!=|<>|>=|<=|&&|\|\||=|>|<|\(|\)|,)
    | (?P<name>[A-Za-z_][\w.]*)
    )""",
    re.VERBOSE,
)
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_METHODS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda whole, part: part in whole,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def parse_where(text: str, fields: Mapping[str, Getter]) -> Where:
    """Parses a condition over the given fields.

    Raises:
        QueryMalformed: It is not in the grammar, or names an unknown field.
    """
    parser = _Parser(_tokens(text), fields)
    predicate = parser.either()
    parser.end()
    equals = {} if parser.alternatives else parser.equals
    return Where(predicate, equals)


def parse_order(text: str, fields: Mapping[str, Getter]) -> list[tuple[Getter, bool]]:
    """Parses `Field [ASC|DESC], …` to (getter, descending) pairs.

    Raises:
        QueryMalformed: It names an unknown field or direction.
    """
    keys = []
    for part in text.split(","):
        words = part.split()
        if (
            not words
            or len(words) > 2
            or words[-1].upper() not in {"ASC", "DESC", words[0].upper()}
        ):
            raise QueryMalformed(f"Order by '{part.strip()}' is not understood")
        keys.append((_field(words[0], fields), words[-1].upper() == "DESC" and len(words) > 1))
    return keys


def _field(name: str, fields: Mapping[str, Getter]) -> Getter:
    getter = fields.get(name.lower())
    if getter is None:
        raise QueryMalformed(f"No property or field '{name}' exists")
    return getter


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or match.lastgroup is None:
            raise QueryMalformed(f"Syntax error at position {position}")
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], fields: Mapping[str, Getter]) -> None:
        self._tokens = tokens
        self._fields = fields
        self._at = 0
        self.equals: dict[str, object] = {}
        self.alternatives = False

    def either(self) -> Predicate:
        sides = [self._all()]
        while self._take_word({"or", "||"}):
            self.alternatives = True
            sides.append(self._all())
        return sides[0] if len(sides) == 1 else lambda row: any(side(row) for side in sides)

    def end(self) -> None:
        if self._at != len(self._tokens):
            raise QueryMalformed(f"Syntax error at '{self._tokens[self._at][1]}'")

    def _all(self) -> Predicate:
        sides = [self._one()]
        while self._take_word({"and", "&&"}):
            sides.append(self._one())
        return sides[0] if len(sides) == 1 else lambda row: all(side(row) for side in sides)

    def _one(self) -> Predicate:
        if self._take_word({"("}):
            inner = self.either()
            self._expect(")")
            return inner
        name = self._name()
        path, _, method = name.rpartition(".")
        if method.lower() in _METHODS:
            return self._call(_field(path, self._fields), _METHODS[method.lower()])
        getter = _field(name, self._fields)
        kind, symbol = self._next()
        if kind != "op" or symbol not in _COMPARE:
            raise QueryMalformed(f"Operator expected after '{name}'")
        value = self._value()
        if symbol in {"==", "="}:
            self.equals[name.lower()] = value
        return _comparison(getter, _COMPARE[symbol], value, negative=symbol in {"!=", "<>"})

    def _call(self, getter: Getter, method: Callable[[str, str], bool]) -> Predicate:
        self._expect("(")
        part = self._value()
        self._expect(")")
        if not isinstance(part, str):
            raise QueryMalformed("Text expected")
        return lambda row: method(str(getter(row) or "").lower(), part)

    def _value(self) -> object:
        kind, token = self._next()
        if kind == "text":
            return re.sub(r'""|\\(.)', lambda m: m[1] or '"', token[1:-1]).lower()
        if kind == "number":
            return Decimal(token)
        word = token.lower()
        if word in {"true", "false"}:
            return word == "true"
        if word == "null":
            return None
        if word in {"guid", "datetime", "datetime.parse", "guid.parse"}:
            return self._constructed(word)
        raise QueryMalformed(f"Value expected at '{token}'")

    def _constructed(self, word: str) -> object:
        self._expect("(")
        arguments = [self._value()]
        while self._take_word({","}):
            arguments.append(self._value())
        self._expect(")")
        try:
            if word.startswith("guid"):
                return str(arguments[0])
            if word == "datetime.parse":
                return datetime.fromisoformat(str(arguments[0]).upper()).replace(tzinfo=UTC)
            parts = [int(str(argument)) for argument in arguments]
            return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]
        except TypeError as error:
            raise QueryMalformed("DateTime takes year, month, day") from error
        except ValueError as error:
            raise QueryMalformed(f"{word} is not given a valid value") from error

    def _name(self) -> str:
        kind, token = self._next()
        if kind != "name":
            raise QueryMalformed(f"Field expected at '{token}'")
        return token

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise QueryMalformed("Unexpected end of expression")
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _take_word(self, words: set[str]) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][1].lower() in words:
            kind = self._tokens[self._at][0]
            if kind != "text":
                self._at += 1
                return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take_word({token}):
            raise QueryMalformed(f"'{token}' expected")


def _comparison(
    getter: Getter, compare: Callable[[Any, Any], Any], value: object, *, negative: bool
) -> Predicate:
    def test(row: Any) -> bool:
        actual = _comparable(getter(row))
        if actual is None or value is None:
            return bool(compare(actual, value)) if compare in {operator.eq, operator.ne} else False
        try:
            return bool(compare(actual, value))
        except TypeError:
            return negative

    return test


def _comparable(value: object) -> object:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value
