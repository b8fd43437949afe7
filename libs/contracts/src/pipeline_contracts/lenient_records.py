"""Reading records whose header *names* are not UTF-8.

Kafka's protocol calls a header name a string, but no broker checks it, and clients built on librdkafka send any bytes.
aiokafka 0.14 decodes names strictly, deep in its reader: one such record makes every read fail from there on, so its
partition stands still for ever, in every consumer. Here the names alone are decoded leniently; the record then goes
the way of every other unreadable one.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


def install() -> None:
    """Make aiokafka's consumers in this process read through `LenientRecords`. Repeating it changes nothing."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """aiokafka's reader of fetched bytes, with a second way to read a batch that it fails on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._position = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        """The next batch; None after the last."""
        self._position += 1
        batch = self._records.next_batch()
        return None if batch is None else _Batch(batch, self._data, self._position)


class _Batch:
    """One batch, read by aiokafka's fast reader until that fails on a header name."""

    def __init__(self, batch: Any, data: bytes, position: int) -> None:
        self._batch = batch
        self._data = data
        self._position = position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            yield from islice(self._slowly(), read, None)

    def _slowly(self) -> Iterator[Any]:
        records = _MemoryRecordsPy(self._data)
        for _ in range(self._position):
            records.next_batch()
        batch = _DefaultRecordBatchPy(bytes(cast("memoryview", records._next_slice)))  # noqa: SLF001
        batch._maybe_uncompress()  # noqa: SLF001 - the bytes wanted are the uncompressed ones
        batch._buffer = _Lenient(batch._buffer)  # noqa: SLF001 - see the module's docstring
        return iter(batch)


class _Lenient(bytearray):
    """Bytes whose slices decode without failing; header names are all that the reader decodes."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Lenient(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - never strict
        return super().decode(encoding, "backslashreplace")
