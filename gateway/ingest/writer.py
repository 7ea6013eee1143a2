"""The spool's one writer thread, with group commit.

Rows of all streams and the committer's records wait in one queue. The thread takes everything that
waits, writes it in one transaction, and reports back to the event loop in one call once the
transaction is on disk. Rows that wait for the same queue become one chunk, so a chunk is as large
as the moment's traffic makes it, and the cost of a commit is shared by all who waited for it.

Laws:
1. Whoever waits hears exactly one word: done after the commit, or the error of the transaction.
2. Rows of one stream keep their order. Records and rows are applied in the order they came.
3. The event loop never waits for the disk.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gateway.ingest.spool import ChunkRecord, SpoolFile

GROUP_BYTES_MAX = 4 << 20
"""Rows taken into one transaction: bounds the memory of a group and the delay of the next."""

T = TypeVar("T")


class SpoolFailed(Exception):
    """The disk refused: nothing of the transaction is kept."""


@dataclass(frozen=True, slots=True)
class RowsToWrite:
    """Rows for a queue; ``written`` is called on the event loop with their chunk, or an error."""

    queue: int
    raw: bytes
    rows: int
    arrival_ms: int
    written: Callable[[ChunkRecord | None, SpoolFailed | None], None]


@dataclass(frozen=True, slots=True)
class _Record:
    """Anything else to be written; ``done`` gets its result on the event loop."""

    apply: Callable[[SpoolFile], Any]
    done: Callable[[Any, SpoolFailed | None], None]


@dataclass(slots=True)
class _Gathered:
    """Rows of one queue that become one chunk."""

    items: list[RowsToWrite] = field(default_factory=list)


_Word = tuple[Callable[[Any, SpoolFailed | None], None], Any]
"""A listener and what it hears: a result, or a `SpoolFailed`."""


class SpoolWriter:
    """Owns the `SpoolFile` and the thread that writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[RowsToWrite | _Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.spool_id = ""

    async def open(self) -> None:
        """Open the file and start the thread. Raises `gateway.ingest.spool.SpoolUnusable`."""
        self._loop = asyncio.get_running_loop()
        spool = await asyncio.to_thread(SpoolFile, self._path)
        self.spool_id = spool.spool_id
        self._thread = threading.Thread(target=self._run, args=(spool,), name="spool-writer")
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then stop the thread and close the file."""
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def append(self, rows: RowsToWrite) -> None:
        """Hand rows over; returns at once."""
        self._waiting.put(rows)

    async def record(self, apply: Callable[[SpoolFile], T]) -> T:
        """Apply a change in a transaction; returns its result once it is on disk.

        Raises `SpoolFailed`.
        """
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T, failed: SpoolFailed | None) -> None:
            if future.cancelled():
                return
            if failed is not None:
                future.set_exception(failed)
            else:
                future.set_result(result)

        self._waiting.put(_Record(apply, done))
        return await future

    # ── the thread ──

    def _run(self, spool: SpoolFile) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._take_group()
            if group:
                self._report(self._write(spool, group))
        spool.close()

    def _take_group(self) -> tuple[list[RowsToWrite | _Record], bool]:
        """Everything that waits, up to a size; blocks for the first."""
        group: list[RowsToWrite | _Record] = []
        size = 0
        item = self._waiting.get()
        while item is not None:
            group.append(item)
            size += len(item.raw) if isinstance(item, RowsToWrite) else 0
            if size >= GROUP_BYTES_MAX:
                return group, False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, spool: SpoolFile, group: list[RowsToWrite | _Record]) -> list[_Word]:
        words: list[_Word] = []
        try:
            spool.begin()
            for part in _in_order(group):
                if isinstance(part, _Record):
                    words.append((part.done, part.apply(spool)))
                else:
                    chunk = _append(spool, part.items)
                    words.extend((item.written, chunk) for item in part.items)
            spool.commit()
        # Whatever it is, also a fault of ours in a change: all who wait must hear of it, and the
        # thread must go on, or every stream hangs.
        except Exception as error:  # noqa: BLE001
            with contextlib.suppress(sqlite3.Error):
                spool.rollback()
            failed = SpoolFailed(f"the spool cannot be written: {error}")
            return [(_listener(item), failed) for item in group]
        return words

    def _report(self, words: list[_Word]) -> None:
        assert self._loop is not None
        # A loop that is closed already has nobody left who could wait.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_deliver, words)


def _listener(item: RowsToWrite | _Record) -> Callable[[Any, SpoolFailed | None], None]:
    return item.written if isinstance(item, RowsToWrite) else item.done


def _deliver(words: list[_Word]) -> None:
    for listener, result in words:
        if isinstance(result, SpoolFailed):
            listener(None, result)
        else:
            listener(result, None)


def _in_order(group: list[RowsToWrite | _Record]) -> list[_Gathered | _Record]:
    """Rows gathered per queue; a record closes what was gathered before it."""
    parts: list[_Gathered | _Record] = []
    gathered: dict[int, _Gathered] = {}
    for item in group:
        if isinstance(item, _Record):
            gathered.clear()
            parts.append(item)
            continue
        if item.queue not in gathered:
            gathered[item.queue] = _Gathered()
            parts.append(gathered[item.queue])
        gathered[item.queue].items.append(item)
    return parts


def _append(spool: SpoolFile, items: list[RowsToWrite]) -> ChunkRecord:
    raw = items[0].raw if len(items) == 1 else b"".join(item.raw for item in items)
    return spool.append(items[0].queue, raw, sum(item.rows for item in items), items[0].arrival_ms)
