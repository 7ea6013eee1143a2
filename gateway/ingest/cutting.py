"""Rows at fault: cut out of their batch one by one, or found by halving it.

Laws:
1. A row goes to the dead letters in the transaction that moves its batch on without it.
2. Halving costs at most two tasks a level and is bounded for each batch that was sealed.
"""

from collections.abc import Callable
from typing import TypeVar

import structlog

from gateway.clock import now_ms
from gateway.ingest.batches import BatchState
from gateway.ingest.content import BatchContent, place_of
from gateway.ingest.entries import BatchRecord, DeadLetter, Place
from gateway.ingest.parts import CommitterParts
from gateway.ingest.records import look, persist
from gateway.ingest.spool import SpoolFile
from gateway.seams import TaskFailure

_log = structlog.get_logger("headrace.committer")

T = TypeVar("T")


class Cutter:
    """Cuts batches."""

    def __init__(self, parts: CommitterParts) -> None:
        self._parts = parts

    async def _look(self, read: Callable[[], T]) -> T:
        return await look(read, self._parts.times.retry_s)

    async def cut_out(
        self, batch: BatchRecord, content: BatchContent, failure: TaskFailure
    ) -> DeadLetter | None:
        """Bury the row that ``failure`` names, or the only one; whoever waits for it is told.

        The batch is at its next attempt then. None if there is no such row, or no room for it.
        """
        line = content.sealed_line(failure.line or 1)
        raw = await self._look(lambda: content.line(line))
        place = place_of(batch, await self._look(lambda: self._parts.reader.chunks(batch)), line)
        if raw is None or place is None:
            return None

        def bury(spool: SpoolFile) -> DeadLetter | None:
            if spool.letters.open_bytes + len(raw) > self._parts.letters_limit_bytes:
                return None
            letter = DeadLetter(
                queue=batch.queue,
                batch=batch.number,
                line=line,
                code=failure.code,
                message=failure.message,
                at_ms=now_ms(),
                tasks=spool.tasks_of(batch.root or batch.number),
                sealed_bytes=len(raw),
                raw=raw,
            )
            # With the next attempt's number: a line of the failed attempt counts in the rows that
            # it had, so after a restart nobody may ask about it once a row less is left.
            spool.bury(letter, place)
            spool.move(batch.number, BatchState.SEALED, batch.attempt + 1, failure.message)
            return letter

        letter = await persist(self._parts.writer, bury, self._parts.times.retry_s)
        if letter is None:
            _log.error("the dead letters are full", batch_id=batch.id)
            return None
        _log.warning("row to dead letters", batch_id=batch.id, line=line, tasks=letter.tasks)
        self._parts.receipts.fail(batch.queue, place, letter.verdict)
        return letter

    async def halve(self, batch: BatchRecord, content: BatchContent) -> list[str] | str:
        """Replace the batch by two halves; returns their ids, or why it is not done."""
        limit = self._parts.bisect_tasks_max
        chunks = await self._look(lambda: self._parts.reader.chunks(batch))
        # Half of the rows that are left: each half has some.
        lines = content.sealed_line(content.rows // 2)
        last = place_of(batch, chunks, lines)
        size = await self._look(lambda: content.bytes_before(lines))
        if last is None:
            return "its rows are not all there"
        cut = Place(last.chunk, last.row + 1)
        at_ms = now_ms()

        def split(spool: SpoolFile) -> tuple[int, list[str]]:
            tasks = spool.tasks_of(batch.root or batch.number)
            return tasks, [] if tasks >= limit else spool.split(batch, cut, (lines, size), at_ms)

        tasks, halves = await persist(self._parts.writer, split, self._parts.times.retry_s)
        if not halves:
            return f"not found in {tasks} tasks: ingest.bisect_tasks_max"
        _log.warning("a batch is cut in two", batch_id=batch.id, halves=halves, tasks=tasks)
        return halves
