"""The shell of one insert stream: bytes from a transport in, frames for it out.

It drives `protocol.inserts.InsertsStream` and hands rows to the intake. It knows no transport:
whoever owns the socket calls `receive` and `receive_end`, awaits `admit` once the arguments are
there, and takes frames until `ended`. Two callers at once, a reader and a writer, never wait for
one another: the reader looks at `readable`, the writer at `frames`.

Law (DESIGN §7, 9): no reader waits for anything that its own writer or the client's window
controls.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.clock import now_ms
from gateway.http.allowance import StreamAllowance
from gateway.http.measures import InsertMeasure, TargetMeasure
from gateway.seams import (
    AckLevel,
    ChannelClaim,
    Intake,
    IntakeStream,
    Permit,
    Right,
    Source,
    Sources,
    SpoolFull,
    TimeEncoding,
    resolve_permitted,
)
from protocol.arguments import InsertArguments, InsertOptions, parse_insert_options
from protocol.errors import BadRequest, Forbidden, RowRejected, TooManyRequests
from protocol.framing import Framing
from protocol.inserts import InsertEvent, InsertsStream, RowsChecked, State
from protocol.rows import Field, RowChecker, RowSchema
from protocol.timestamps import compile_pattern
from protocol.types import Base

ACKS_PER_TURN = 512
"""Acks framed in one turn: a large batch must not hold the event loop, nor fill memory."""


_BAD_ROW_CODE = 40000
_WITHDRAWN = (
    "You may not insert into this stream any more: the rules have changed, or what you showed has "
    "expired. Rows from here on were not taken."
)


class PeerGone(Exception):
    """The stream is over before its response began: nobody hears an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertLimits:
    """Bytes of a row, bytes of rows that are not on disk yet, and the ack level by default."""

    row_bytes: int
    waiting_bytes: int
    ack: AckLevel


