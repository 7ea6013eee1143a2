"""The spool's one writer thread, with group commit.

Rows of all streams and the committer's records wait in one queue. The thread takes everything that
waits, writes it in one transaction, and reports back to the event loop in one call once the
transaction is on disk. Rows that wait for the same queue become one chunk, so a chunk is as large
as the moment's traffic makes it, and the cost of a commit is shared by all who waited for it.

Laws:
1. Whoever waits hears exactly one word: done after the commit, or the error of the transaction.
2. Rows of one stream keep their order. Records and rows are applied in the order they came.
3. Rows of a channel are written only where the channel stands: none is jumped over. Of a stream
   without one, none is written behind one that was not.
4. The event loop never waits for the disk.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gateway.ingest.entries import ChunkRecord, DeadLetter, Stretch
from gateway.ingest.measures import WriteMeasure
from gateway.ingest.spool import SpoolFile
from gateway.metrics import Metrics

GROUP_BYTES_MAX = 4 << 20
"""Rows taken into one transaction: bounds the memory of a group and the delay of the next."""

CANNOT_WRITE = "The spool cannot be written"
NOT_IN_PLACE = "A row before this one was not stored: send again from it on"
LETTERS_FULL = (
    "The dead letters have no room for another row (ingest.dead_letters_limit_bytes): "
    "retry or drop some"
)

T = TypeVar("T")


class SpoolFailed(Exception):
    """The disk refused: nothing of the transaction is kept."""


@dataclass(frozen=True, slots=True)
class OnChannel:
    """The channel that rows come on, by its id, and the offset of the first of them."""

    channel: int
    first_offset: int


@dataclass(slots=True)
class StreamRows:
    """Rows of one stream, as the writer's thread sees them: ``broken`` once one was not written."""

    broken: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """Where rows lie: in ``chunk``, from row ``at_row`` on. A row that was refused: in none."""

    chunk: ChunkRecord | None
    at_row: int


