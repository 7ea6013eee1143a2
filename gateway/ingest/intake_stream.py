"""One insert stream's way into the spool.

Law: once a row of the stream was not written, none behind it is: what the client sends again from
that row on would be there twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.clock import now_ms
from gateway.ingest.channels import Opening
from gateway.ingest.entries import ChunkRecord
from gateway.ingest.receipts import Acks, Receipt
from gateway.ingest.writer import (
    OnChannel,
    RefusedRow,
    RowsToWrite,
    SpoolFailed,
    StreamRows,
    Written,
)
from gateway.seams import AckLevel, ReceiptSink
from protocol.errors import RowRejected

MORE_REFUSED = "Too many rows were refused to tell of all at once: send again from offset {} on"
NOT_SEEN = "Rows are committed but not queryable yet"


UntilQueryable = Callable[[int], Awaitable[bool]]
"""Waits until the stream's channel is queryable below an offset; False: not in time."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a stream's rows go, at which level they are acked, who hears of it and who counts."""

    queue: int
    level: AckLevel
    sink: ReceiptSink
    acks: Acks


class Gate(Protocol):
    """What a stream needs of the intake."""

    @property
    def letters_limit_bytes(self) -> int:
        """Bytes of rows among the open dead letters."""

    def take(self, stream: "SpoolStream", rows: RowsToWrite | RefusedRow, first_seq: int) -> None:
        """Write rows, or hold them while there is no room."""

    def drop(self, stream: "SpoolStream") -> None:
        """Forget rows of the stream that are held back."""

    def why_full(self) -> str:
        """What rows that are held back are told."""

    def freed(self, size_bytes: int) -> None:
        """Rows were not written after all."""

    def spooled(self, chunk: ChunkRecord, receipt: Receipt | None) -> None:
        """Rows are on disk."""


class SpoolStream:
    """Implements `gateway.seams.IntakeStream`."""

    def __init__(self, intake: Gate, way: Way) -> None:
        self.waiting_bytes = 0
        self.next_offset: int | None = None
        self.duplicates = 0
        self.closed: Callable[[], None] = _nothing
        """called when the stream is gone"""
        self._intake = intake
        self._way = way
        self._sink: ReceiptSink | None = way.sink
        self._on: OnChannel | None = None
        self._rows = StreamRows()
        self._given_up = False
        self._deadline: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[None] | None = None

    def on_channel(self, opened: Opening, until_queryable: UntilQueryable) -> None:
        """Rows come on a channel, the first of the stream at ``opened.first_offset``.

        What came before is told of in the next turn of the event loop, when the stream is open.
        """
        self._on = OnChannel(opened.channel, opened.first_offset)
        self.next_offset = opened.next_offset
        self.duplicates = opened.next_offset - opened.first_offset
        asyncio.get_running_loop().call_soon(self._tell_known, opened, until_queryable)

    def receipt(self, first_seq: int, count: int, at_row: int) -> Receipt | None:
        """Who waits for rows that are on disk; None: they hold all that was asked for."""
        if self._way.level is AckLevel.SPOOLED or self._sink is None:
            return None
        return Receipt(self._sink, self._way.level, first_seq, count, at_row)

    def _counted_receipt(
        self, first_seq: int, count: int, at_row: int, taken_at: float
    ) -> Receipt | None:
        if self._way.level is AckLevel.SPOOLED or self._sink is None:
            return None
        way = self._way
        return Receipt(self._sink, way.level, first_seq, count, at_row, way.acks, taken_at)

    # ── rows ──

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        if self._sink is None or self._given_up:
            return
        self.waiting_bytes += len(raw)
        taken_at = time.monotonic()

        def written(place: Written | None, failed: SpoolFailed | None) -> None:
            self.waiting_bytes -= len(raw)
            if place is None:
                self._intake.freed(len(raw))
                self.end_at(first_seq, RowRejected(str(failed), 50000))
                return
            assert place.chunk is not None
            receipt = self._counted_receipt(first_seq, count, place.at_row, taken_at)
            self._intake.spooled(place.chunk, receipt)
            self._spooled(credit_bytes)
            if self._way.level is AckLevel.SPOOLED and self._sink is not None:
                self._way.acks.settled(count, taken_at)
                self._sink.settled(first_seq, first_seq + count)

        on = self._offset_of(first_seq)
        rows = RowsToWrite(self._way.queue, raw, count, now_ms(), written, on, self._rows)
        self._intake.take(self, rows, first_seq)

    def refuse(self, seq: int, raw: bytes, rejected: RowRejected, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        if self._sink is None or self._given_up:
            return
        self.waiting_bytes += len(raw)

        def written(place: Written | None, failed: SpoolFailed | None) -> None:
            self.waiting_bytes -= len(raw)
            if place is None:
                self.end_at(seq, RowRejected(str(failed), 50000))
                return
            self._spooled(credit_bytes)
            if self._sink is not None:
                self._sink.failed(seq, rejected)

        row = RefusedRow(
            queue=self._way.queue,
            raw=raw,
            code=rejected.code,
            message=rejected.message,
            at_ms=now_ms(),
            limit_bytes=self._intake.letters_limit_bytes,
            written=written,
            on=self._offset_of(seq),
            of=self._rows,
        )
        self._intake.take(self, row, seq)

    def close(self) -> None:
        """See `gateway.seams.IntakeStream`."""
        self._sink = None
        if self._looking is not None:
            self._looking.cancel()
        self.stall_ended()
        self._intake.drop(self)
        self.closed()

    # ── the end ──

    def end_at(self, seq: int | None, rejected: RowRejected) -> None:
        """Take no more; the stream ends at row ``seq``, or where it stands if that is None.

        Rows on their way to the disk get their verdicts, those that are held back none.
        """
        self._given_up = True
        self.stall_ended()
        self._intake.drop(self)
        if self._sink is None:
            return
        if seq is not None:
            self._sink.broken(seq, rejected)
        else:
            self._sink.stopped(rejected)

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
        self._deadline = None
        self.end_at(first_seq, RowRejected(self._intake.why_full(), 42900))

    # ── inside ──

    def _spooled(self, credit_bytes: int) -> None:
        if self._sink is not None:
            self._sink.spooled(credit_bytes)

    def _offset_of(self, seq: int) -> OnChannel | None:
        if self._on is None:
            return None
        return OnChannel(self._on.channel, self._on.first_offset + seq)

    def _tell_known(self, opened: Opening, until_queryable: UntilQueryable) -> None:
        """Duplicates that no batch is waited for: settled before, or refused before."""
        at_once = self._way.level is AckLevel.SPOOLED
        later: list[tuple[int, int]] = []
        for first, end in opened.settled(and_unsettled=at_once):
            seen = self._seen_to(opened, first, end)
            # A verdict may end the stream: then nobody listens to the next.
            if first < seen and self._sink is not None:
                self._sink.settled(first, seen)
            if seen < end:
                later.append((seen, end))
        for seq, rejected in opened.refused:
            if self._sink is not None:
                self._sink.failed(seq, rejected)
        if opened.more_refused and self._sink is not None:
            self._given_up = True
            text = MORE_REFUSED.format(opened.first_offset + opened.known_to)
            self._sink.broken(opened.known_to, RowRejected(text, 42900))
        if opened.stuck is not None and not at_once and self._sink is not None:
            # Its row came before and waits for the operator: nobody knows for how long.
            self._given_up = True
            self._sink.broken(*opened.stuck)
        if later and self._sink is not None:
            self._looking = asyncio.ensure_future(
                self._settle_once_seen(opened, later, until_queryable)
            )

    def _seen_to(self, opened: Opening, first: int, end: int) -> int:
        """The end of the part of ``[first, end)`` that holds the level of this stream."""
        if self._way.level is not AckLevel.QUERYABLE or opened.unseen_from is None:
            return end
        return min(end, max(first, opened.unseen_from - opened.first_offset))

    async def _settle_once_seen(
        self, opened: Opening, ranges: list[tuple[int, int]], until_queryable: UntilQueryable
    ) -> None:
        """Duplicates that are committed: told one by one as a SELECT comes to see them."""
        for first, end in ranges:
            if not await until_queryable(opened.first_offset + end):
                if self._sink is not None:
                    self._sink.broken(first, RowRejected(NOT_SEEN, 50000))
                return
            if self._sink is not None:
                self._sink.settled(first, end)


def _nothing() -> None:
    """Nobody asks."""
