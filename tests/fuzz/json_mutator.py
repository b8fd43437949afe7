"""Changes JSON as JSON: bytes changed at random are hardly ever JSON again, and the code behind the parser stays unseen."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Place = tuple[Any, Any]
"""A list or an object, and the index or key of a value in it."""


def mutate(document: bytes, words: Sequence[Any], rng: random.Random) -> bytes | None:
    """The document with one or a few values changed; None if it is no JSON list or object."""
    try:
        root = [json.loads(document)]
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(root))
        holder, key = rng.choice(places)
        rng.choice(_CHANGES)(holder, key, rng.choice(places), words, rng)
        if not root:
            return None
    return json.dumps(root[0], separators=(",", ":")).encode()


def _places(holder: Any) -> Iterator[Place]:
    for key in holder if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def _put_word(
    holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random
) -> None:
    holder[key] = rng.choice(words)


def _copy(holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random) -> None:
    # By way of text: the same object in two places would be changed in both, or hold itself.
    holder[key] = json.loads(json.dumps(other[0][other[1]]))


def _repeat(holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random) -> None:
    if isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(holder[key])))


def _drop(holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random) -> None:
    del holder[key]


def _turn_case(
    holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random
) -> None:
    if isinstance(holder[key], str):
        holder[key] = holder[key].swapcase()


def _nudge(holder: Any, key: Any, other: Place, words: Sequence[Any], rng: random.Random) -> None:
    if isinstance(holder[key], int | float) and abs(holder[key]) < 10**15:
        holder[key] = rng.choice((-holder[key], holder[key] + 1, holder[key] / 100, 0))


_CHANGES: tuple[Callable[[Any, Any, Place, Sequence[Any], random.Random], None], ...] = (
    _put_word, _copy, _repeat, _drop, _turn_case, _nudge,
)  # fmt: skip
