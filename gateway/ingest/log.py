"""The logs that push queries read: committed batches in the order of their commits, and chunks in
the order in which they reached the disk.

Implement `gateway.seams.PushLog`. The spool is the log; this adds who waits for its next entry,
and remembers the newest entries, without their rows: those who keep up ask no disk for them.

Laws:
1. An entry is given once it was told, and after every entry before it.
2. A piece of an entry is given whole, as it was spooled less its dead letters, or not at all.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from gateway.ingest.content import without_lines
from gateway.ingest.entries import BatchRecord, ChunkRecord, QueueRecord
from gateway.ingest.reader import SpoolReader
from gateway.ingest.settler import Committed
from gateway.seams import EntryGone, LogEntry, PushLevel

ENTRIES_PER_READ = 64
ENTRIES_REMEMBERED = 1024
CHUNKS_PER_SCAN = 4096


class _Log(ABC):
    """What both logs are: an end that grows, those who wait for it, the newest entries."""

    level: PushLevel
    kept_by = "ingest.retention_s, ingest.retention_bytes"

    def __init__(self, reader: SpoolReader) -> None:
        self._reader = reader
        self._queues: dict[int, QueueRecord] = {}
        self._end = 0
        self._grew = asyncio.Event()
        self._newest: deque[LogEntry] = deque(maxlen=ENTRIES_REMEMBERED)
        self._log_id = ""

    @property
    def log_id(self) -> str:
        """See `gateway.seams.PushLog`."""
        return self._log_id

    def recovered(self, queues: list[QueueRecord], end: int, log_id: str) -> None:
        """What the spool held when it was opened."""
        self._queues = {queue.id: queue for queue in queues}
        self._end = end
        self._log_id = log_id

    def end(self) -> int:
        """See `gateway.seams.PushLog`."""
        return self._end

    async def after(self, position: int) -> list[LogEntry]:
        """See `gateway.seams.PushLog`."""
        while position >= self._end:
            await self._grew.wait()
        if self._newest and position + 1 >= self._newest[0].position:
            return self._remembered_after(position)
        found = await asyncio.to_thread(self._read_after, position)
        # What is on disk may not have been told here yet: its turn comes when it is.
        if told := [entry for entry in found if entry.position <= self._end]:
            return told
        raise EntryGone

    def _remembered_after(self, position: int) -> list[LogEntry]:
        first = position + 1 - self._newest[0].position
        last = min(first + ENTRIES_PER_READ, len(self._newest))
        return [self._newest[at] for at in range(first, last)]

    def _told(self, position: int, entry: LogEntry | None) -> None:
        """An entry was added; None: only the disk can say what it is."""
        if position <= self._end:
            return
        if entry is None or position != self._end + 1:
            self._newest.clear()
        if entry is not None:
            self._newest.append(entry)
        self._end = position
        # Everybody who waits now wakes; who comes later waits for the next event.
        self._grew.set()
        self._grew = asyncio.Event()

    @abstractmethod
    def _read_after(self, position: int) -> list[LogEntry]:
        """Entries from the disk; blocks."""


class SpoolLog(_Log):
    """Committed batches; a position is a ``commit_seq``."""

    level = PushLevel.COMMITTED

    def grew(self, committed: Committed) -> None:
        """A batch was committed."""
        self._queues[committed.queue.id] = committed.queue
        assert committed.batch.commit_seq is not None
        self._told(committed.batch.commit_seq, self._entry(committed.batch))

    async def retained(self) -> tuple[tuple[int, int], ...]:
        """See `gateway.seams.PushLog`."""
        start = await asyncio.to_thread(self._reader.log_start)
        return ((start + 1, self._end),)

    def _read_after(self, position: int) -> list[LogEntry]:
        batches = self._reader.committed_after(position, ENTRIES_PER_READ)
        if any(batch.queue not in self._queues for batch in batches):
            # A commit of a queue that nobody told of: its entry is not due yet either.
            self._queues |= {queue.id: queue for queue in self._reader.queues()}
        return [self._entry(batch) for batch in batches]

    def _entry(self, batch: BatchRecord) -> LogEntry:
        queue = self._queues[batch.queue]
        assert batch.commit_seq is not None
        return LogEntry(
            position=batch.commit_seq,
            source=queue.source,
            spec=queue.spec,
            size_bytes=batch.size_bytes,
            pieces=partial(_batch_pieces, self._reader, batch),
        )


class SpooledLog(_Log):
    """Chunks on disk, batched or not; a position is a chunk's id."""

    level = PushLevel.SPOOLED

    def grew(self, chunk: ChunkRecord) -> None:
        """A chunk has reached the disk."""
        known = chunk.queue in self._queues
        self._told(chunk.id, self._entry(chunk) if known else None)

    async def retained(self) -> tuple[tuple[int, int], ...]:
        """See `gateway.seams.PushLog`. A chunk stays while its batch is not final: gaps are usual.

        Chunk ids are dense, so what is missing was dropped.
        """
        end = self._end
        ranges = await asyncio.to_thread(self._ranges, end)
        if ranges and ranges[-1][1] == end:
            return tuple(ranges)
        return (*ranges, (end + 1, end))

    def _ranges(self, end: int) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        position = 0
        while chunks := self._reader.chunks_after(position, CHUNKS_PER_SCAN):
            for chunk in chunks:
                if chunk.id > end:
                    return ranges
                if ranges and ranges[-1][1] == chunk.id - 1:
                    ranges[-1] = (ranges[-1][0], chunk.id)
                else:
                    ranges.append((chunk.id, chunk.id))
            position = chunks[-1].id
        return ranges

    def _read_after(self, position: int) -> list[LogEntry]:
        chunks = self._reader.chunks_after(position, ENTRIES_PER_READ)
        if any(chunk.queue not in self._queues for chunk in chunks):
            self._queues |= {queue.id: queue for queue in self._reader.queues()}
        return [self._entry(chunk) for chunk in chunks]

    def _entry(self, chunk: ChunkRecord) -> LogEntry:
        queue = self._queues[chunk.queue]
        return LogEntry(
            position=chunk.id,
            source=queue.source,
            spec=queue.spec,
            size_bytes=chunk.size_bytes,
            pieces=partial(_chunk_pieces, self._reader, chunk),
        )