class InsertSession:
    """One request to ``/inserts-stream``. Implements `gateway.seams.ReceiptSink`."""

    def __init__(
        self,
        sources: Sources,
        intake: Intake,
        limits: InsertLimits,
        framing: Framing,
        measure: InsertMeasure | None = None,
        *,
        permit: Permit,
    ) -> None:
        self.stream = InsertsStream(framing, row_limit_bytes=limits.row_bytes)
        self._sources = sources
        self._intake = intake
        self._limits = limits
        self._measure = measure or InsertMeasure()
        self._counts: TargetMeasure | None = None
        self._duplicates = 0
        self._is_broken = False
        self._way_in: IntakeStream | None = None
        self.channel: str | None = None
        """the channel that the stream is on, once it is admitted"""
        self._uncredited_bytes = 0
        self._changed = asyncio.Event()
        self._on_disk = asyncio.Event()
        self.on_change: Callable[[], None] = self._changed.set
        """called when frames may have got ready"""
        self.permit = permit
        self._allowance = StreamAllowance(permit, self._released)
        self.on_done: Callable[[int], None] = _nothing
        """called with wire bytes that are done with: a transport gives credit for them"""

    # ── the reader's side ──

    @property
    def needs_admission(self) -> bool:
        """Whether the arguments are there and `admit` is to be awaited."""
        return self.stream.state is State.ADMITTING

    @property
    def readable(self) -> bool:
        """Whether more of the request may be read now."""
        if self._way_in is None:
            return self.stream.state is State.AWAITING_ARGS or self.stream.ended
        if self.held and not self.stream.ended:
            return False
        return self._way_in.waiting_bytes < self._limits.waiting_bytes

    @property
    def held(self) -> bool:
        """Whether its principal is to send no more for now: `on_change` tells the end of that."""
        return self._allowance.held

    @property
    def debt_s(self) -> float:
        """For how long, when that was last asked."""
        return self._allowance.debt_s

    async def until_readable(self) -> None:
        """Wait until rows have gone to disk."""
        while not self.readable:
            self._on_disk.clear()
            await self._on_disk.wait()

    @property
    def waiting_bytes(self) -> int:
        """Rows that were taken and are not on disk yet."""
        return self._way_in.waiting_bytes if self._way_in is not None else 0

    @property
    def unfinished_bytes(self) -> int:
        """Of a line that has begun: they are credited at once, or it could not be finished."""
        return self.stream.unfinished_bytes

    def receive(self, data: bytes) -> None:
        """Take bytes of the body. Raises `BadRequest` while the arguments are awaited."""
        if self._allowance.withdrawn:
            self.stop(RowRejected(_WITHDRAWN, Forbidden.code))
        self._uncredited_bytes += len(data)
        self._take(self.stream.receive_data(data, now_ms()))

    def receive_end(self) -> None:
        """The body has ended. Raises `BadRequest` if there were no arguments."""
        self._take(self.stream.receive_end(now_ms()))

    @property
    def next_offset(self) -> int | None:
        """Where the channel stood when the stream was admitted to it."""
        return self._way_in.next_offset if self._way_in is not None else None

    async def admit(self) -> None:
        """Find the target and open the way into the spool. Raises `KsqlError`, `PeerGone`."""
        arguments = self.stream.arguments
        assert arguments is not None
        try:
            options = parse_insert_options(arguments.properties)
            source, way_in = await self._open(arguments, options)
        except SpoolFull as full:
            self._refuse()
            raise TooManyRequests(str(full)) from full
        except BaseException:
            self._refuse()
            raise
        self._way_in = way_in
        if not self.needs_admission:
            way_in.close()
            raise PeerGone("the stream is gone")
        self.channel = options.channel
        self.permit.record("insert", source.name)
        self._counts = self._measure.opened(source.name)
        events = self.stream.admit(
            RowChecker(row_schema(source), row_limit_bytes=self._limits.row_bytes),
            now_ms(),
            coalesced=options.coalesced,
            duplicates=way_in.duplicates,
            continues=options.continues,
        )
        self._take(events)

    async def _open(
        self, arguments: InsertArguments, options: InsertOptions
    ) -> tuple[Source, IntakeStream]:
        level = self._level(arguments.properties.get("headrace.ack"))
        claim = None
        if options.channel is not None:
            claim = ChannelClaim(name=options.channel, offset=options.offset)
        source = await resolve_permitted(self._sources, arguments.target, self.permit, Right.INSERT)
        self._allowance.open(source.name)
        if level is None:
            level = source.ack or self._limits.ack
        return source, await self._intake.open_stream(source, level, self, channel=claim)

    def _refuse(self) -> None:
        """Not a second time, where the peer gave up while it was looked for the target."""
        if self.needs_admission:
            self.stream.refuse()

    # ── the writer's side ──

    async def frames(self) -> AsyncIterator[list[bytes]]:
        """Frames as they get ready, to the end of the response."""
        while True:
            self._changed.clear()
            frames = self.stream.frames_to_send(ACKS_PER_TURN)
            if frames:
                yield frames
            elif self.stream.ended:
                return
            else:
                await self._changed.wait()

    def stop(self, rejected: RowRejected) -> None:
        """End the stream early; what was taken is still acked, then this error says why."""
        if self.stream.state in (State.ADMITTING, State.OPEN):
            self._count_broken(rejected.code)
        self.stream.stop(rejected)
        self.on_change()

    def abandon(self, rejected: RowRejected) -> None:
        """End the stream at the first row whose verdict is not there: no more is waited for."""
        self.stream.abandon(rejected)
        self.on_change()

    def close(self) -> None:
        """The response is over, or nobody listens any more."""
        self.stream.peer_lost()
        self._allowance.close()
        if self._way_in is not None:
            self._way_in.close()
        self.on_change()
        self._on_disk.set()

    # ── what becomes of rows ──

    def spooled(self, credit_bytes: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self._on_disk.set()
        self.on_done(credit_bytes)

    def settled(self, first_seq: int, end_seq: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.stream.settle(first_seq, end_seq)
        self.on_change()

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.stream.fail(seq, rejected)
        if self.stream.state is State.FAILING:
            self._count_broken(rejected.code)
        self.on_change()
        self._on_disk.set()

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.stream.break_off(seq, rejected)
        self._count_broken(rejected.code)
        self.on_change()
        self._on_disk.set()

    def stopped(self, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.stop(rejected)

    def _take(self, events: list[InsertEvent]) -> None:
        if self._counts is not None:
            self._count(self._counts, events)
        for event in events:
            assert self._way_in is not None
            # The first carries the credit for all: none of a read's bytes is given back before.
            credit_bytes, self._uncredited_bytes = self._uncredited_bytes, 0
            if isinstance(event, RowsChecked):
                self._allowance.took(event.count, len(event.raw))
                self._way_in.append(event.first_seq, event.count, event.raw, credit_bytes)
            else:
                self._allowance.took(1, len(event.raw))
                self._way_in.refuse(event.seq, event.raw, event.rejected, credit_bytes)
        if self._uncredited_bytes and self.stream.state is not State.ADMITTING:
            # No row took these bytes: part of a line, which is bounded by itself, or dropped.
            credit_bytes, self._uncredited_bytes = self._uncredited_bytes, 0
            self.on_done(credit_bytes)
        self.on_change()

    def _released(self) -> None:
        self._on_disk.set()
        self.on_change()

    def _count(self, counts: TargetMeasure, events: list[InsertEvent]) -> None:
        for event in events:
            if isinstance(event, RowsChecked):
                counts.received(event.count, len(event.raw))
            else:
                counts.refused()
        if self.stream.state is State.FAILING and not self._is_broken:
            counts.refused()
            self._count_broken(_BAD_ROW_CODE)
        if self._way_in is not None and self._duplicates < self._way_in.duplicates:
            duplicates = min(self.stream.rows, self._way_in.duplicates)
            self._measure.duplicates(duplicates - self._duplicates)
            self._duplicates = duplicates

    def _count_broken(self, code: int) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._measure.broken(code)

    @staticmethod
    def _level(text: object) -> AckLevel | None:
        if text is None:
            return None
        try:
            return AckLevel(str(text))
        except ValueError:
            known = ", ".join(AckLevel)
            raise BadRequest(
                f"Unknown ack level '{text}': headrace.ack is one of {known}"
            ) from None


def row_schema(source: Source) -> RowSchema:
    """What rows of a source must look like, from what the catalogue knows of it."""
    read_time = compile_pattern(source.time_format) if source.time_format else None
    fields = []
    for column, stored in zip(source.columns, source.spec.columns, strict=True):
        is_time = stored.name == source.spec.time_column
        fields.append(
            Field(
                column=column,
                stored_as=stored.name,
                is_time=is_time,
                read_time=read_time if is_time and column.type.base is Base.STRING else None,
            )
        )
    has_time = any(field.is_time for field in fields)
    assert has_time or source.spec.time_encoding is TimeEncoding.MILLIS
    return RowSchema(
        fields=tuple(fields),
        stamp_as=None if has_time else source.spec.time_column,
        folds=source.declared,
    )


def _nothing(_: int) -> None:
    """A transport that gives credit by itself."""
