"""Identifiers, drawn from one seeded source so that a run can be repeated."""

import random
import uuid

NIL = "00000000-0000-0000-0000-000000000000"
"""The id Xero reports for an element that was not created."""


class IdSource:
    """Draws version-4 GUIDs and random letters from a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.restart()

    def restart(self) -> None:
        """Starts the sequence again."""
        self._random = random.Random(self._seed)

    def guid(self) -> str:
        """A lower-case GUID."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def letters(self, count: int) -> str:
        """`count` upper-case letters, as Xero uses for webhook entropy."""
        return "".join(self._random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=count))


def is_guid(text: str) -> bool:
    """Whether `text` reads as a GUID."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
