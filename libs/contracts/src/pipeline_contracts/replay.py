"""Recorded scenarios, to try a subscriber on: printed, or published to a Kafka of yours.

`python -m pipeline_contracts.replay pay --to localhost:9092 --vary duplicates,unreadable`

They were recorded from the running system. Publish them where no other service of Pipeline listens: to whoever listens
they are events like any others.
"""

import argparse
import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from importlib.resources import files

from pipeline_contracts.envelope import Record
from pipeline_contracts.record_files import line_of, record_of
from pipeline_contracts.topics import EVENT_TOPICS
from pipeline_contracts.variations import VARIATIONS

_FOLDER = files("pipeline_contracts") / "scenarios"


class ReplayError(Exception):
    """What was asked for cannot be done; the message says why."""


def scenarios() -> list[str]:
    """The names of the recorded scenarios."""
    return sorted(each.name.removesuffix(".jsonl") for each in _FOLDER.iterdir())


def scenario(name: str) -> list[Record]:
    """The records of a scenario, in the order in which they were told.

    Raises:
        ReplayError: there is no such scenario.
    """
    if name not in scenarios():
        raise ReplayError(f"no scenario {name!r}; there are {', '.join(scenarios())}")
    text = (_FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    return [record_of(line) for line in text.splitlines()]


def varied(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The records with the named variations, one upon the other.

    Raises:
        ReplayError: there is no such variation.
    """
    found = list(records)
    # Broken bodies come last, for the others read bodies.
    for name in sorted(names, key=lambda name: name == "unreadable"):
        if name not in VARIATIONS:
            raise ReplayError(f"no variation {name!r}; there are {', '.join(VARIATIONS)}")
        found = VARIATIONS[name](found)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print or publish what was asked for; 0 when it was done."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_contracts.replay", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "scenario", nargs="*", help=f"some of {', '.join(scenarios())}; by default all"
    )
    parser.add_argument("--to", metavar="KAFKA", help="publish to this Kafka (host:port)")
    parser.add_argument("--vary", default="", help=f"add trouble: {', '.join(VARIATIONS)}, or all")
    parser.add_argument(
        "--topic-prefix", default="", help="put this before the topics' names, e.g. `try-`"
    )
    parser.add_argument(
        "--create-topics", action="store_true", help="create the topics that are missing"
    )
    options = parser.parse_args(arguments)
    try:
        names = list(VARIATIONS) if options.vary == "all" else _names(options.vary)
        told = [each for name in options.scenario or scenarios() for each in scenario(name)]
        records = [
            dataclasses.replace(each, topic=options.topic_prefix + each.topic)
            for each in varied(told, names)
        ]
        if options.to is None:
            sys.stdout.writelines(f"{line_of(each)}\n" for each in records)
        else:
            asyncio.run(_publish(options.to, records, create=options.create_topics))
            sys.stdout.write(f"Published {len(records)} records to {options.to}.\n")
    except ReplayError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads the lines has had enough
        sys.stderr.close()
    return 0


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


async def _publish(servers: str, records: Sequence[Record], *, create: bool) -> None:
    try:
        # Printing works without the extra `kafka`.
        from pipeline_contracts import kafka_tools  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ReplayError(
            f"publishing needs {error.name}: install pipeline-contracts[kafka]"
        ) from error
    topics = {topic.name: topic for topic in EVENT_TOPICS}
    wanted = {
        each.topic: next(t for name, t in topics.items() if each.topic.endswith(name))
        for each in records
    }
    try:
        await kafka_tools.check_topics(servers, wanted, create=create)
        await kafka_tools.publish(servers, records)
    except kafka_tools.KafkaTrouble as error:
        raise ReplayError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
