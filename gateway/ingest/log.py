"""The commit log: committed batches in the order of their commits, out of the spool.

Implements `gateway.seams.CommitLog`. The spool is the log; this adds who waits for its next entry.
"""

import asyncio
from collections.abc import Iterator
from functools import partial

from gateway.ingest.committer import Committed
from gateway.ingest.content import BatchContent
from gateway.ingest.spool import BatchRecord, QueueRecord, SpoolReader
from gateway.seams import LogEntry

ENTRIES_PER_READ = 64


class SpoolLog:
    """Reads committed batches; readers wait for the next without polling."""

    def __init__(self, reader: SpoolReader) -> None:
        self._reader = reader
        self._queues: dict[int, QueueRecord] = {}
        self._end = 0
        self._grew = asyncio.Event()

    def recovered(self, queues: list[QueueRecord], end: int) -> None:
        """What the spool held when it was opened."""
        self._queues = {queue.id: queue for queue in queues}
        self._end = end

    def grew(self, committed: Committed) -> None:
        """A batch was committed."""
        self._queues[committed.queue.id] = committed.queue
        assert committed.batch.commit_seq is not None
        self._end = max(self._end, committed.batch.commit_seq)
        # Everybody who waits now wakes; who comes later waits for the next event.
        self._grew.set()
        self._grew = asyncio.Event()

    def end(self) -> int:
        """See `gateway.seams.CommitLog`."""
        return self._end

    async def after(self, position: int) -> list[LogEntry]:
        """See `gateway.seams.CommitLog`."""
        while True:
            while position >= self._end:
                await self._grew.wait()
            batches = await asyncio.to_thread(
                self._reader.committed_after, position, ENTRIES_PER_READ
            )
            # A commit may be on disk before it is told here: its turn comes when it is.
            told = [batch for batch in batches if (batch.commit_seq or 0) <= self._end]
            if told:
                return [self._entry(batch) for batch in told]
            position = self._end

    def _entry(self, batch: BatchRecord) -> LogEntry:
        queue = self._queues[batch.queue]
        assert batch.commit_seq is not None
        return LogEntry(
            position=batch.commit_seq,
            source=queue.source,
            spec=queue.spec,
            pieces=partial(self._pieces, batch),
        )

    def _pieces(self, batch: BatchRecord) -> Iterator[bytes]:
        letters = self._reader.dead_letters(batch.number)
        return BatchContent(self._reader, batch, letters).read()
