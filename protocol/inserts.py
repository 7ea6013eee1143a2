"""The ``/inserts-stream`` state machine: bytes of a request in, checked rows and acks out.

It knows no socket and no clock (the arrival time is an argument) and waits for nothing. The shell
feeds it bytes, hands the rows it returns to the intake, tells it what settled, and writes the
frames it has ready.

Before OPEN an error is an HTTP status (a `KsqlError` is raised, the shell answers with it); from
OPEN on the 200 is out and an error is a row. That line is crossed in one place, `admit`.

Laws:
1. ``seq`` is dense from 0 and does not depend on how the bytes were cut.
2. Acks leave in order, each once, never past what is settled; at most one error leaves, after the
   acks of all rows below it, and nothing after it.
3. What is absent from `TRANSITIONS` is an error of the caller, not a silent no-op.

Protocol: ksqlDB API, "Streaming inserts"; facts in the protocol notes §3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from protocol.acks import AckLedger
from protocol.arguments import InsertArguments, parse_insert_arguments
from protocol.errors import BadRequest, RowRejected, insert_error_line
from protocol.framing import Framing, LineBuffer, LineWriter, ack_lines
from protocol.rows import RowChecker, too_long


class State(StrEnum):
    """Where an insert stream stands."""

    AWAITING_ARGS = auto()
    ADMITTING = auto()
    OPEN = auto()
    DRAINING = auto()
    FAILING = auto()
    ENDED = auto()
    CLOSED = auto()


class Input(StrEnum):
    """What can happen to one."""

    ARGS = auto()
    BAD_ARGS = auto()
    ADMITTED = auto()
    REFUSED = auto()
    ROWS = auto()
    BAD_ROW = auto()
    SETTLE_FAILED = auto()
    STOP = auto()
    BODY_END = auto()
    ALL_ACKED = auto()
    ERROR_SENT = auto()
    PEER_LOST = auto()


_S, _I = State, Input

TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (_S.AWAITING_ARGS, _I.ARGS): _S.ADMITTING,
    (_S.AWAITING_ARGS, _I.BAD_ARGS): _S.ENDED,
    (_S.AWAITING_ARGS, _I.REFUSED): _S.ENDED,
    (_S.ADMITTING, _I.ADMITTED): _S.OPEN,
    (_S.ADMITTING, _I.REFUSED): _S.ENDED,
    (_S.ADMITTING, _I.BODY_END): _S.ADMITTING,
    (_S.OPEN, _I.ROWS): _S.OPEN,
    (_S.OPEN, _I.BAD_ROW): _S.FAILING,
    (_S.OPEN, _I.SETTLE_FAILED): _S.FAILING,
    (_S.OPEN, _I.STOP): _S.FAILING,
    (_S.OPEN, _I.BODY_END): _S.DRAINING,
    (_S.DRAINING, _I.SETTLE_FAILED): _S.FAILING,
    (_S.DRAINING, _I.BAD_ROW): _S.FAILING,
    (_S.DRAINING, _I.ROWS): _S.DRAINING,
    (_S.DRAINING, _I.STOP): _S.DRAINING,
    (_S.DRAINING, _I.ALL_ACKED): _S.ENDED,
    (_S.FAILING, _I.SETTLE_FAILED): _S.FAILING,
    (_S.FAILING, _I.STOP): _S.FAILING,
    (_S.FAILING, _I.BODY_END): _S.FAILING,
    (_S.FAILING, _I.ERROR_SENT): _S.ENDED,
    (_S.ENDED, _I.BODY_END): _S.ENDED,
    (_S.ENDED, _I.SETTLE_FAILED): _S.ENDED,
    (_S.ENDED, _I.STOP): _S.ENDED,
    **{(state, _I.PEER_LOST): _S.CLOSED for state in State},
    (_S.CLOSED, _I.SETTLE_FAILED): _S.CLOSED,
    (_S.CLOSED, _I.STOP): _S.CLOSED,
    (_S.CLOSED, _I.BODY_END): _S.CLOSED,
}


class IllegalInput(Exception):
    """The caller told the machine something that cannot happen in its state."""


@dataclass(frozen=True, slots=True)
class RowsChecked:
    """Rows ``[first_seq, first_seq + count)`` are good; ``raw`` holds them as lines."""

    first_seq: int
    count: int
    raw: bytes


@dataclass(slots=True)
class _Received:
    """What has come of the request's body."""

    lines: LineBuffer
    waiting: list[bytes] = field(default_factory=list)
    ended: bool = False
    rows: int = 0


