"""Replays every dead letter of a topic that nothing speaks against; FAILPOINT says where to die."""

import asyncio
import os
import sys
from datetime import UTC, datetime

from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.replay import objections, past_replays, replay
from pipeline_messaging.stored_letters import stored_letters


async def main() -> None:
    kafka = KafkaSettings(os.environ["KAFKA_BOOTSTRAP_SERVERS"])
    origin = Topic(os.environ["TOPIC"], "any", partitions=1)
    past = await past_replays(kafka)
    letters = (
        letter
        async for letter in stored_letters(kafka, origin)
        if not objections(
            letter,
            origin=origin,
            past=past.get(letter.place, ()),
            newest={},
            now=datetime.now(UTC),
        )
    )
    async for done in replay(kafka, letters, by="child"):
        sys.stdout.write(f"{done.place}\n")
        sys.stdout.flush()


asyncio.run(main())
