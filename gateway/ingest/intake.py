"""The intake: from a checked chunk of rows to the spool, and word back once it is on disk.

Nothing waits here: `append` hands over and returns. What bounds memory is the credit that the
stream's own shell withholds until `ReceiptSink.spooled` tells it that bytes are on disk. While the
spool has no room, rows are held back unwritten (so no credit flows and clients stall); a stream
that is held longer than the stall deadline fails at its first held row with 42900, and what it
sent before stays.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.ingest.receipts import Receipt, Receipts
from gateway.ingest.spool import ChunkRecord, QueueRecord
from gateway.ingest.writer import RowsToWrite, SpoolFailed, SpoolWriter
from gateway.seams import AckLevel, InsertSpec, IntakeStream, ReceiptSink, Source, SpoolFull
from protocol.errors import InternalError, RowRejected

SPOOL_FULL = "The spool is full and the warehouse does not keep up: try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """``spool_bytes``: rows kept on disk at the most. ``stall_s``: how long rows wait for room."""

    spool_bytes: int
    stall_s: float


class SpoolIntake:
    """Implements `gateway.seams.Intake` over the spool's writer."""

    def __init__(
        self,
        writer: SpoolWriter,
        receipts: Receipts,
        limits: IntakeLimits,
        chunk_added: Callable[[ChunkRecord], None],
    ) -> None:
        self._writer = writer
        self._receipts = receipts
        self._limits = limits
        self._chunk_added = chunk_added
        self._queues: dict[tuple[str, InsertSpec], QueueRecord] = {}
        self._stored_bytes = 0
        self._held: deque[tuple[SpoolStream, RowsToWrite, int]] = deque()
        self._newest: ChunkRecord | None = None

    @property
    def stored_bytes(self) -> int:
        """Bytes of rows on disk."""
        return self._stored_bytes

    @property
    def has_room(self) -> bool:
        """Whether rows may be written now."""
        return self._stored_bytes < self._limits.spool_bytes

    def recovered(self, queues: list[QueueRecord], stored_bytes: int) -> None:
        """What the spool held when it was opened."""
        self._queues = {(queue.source, queue.spec): queue for queue in queues}
        self._stored_bytes = stored_bytes

    async def open_stream(self, source: Source, level: AckLevel, sink: ReceiptSink) -> IntakeStream:
        """See `gateway.seams.Intake`."""
        if not self.has_room:
            raise SpoolFull(SPOOL_FULL)
        key = (source.name, source.spec)
        queue = self._queues.get(key)
        if queue is None:
            try:
                queue = await self._writer.record(lambda spool: spool.queue(*key))
            except SpoolFailed as failed:
                raise InternalError(str(failed)) from failed
            self._queues[key] = queue
        return SpoolStream(self, queue.id, level, sink)

    def freed(self, size_bytes: int) -> None:
        """Room has come back."""
        self._stored_bytes -= size_bytes
        moved: set[SpoolStream] = set()
        while self._held and self.has_room:
            stream, rows, _ = self._held.popleft()
            moved.add(stream)
            self._hand_over(rows)
        for stream in moved:
            stream.stall_ended()
        still: set[SpoolStream] = set()
        for stream, _, first_seq in self._held:
            if stream in moved and stream not in still:
                still.add(stream)
                stream.stalled(first_seq, self._limits.stall_s)

    def take(self, stream: "SpoolStream", rows: RowsToWrite, first_seq: int) -> None:
        """Write rows, or hold them while there is no room."""
        if self.has_room and not self._held:
            self._hand_over(rows)
            return
        self._held.append((stream, rows, first_seq))
        stream.stalled(first_seq, self._limits.stall_s)

    def drop(self, stream: "SpoolStream") -> None:
        """Forget rows of a stream that are held back."""
        self._held = deque(item for item in self._held if item[0] is not stream)

    def spooled(self, chunk: ChunkRecord, receipt: Receipt) -> None:
        """Rows are on disk. Several streams may share the chunk; it is told on once."""
        if chunk is not self._newest:
            self._newest = chunk
            self._chunk_added(chunk)
        self._receipts.add(chunk, receipt)

    def _hand_over(self, rows: RowsToWrite) -> None:
        self._stored_bytes += len(rows.raw)
        self._writer.append(rows)


class SpoolStream:
    """Implements `gateway.seams.IntakeStream`."""

    def __init__(self, intake: SpoolIntake, queue: int, level: AckLevel, sink: ReceiptSink) -> None:
        self.waiting_bytes = 0
        self._given_up = False
        self._intake = intake
        self._queue = queue
        self._level = level
        self._sink: ReceiptSink | None = sink
        self._deadline: asyncio.TimerHandle | None = None

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        if self._sink is None or self._given_up:
            return
        size_bytes = len(raw)
        self.waiting_bytes += size_bytes

        def written(chunk: ChunkRecord | None, failed: SpoolFailed | None) -> None:
            self.waiting_bytes -= size_bytes
            if chunk is None:
                self._intake.freed(size_bytes)
                self._refuse(first_seq, RowRejected(str(failed), 50000))
            else:
                self._spooled(chunk, first_seq, count, credit_bytes)

        rows = RowsToWrite(self._queue, raw, count, int(time.time() * 1000), written)
        self._intake.take(self, rows, first_seq)

    def close(self) -> None:
        """See `gateway.seams.IntakeStream`."""
        self._sink = None
        self.stall_ended()
        self._intake.drop(self)

    def stalled(self, first_seq: int, stall_s: float) -> None:
        """Rows from ``first_seq`` on are held back: give up if they still are after so long."""
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(stall_s, self._give_up, first_seq)

    def stall_ended(self) -> None:
        """Rows move again."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, first_seq: int) -> None:
        """Take no more; rows that are on their way to the disk are acked all the same."""
        self._deadline = None
        self._given_up = True
        self._intake.drop(self)
        self._refuse(first_seq, RowRejected(SPOOL_FULL, 42900))

    def _spooled(self, chunk: ChunkRecord, first_seq: int, count: int, credit_bytes: int) -> None:
        at_once = self._level is AckLevel.SPOOLED
        waiting = None if at_once else self._sink
        self._intake.spooled(chunk, Receipt(waiting, self._level, first_seq, count))
        if self._sink is not None:
            self._sink.spooled(credit_bytes)
            if at_once:
                self._sink.settled(first_seq, first_seq + count)

    def _refuse(self, seq: int, rejected: RowRejected) -> None:
        if self._sink is not None:
            self._sink.failed(seq, rejected)
