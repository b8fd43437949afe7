"""Sends what no well-behaved client sends: argv is topic, compression. Run in a process of its own."""

import asyncio
import os
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = (
    "1"  # read when aiokafka is imported: its Python writer can be fooled
)

from aiokafka import AIOKafkaProducer


class BrokenName(str):
    """A header name that turns into bytes which are not UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfename"


async def main(topic: str, compression: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        compression_type=None if compression == "none" else compression,
        linger_ms=200,  # one batch, so that a good record shares it on either side
    )
    await producer.start()
    headers = [("ce_type", b"x"), (BrokenName("name"), b"\x00\xff"), ("after", None)]
    sent = [
        await producer.send(topic, value, b"key", headers=given)
        for value, given in ((b"before", []), (b"broken", headers), (b"behind", []))
    ]
    await asyncio.gather(*sent)
    await producer.stop()


asyncio.run(main(*sys.argv[1:]))