@dataclass(slots=True)
class RowsToWrite:
    """Rows for a queue; ``written`` is called on the event loop with their place, or an error.

    Nobody changes one. It is not frozen for the reason that a receipt is not.
    """

    queue: int
    raw: bytes
    rows: int
    arrival_ms: int
    written: Callable[[Written | None, SpoolFailed | None], None]
    on: OnChannel | None = None
    of: StreamRows | None = None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that failed its check: it becomes a dead letter where its stream goes on.

    No more than ``limit_bytes`` of rows may lie among the open dead letters.
    """

    queue: int
    raw: bytes
    code: int
    message: str
    at_ms: int
    limit_bytes: int
    written: Callable[[Written | None, SpoolFailed | None], None]
    on: OnChannel | None = None
    of: StreamRows | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    """Anything else to be written; ``done`` gets its result on the event loop."""

    apply: Callable[[SpoolFile], Any]
    done: Callable[[Any, SpoolFailed | None], None]


@dataclass(slots=True)
class _Gathered:
    """Rows of one queue that become one chunk."""

    items: list[RowsToWrite] = field(default_factory=list)


_Item = RowsToWrite | RefusedRow | _Record
_Word = tuple[Callable[[Any, SpoolFailed | None], None], Any]
"""A listener and what it hears: a result, or a `SpoolFailed`."""


class SpoolWriter:
    """Owns the `SpoolFile` and the thread that writes it."""

    def __init__(self, path: Path, measure: WriteMeasure | None = None) -> None:
        self._path = path
        self._measure = measure or WriteMeasure(Metrics())
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.spool_id = ""
        self.fault: str | None = None
        """what the disk said to the newest transaction; None: it was written"""
        self.fault_since = 0.0

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

    def append(self, rows: RowsToWrite | RefusedRow) -> None:
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

    def _take_group(self) -> tuple[list[_Item], bool]:
        """Everything that waits, up to a size; blocks for the first."""
        group: list[_Item] = []
        size = 0
        item = self._waiting.get()
        while item is not None:
            group.append(item)
            size += 0 if isinstance(item, _Record) else len(item.raw)
            if size >= GROUP_BYTES_MAX:
                return group, False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, spool: SpoolFile, group: list[_Item]) -> list[_Word]:
        words: list[_Word] = []
        began_at = time.perf_counter()
        try:
            spool.begin()
            for part in _in_order(group):
                if isinstance(part, _Record):
                    words.append((part.done, part.apply(spool)))
                elif isinstance(part, RefusedRow):
                    words.append((part.written, _bury(spool, part)))
                else:
                    words += _append(spool, part.items)
            spool.commit()
        # Whatever it is, also a fault of ours in a change: all who wait must hear of it, and the
        # thread must go on, or every stream hangs.
        except Exception as error:  # noqa: BLE001
            with contextlib.suppress(sqlite3.Error):
                spool.rollback()
            failed = SpoolFailed(f"{CANNOT_WRITE}: {error}")
            self._say_fault(str(failed))
            self._measure.failed()
            for item in group:
                _break_off(item)
            return [(_listener(item), failed) for item in group]
        self._say_fault(None)
        size_bytes = sum(len(item.raw) for item in group if isinstance(item, RowsToWrite))
        self._measure.wrote(time.perf_counter() - began_at, size_bytes)
        return words

    def _say_fault(self, fault: str | None) -> None:
        if self.fault is None and fault is not None:
            self.fault_since = time.time()
        self.fault = fault

    def _report(self, words: list[_Word]) -> None:
        assert self._loop is not None
        # A loop that is closed already has nobody left who could wait.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_deliver, words)


def _listener(item: _Item) -> Callable[[Any, SpoolFailed | None], None]:
    return item.done if isinstance(item, _Record) else item.written


def _break_off(item: _Item) -> None:
    """Rows were not written: what its stream sends again from there on must not be there twice."""
    if not isinstance(item, _Record) and item.of is not None:
        item.of.broken = True


def _follows(spool: SpoolFile, item: RowsToWrite | RefusedRow, rows: int) -> bool:
    """Whether rows are next in their stream and on their channel, which moves on by them."""
    if item.of is None or not item.of.broken:
        on = item.on
        if on is None or spool.channels.advance(on.channel, on.first_offset, rows):
            return True
    _break_off(item)
    return False


def _deliver(words: list[_Word]) -> None:
    for listener, result in words:
        if isinstance(result, SpoolFailed):
            listener(None, result)
        else:
            listener(result, None)


def _in_order(group: list[_Item]) -> list[_Gathered | RefusedRow | _Record]:
    """Rows gathered per queue; whatever is no row closes what was gathered before it."""
    parts: list[_Gathered | RefusedRow | _Record] = []
    gathered: dict[int, _Gathered] = {}
    for item in group:
        if not isinstance(item, RowsToWrite):
            gathered.clear()
            parts.append(item)
            continue
        if item.queue not in gathered:
            gathered[item.queue] = _Gathered()
            parts.append(gathered[item.queue])
        gathered[item.queue].items.append(item)
    return parts


def _append(spool: SpoolFile, items: list[RowsToWrite]) -> list[_Word]:
    """Write rows of one queue as one chunk; those that are out of place: not."""
    taken: list[RowsToWrite] = []
    words: list[_Word] = []
    for item in items:
        if _follows(spool, item, item.rows):
            taken.append(item)
        else:
            words.append((item.written, SpoolFailed(NOT_IN_PLACE)))
    if not taken:
        return words
    raw = taken[0].raw if len(taken) == 1 else b"".join(item.raw for item in taken)
    rows = sum(item.rows for item in taken)
    chunk = spool.append(taken[0].queue, raw, rows, taken[0].arrival_ms)
    at_row = 0
    for item in taken:
        if item.on is not None:
            place = Stretch(
                queue=item.queue,
                chunk=chunk.id,
                at_row=at_row,
                rows=item.rows,
                first_offset=item.on.first_offset,
            )
            spool.channels.lay(item.on.channel, place)
        words.append((item.written, Written(chunk, at_row)))
        at_row += item.rows
    return words


def _bury(spool: SpoolFile, row: RefusedRow) -> Written | SpoolFailed:
    if spool.letters.open_bytes + len(row.raw) > row.limit_bytes:
        _break_off(row)
        return SpoolFailed(LETTERS_FULL)
    if not _follows(spool, row, 1):
        return SpoolFailed(NOT_IN_PLACE)
    on = row.on
    letter = DeadLetter(
        queue=row.queue,
        code=str(row.code),
        message=row.message,
        at_ms=row.at_ms,
        raw=row.raw,
        spooled=False,
    )
    spool.letters.bury(letter, (on.channel, on.first_offset) if on is not None else None)
    return Written(None, 0)