def _chunk_pieces(reader: SpoolReader, chunk: ChunkRecord, start: int = 0) -> Iterator[bytes]:
    if start == 0:
        raw = reader.chunk_bytes(chunk.id)
        _require_rows(raw, chunk.rows)
        yield raw


def _batch_pieces(reader: SpoolReader, batch: BatchRecord, start: int = 0) -> Iterator[bytes]:
    """One piece a chunk, each proven to be whole: the retention may pass while they are read."""
    rows = _rows_in(batch, reader.chunks(batch))
    if start >= len(rows):
        return
    before = sum(rows[:start])
    dead = [
        letter.line - before
        for letter in reader.dead_letters(batch.number)
        if letter.line is not None and letter.line > before
    ]
    pieces = _sealed_pieces(reader, batch, rows, start)
    yield from without_lines(pieces, sorted(dead)) if dead else pieces


def _sealed_pieces(
    reader: SpoolReader, batch: BatchRecord, rows: list[int], start: int
) -> Iterator[bytes]:
    rest = batch
    if start:
        rest = replace(batch, first_chunk=reader.chunks(batch)[start].id, first_row=0)
    count = start
    for raw in reader.content(rest):
        _require_rows(raw, rows[count])
        count += 1
        yield raw
    if count != len(rows):
        raise EntryGone


def _rows_in(batch: BatchRecord, chunks: list[ChunkRecord]) -> list[int]:
    """How many rows of each chunk are the batch's. Raises `EntryGone` if they are not all there."""
    rows = [chunk.rows for chunk in chunks]
    if rows and batch.end_row is not None:
        rows[-1] = batch.end_row
    if rows:
        rows[0] -= batch.first_row
    if sum(rows) != batch.rows:
        raise EntryGone
    return rows


def _require_rows(raw: bytes, rows: int) -> None:
    if raw.count(b"\n") != rows:
        raise EntryGone
