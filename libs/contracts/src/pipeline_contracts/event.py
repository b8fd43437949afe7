"""The base of every event and of the values inside one."""

from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from pipeline_contracts.fields import WRITING, Id

EVENT_TYPES: Final[dict[str, "type[Event]"]] = {}
"""Every event class by its CloudEvents type."""


class Value(BaseModel):
    """A frozen value with strict writers and tolerant readers.

    Calling the class is writing: an unknown field or an unknown word is refused, for it is a typing
    mistake whose value would otherwise silently vanish. `model_validate` and `model_validate_json` are
    reading: what a newer writer added is ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    def __init__(self, **data: Any) -> None:
        self.__pydantic_validator__.validate_python(
            data, self_instance=self, extra="forbid", context=WRITING
        )

    # Tells pydantic that this constructor validates as its own does, so that reading (also of values
    # inside values) bypasses it instead of calling it as a custom one.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class Event(Value):
    """A fact about one account, published once under a type and a topic that never change meaning."""

    TYPE: ClassVar[str]
    """CloudEvents type, `pipeline.<noun>.<past-verb>.v<major>`."""

    TOPIC: ClassVar[str]
    """Name of the topic that carries it."""

    KEY: ClassVar[str]
    """The field whose value is the key of its records."""

    account_id: Id = Field(
        description="The account (customer organisation of Pipeline) it is about."
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register the class under its type; bodies shared by several events have none."""
        super().__pydantic_init_subclass__(**kwargs)
        if "TYPE" not in cls.__dict__:
            return
        if cls.TYPE in EVENT_TYPES:
            raise TypeError(f"{cls.__name__} and {EVENT_TYPES[cls.TYPE].__name__} share {cls.TYPE}")
        EVENT_TYPES[cls.TYPE] = cls

    @property
    def subject(self) -> str:
        """Id of the aggregate the event is about: the key of its Kafka record."""
        return str(getattr(self, self.KEY))

    @property
    def revision(self) -> str | None:
        """What tells this event from others of its type and subject, or None if nothing in it does."""
        return None
