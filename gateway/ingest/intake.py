"""The intake: from a checked chunk of rows to the spool, and word back once it is on disk.

Nothing waits here: `append` hands over and returns. What bounds memory is the credit that the
stream's own shell withholds until `ReceiptSink.spooled` tells it that bytes are on disk. While
there is no room (`capacity`), rows are held back unwritten, so no credit flows and clients stall;
a stream that is held longer than the stall deadline ends at its first held row with 42900, and
what it sent before stays.

Channels are opened through the writer, behind all rows that were handed over before: what the
channel says then is final for the stream that had it.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from gateway.ingest.capacity import Capacity
from gateway.ingest.channels import ChannelLookup, Opening, open_channel
from gateway.ingest.entries import ChunkRecord, QueueRecord
from gateway.ingest.intake_stream import SpoolStream, Way
from gateway.ingest.measures import IngestMeasures
from gateway.ingest.receipts import Receipt, Receipts
from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import RefusedRow, RowsToWrite, SpoolFailed, SpoolWriter
from gateway.seams import (
    AckLevel,
    ChannelClaim,
    ChannelOffsets,
    InsertSpec,
    IntakeStream,
    ReceiptSink,
    Source,
    SpoolFull,
)
from protocol.errors import BadRequest, RowRejected, SpoolAway, TooManyRequests

FENCED = "A newer connection has taken channel '{}' over: this stream is fenced"


class SpoolIntake:
    """Implements `gateway.seams.Intake` over the spool's writer."""

    def __init__(
        self,
        writer: SpoolWriter,
        receipts: Receipts,
        capacity: Capacity,
        chunk_added: Callable[[ChunkRecord], None],
        lookup: ChannelLookup,
        measures: IngestMeasures | None = None,
    ) -> None:
        self._writer = writer
        self._measures = measures or IngestMeasures()
        self._receipts = receipts
        self._capacity = capacity
        self._chunk_added = chunk_added
        self._lookup = lookup
        self._queues: dict[tuple[str, InsertSpec], QueueRecord] = {}
        self._held: deque[tuple[SpoolStream, RowsToWrite | RefusedRow, int]] = deque()
        self._holders: dict[tuple[str, str], SpoolStream] = {}
        self._newest: ChunkRecord | None = None

    def recovered(self, queues: list[QueueRecord], stored_bytes: int) -> None:
        """What the spool held when it was opened."""
        self._queues = {(queue.source, queue.spec): queue for queue in queues}
        self._capacity.stored_bytes = stored_bytes

    async def open_stream(
        self,
        source: Source,
        level: AckLevel,
        sink: ReceiptSink,
        channel: ChannelClaim | None = None,
    ) -> IntakeStream:
        """See `gateway.seams.Intake`."""
        if self._writer.fault is not None:
            raise SpoolAway(self._writer.fault)
        if (full := self._capacity.full()) is not None:
            raise SpoolFull(full)
        try:
            queue = await self._queue(source)
            if channel is None:
                return SpoolStream(self, self._way(queue, level, sink))
            return await self._open_on(source, queue, level, sink, channel)
        except SpoolFailed as failed:
            raise SpoolAway(str(failed)) from failed

    async def channel(self, source: Source, name: str) -> ChannelOffsets | None:
        """See `gateway.seams.Intake`."""
        return await self._lookup.offsets(source.name, name)

    @property
    def holders(self) -> list[SpoolStream]:
        """Streams that hold a channel now."""
        return list(self._holders.values())

    @property
    def stalled_streams(self) -> int:
        """Streams whose rows are held back for want of room."""
        return len({stream for stream, _, _ in self._held})

    async def _queue(self, source: Source) -> QueueRecord:
        key = (source.name, source.spec)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = await self._writer.record(lambda spool: spool.queue(*key))
        return queue

    def _way(self, queue: QueueRecord, level: AckLevel, sink: ReceiptSink) -> Way:
        return Way(queue.id, level, sink, self._measures.acks(queue.source, level))

    # ── channels ──

    async def _open_on(
        self,
        source: Source,
        queue: QueueRecord,
        level: AckLevel,
        sink: ReceiptSink,
        claim: ChannelClaim,
    ) -> IntakeStream:
        key = (source.name, claim.name)

        def opening(spool: SpoolFile) -> Opening:
            return open_channel(spool, source.name, claim, self._capacity.channels_max)

        if key in self._holders:
            # A claim that is refused anyway must not cost the one who has the channel its stream.
            _require(await self._writer.record(opening), claim)
            self._fence(key)
        stream = SpoolStream(self, self._way(queue, level, sink))
        self._holders[key] = stream
        try:
            opened = await self._writer.record(opening)
            _require(opened, claim)
        except BaseException:
            self._let_go(key, stream)
            raise
        if self._holders.get(key) is not stream:
            raise BadRequest(FENCED.format(claim.name))
        stream.closed = lambda: self._let_go(key, stream)
        stream.on_channel(opened, partial(self._lookup.until_queryable, *key))
        self._wait_for_duplicates(stream, opened)
        return stream

    def _fence(self, key: tuple[str, str]) -> None:
        """Whoever has the channel takes no more rows; those of it that are held back go unsaid."""
        holder = self._holders.pop(key, None)
        # One that is being opened finds out by itself that it is not the holder any more.
        if holder is not None and holder.next_offset is not None:
            holder.end_at(self._first_held(holder), RowRejected(FENCED.format(key[1]), 40000))

    def _let_go(self, key: tuple[str, str], stream: SpoolStream) -> None:
        if self._holders.get(key) is stream:
            del self._holders[key]

    def _wait_for_duplicates(self, stream: SpoolStream, opened: Opening) -> None:
        """What came before and has no verdict yet is waited for where it lies."""
        for stretch, seq, count in opened.waiting():
            at_row = stretch.at_row + opened.first_offset + seq - stretch.first_offset
            receipt = stream.receipt(seq, count, at_row)
            if receipt is not None:
                self._receipts.add(stretch.queue, stretch.chunk, receipt)

    # ── rows ──

    def look_again(self) -> None:
        """Room may have come back."""
        moved: set[SpoolStream] = set()
        while self._held and self._capacity.full() is None:
            stream, rows, _ = self._held.popleft()
            moved.add(stream)
            self._hand_over(rows)
        for stream in moved:
            stream.stall_ended()
        still: set[SpoolStream] = set()
        for stream, _, first_seq in self._held:
            if stream in moved and stream not in still:
                still.add(stream)
                stream.stalled(first_seq, self._capacity.stall_s)

    def freed(self, size_bytes: int) -> None:
        """Room has come back."""
        self._capacity.stored_bytes -= size_bytes
        self.look_again()

    def take(self, stream: SpoolStream, rows: RowsToWrite | RefusedRow, first_seq: int) -> None:
        """Write rows, or hold them while there is no room."""
        if not self._held and self._capacity.full() is None:
            self._hand_over(rows)
            return
        self._held.append((stream, rows, first_seq))
        stream.stalled(first_seq, self._capacity.stall_s)

    def drop(self, stream: SpoolStream) -> None:
        """Forget rows of a stream that are held back."""
        self._held = deque(item for item in self._held if item[0] is not stream)

    def why_full(self) -> str:
        """What rows that are held back are told."""
        return self._capacity.full() or "The spool had no room for too long"

    @property
    def letters_limit_bytes(self) -> int:
        """Bytes of rows among the open dead letters."""
        return self._capacity.letters_limit_bytes

    def spooled(self, chunk: ChunkRecord, receipt: Receipt | None) -> None:
        """Rows are on disk. Several streams may share the chunk; it is told on once."""
        if chunk is not self._newest:
            self._newest = chunk
            self._chunk_added(chunk)
        if receipt is not None:
            self._receipts.add(chunk.queue, chunk.id, receipt)

    def _first_held(self, stream: SpoolStream) -> int | None:
        return next((seq for held, _, seq in self._held if held is stream), None)

    def _hand_over(self, rows: RowsToWrite | RefusedRow) -> None:
        if isinstance(rows, RowsToWrite):
            self._capacity.stored_bytes += len(rows.raw)
        self._writer.append(rows)


def _require(opened: Opening, claim: ChannelClaim) -> None:
    """Refuse a claim that the channel does not take. Raises `KsqlError`."""
    if opened.no_room:
        raise TooManyRequests(
            f"Channel '{claim.name}' is new, and there are as many as may be: raise "
            "ingest.channels_max, or use a channel that is known"
        )
    if opened.first_offset > opened.next_offset:
        raise BadRequest(
            f"headrace.offset {opened.first_offset} is above the next offset "
            f"{opened.next_offset} of channel '{claim.name}': rows between them are missing. "
            f"Send from {opened.next_offset} on."
        )