class InsertsStream:
    """One insert request from its first byte to its last ack."""

    def __init__(self, framing: Framing, *, row_limit_bytes: int) -> None:
        self.state = State.AWAITING_ARGS
        self.arguments: InsertArguments | None = None
        self._framing = framing
        self._row_limit_bytes = row_limit_bytes
        self._received = _Received(LineBuffer(row_limit_bytes))
        self._ledger = AckLedger()
        self._checker: RowChecker | None = None
        self._writer = LineWriter(framing, coalesced=False)
        self._closing: list[bytes] = []

    def __repr__(self) -> str:
        return f"<InsertsStream {self.state} rows={self._received.rows} {self._ledger!r}>"

    # ── the request ──

    def receive_data(self, data: bytes, arrival_ms: int) -> list[RowsChecked]:
        """Take bytes of the body; return the rows they complete.

        Raises `BadRequest` while AWAITING_ARGS. In ADMITTING the bytes wait (the shell bounds
        them by not reading on); after a failure or an end they are dropped.
        """
        if self.state is State.AWAITING_ARGS:
            self._receive_arguments(data)
            return []
        if self.state is State.ADMITTING:
            self._received.waiting.append(data)
            return []
        if self.state is not State.OPEN:
            return []
        return self._receive_rows(data, arrival_ms)

    def receive_end(self, arrival_ms: int) -> list[RowsChecked]:
        """The body has ended; a last line without newline counts."""
        self._received.ended = True
        if self.state is State.AWAITING_ARGS:
            line = self._received.lines.finish()
            if not line:
                self._move(Input.BAD_ARGS)
                raise BadRequest("Invalid JSON in request: No content to map due to end-of-input")
            self._parse_arguments(line)
            return []
        if self.state is not State.OPEN:
            self._move(Input.BODY_END)
            return []
        self._move(Input.BODY_END)
        rows = self._check(self._received.lines.finish(), arrival_ms)
        self._finish_if_done()
        return rows

    def admit(self, checker: RowChecker, arrival_ms: int, *, coalesced: bool) -> list[RowsChecked]:
        """The target exists: rows are checked from here on. Returns those that waited."""
        self._move(Input.ADMITTED)
        self._checker = checker
        self._writer = LineWriter(self._framing, coalesced=coalesced)
        waited = b"".join(self._received.waiting)
        self._received.waiting.clear()
        rows = self._receive_rows(waited, arrival_ms) if waited else []
        if self._received.ended and self.state is State.OPEN:
            rows += self.receive_end(arrival_ms)
        return rows

    def refuse(self) -> None:
        """The target cannot be served: the shell answers with a status of its own."""
        self._move(Input.REFUSED)

    # ── the outcome of rows ──

    def settle(self, first_seq: int, end_seq: int) -> None:
        """Rows ``[first_seq, end_seq)`` hold the promised level."""
        if self.state in (State.ENDED, State.CLOSED):
            return
        self._ledger.settle(first_seq, end_seq)
        self._finish_if_done()

    def fail(self, seq: int, rejected: RowRejected) -> None:
        """Row ``seq`` was taken but cannot be stored. Too late once its ack has left."""
        if seq < self._ledger.emitted:
            return
        self._move(Input.SETTLE_FAILED)
        self._ledger.fail(seq, rejected)

    def stop(self, rejected: RowRejected) -> None:
        """End the stream early: acks of what was taken leave, then the error at the next row."""
        was_open = self.state is State.OPEN
        self._move(Input.STOP)
        if was_open:
            self._ledger.fail(self._received.rows, rejected)

    def peer_lost(self) -> None:
        """Nobody listens any more. Rows that were taken stay taken."""
        self._move(Input.PEER_LOST)

    # ── the response ──

    @property
    def ended(self) -> bool:
        """Whether the response is complete once the frames that are ready have been written."""
        return self.state in (State.ENDED, State.CLOSED)

    @property
    def has_frames(self) -> bool:
        """Whether `frames_to_send` would give some now."""
        return bool(self._closing) or self._ledger.ready > 0

    @property
    def owes(self) -> bool:
        """Whether rows were taken whose outcome has not left yet."""
        return self.state in (State.OPEN, State.DRAINING, State.FAILING) and (
            self._ledger.emitted < self._received.rows
        )

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return self._received.rows

    @property
    def acked(self) -> int:
        """Acks handed out so far."""
        return self._ledger.emitted

    def frames_to_send(self, acks_max: int) -> list[bytes]:
        """Take the frames that are ready, at most ``acks_max`` acks in them; [] if none."""
        if self.state is State.CLOSED:
            return []
        frames: list[bytes] = []
        first, end = self._ledger.emit(acks_max)
        if first < end:
            frames = self._writer.write_lines(ack_lines(first, end))
        self._finish_if_done()
        if self._closing:
            frames += self._closing
            self._closing = []
        return frames

    # ── inside ──

    def _receive_arguments(self, data: bytes) -> None:
        head, newline, rest = data.partition(b"\n")
        block = self._received.lines.feed(head + newline)
        if self._received.lines.over_limit() or len(block) > self._row_limit_bytes + 1:
            self._move(Input.BAD_ARGS)
            raise BadRequest(f"Arguments are larger than {self._row_limit_bytes} bytes")
        if not block:
            return
        self._parse_arguments(block)
        if rest:
            self._received.waiting.append(rest)

    def _parse_arguments(self, line: bytes) -> None:
        try:
            self.arguments = parse_insert_arguments(line)
        except BadRequest:
            self._move(Input.BAD_ARGS)
            raise
        self._move(Input.ARGS)

    def _receive_rows(self, data: bytes, arrival_ms: int) -> list[RowsChecked]:
        block = self._received.lines.feed(data)
        rows = self._check(block, arrival_ms)
        if self.state is State.OPEN and self._received.lines.over_limit():
            self._reject(too_long(self._row_limit_bytes))
        return rows

    def _check(self, block: bytes, arrival_ms: int) -> list[RowsChecked]:
        if not block:
            return []
        assert self._checker is not None
        checked = self._checker.check(block, arrival_ms)
        rows: list[RowsChecked] = []
        if checked.count:
            self._move(Input.ROWS)
            rows.append(RowsChecked(self._received.rows, checked.count, checked.raw))
            self._received.rows += checked.count
        if checked.rejected is not None:
            self._reject(checked.rejected)
        return rows

    def _reject(self, rejected: RowRejected) -> None:
        self._move(Input.BAD_ROW)
        self._ledger.fail(self._received.rows, rejected)

    def _finish_if_done(self) -> None:
        if self.state is State.FAILING and self._ledger.failure_is_next:
            failed = self._ledger.failed
            assert failed is not None
            self._move(Input.ERROR_SENT)
            self._closing = self._writer.write([insert_error_line(*failed)]) + self._writer.end()
        elif self.state is State.DRAINING and self._ledger.emitted == self._received.rows:
            self._move(Input.ALL_ACKED)
            self._closing = self._writer.end()

    def _move(self, happened: Input) -> None:
        try:
            self.state = TRANSITIONS[self.state, happened]
        except KeyError:
            raise IllegalInput(f"{happened} in {self.state}") from None


def coalesces(properties: Mapping[str, Any]) -> bool:
    """Whether the request asks for packed frames (``headrace.frames=coalesced``)."""
    return properties.get("headrace.frames") == "coalesced"
