"""The ``/inserts-stream`` state machine: bytes of a request in, checked rows and acks out.

It knows no socket and no clock (the arrival time is an argument) and waits for nothing. The shell
feeds it bytes, hands the rows it returns to the intake, tells it what became of them, and writes
the frames it has ready. Its states are in `protocol.insert_states`.

Before OPEN an error is an HTTP status (a `KsqlError` is raised, the shell answers with it); from
OPEN on the 200 is out and an error is a row. That line is crossed in one place, `admit`.

A bad row ends the stream, or, where the request asks for it (``headrace.on_error=continue``), gets
its error in its place among the acks and the stream goes on. Rows that its channel holds already
(duplicates) are always the first of a stream: they are counted, not checked and not stored again.

Laws:
1. ``seq`` is dense from 0 and does not depend on how the bytes were cut.
2. Each row gets one line, an ack or an error, in order, and an ack never before it is settled. The
   error that a stream ends with leaves after the lines of all rows below it, and nothing after it.
3. A failure of a row that has not come yet (of a duplicate) waits for the row.
4. At most ``errors_max`` errors wait for their turn; the row of one more ends the stream.

Protocol: ksqlDB API, "Streaming inserts"; facts in the protocol notes §3.
"""

from dataclasses import dataclass, field

from protocol.acks import AckLedger
from protocol.arguments import InsertArguments, coalesces, parse_insert_arguments
from protocol.errors import BadRequest, RowRejected, insert_error_line
from protocol.framing import Framing, LineBuffer, LineWriter, ack_lines
from protocol.insert_events import InsertEvent, RowRefused, RowsChecked
from protocol.insert_states import TRANSITIONS, IllegalInput, Input, State
from protocol.rows import Checked, RowChecker, too_long

__all__ = [
    "ERRORS_MAX",
    "TRANSITIONS",
    "IllegalInput",
    "Input",
    "InsertEvent",
    "InsertsStream",
    "RowRefused",
    "RowsChecked",
    "State",
    "coalesces",
]

ERRORS_MAX = 1000
"""Errors of one stream that wait for rows before theirs."""


@dataclass(slots=True)
class _Received:
    """What has come of the request's body."""

    lines: LineBuffer
    waiting: list[bytes] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What was agreed on at admission."""

    duplicates: int = 0
    continues: bool = False


class InsertsStream:
    """One insert request from its first byte to its last ack."""

    def __init__(
        self, framing: Framing, *, row_limit_bytes: int, errors_max: int = ERRORS_MAX
    ) -> None:
        self.state = State.AWAITING_ARGS
        self.arguments: InsertArguments | None = None
        self._framing = framing
        self._row_limit_bytes = row_limit_bytes
        self._errors_max = errors_max
        self._received = _Received(LineBuffer(row_limit_bytes))
        self._ledger = AckLedger()
        self._terms = _Terms()
        self._refused: set[int] = set()
        """rows that failed their check and are not known to be kept elsewhere yet"""
        self._checker: RowChecker | None = None
        self._writer = LineWriter(framing, coalesced=False)
        self._closing: list[bytes] = []

    def __repr__(self) -> str:
        return f"<InsertsStream {self.state} {self._ledger!r}>"

    # ── the request ──

    @property
    def unfinished_bytes(self) -> int:
        """Kept of a line whose newline has not come: up to a row's limit."""
        return self._received.lines.unfinished_bytes

    def receive_data(self, data: bytes, arrival_ms: int) -> list[InsertEvent]:
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

    def receive_end(self, arrival_ms: int) -> list[InsertEvent]:
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
        events = self._take(self._received.lines.finish(), arrival_ms)
        self._finish_if_done()
        return events

    def admit(
        self,
        checker: RowChecker,
        arrival_ms: int,
        *,
        coalesced: bool,
        duplicates: int = 0,
        continues: bool = False,
    ) -> list[InsertEvent]:
        """The target exists: rows are taken from here on. Returns those that waited.

        The first ``duplicates`` rows are held already. ``continues``: bad rows do not end it.
        """
        self._move(Input.ADMITTED)
        self._checker = checker
        self._terms = _Terms(duplicates=duplicates, continues=continues)
        self._writer = LineWriter(self._framing, coalesced=coalesced)
        if self._ledger.end is not None and self._ledger.end[0] == 0:
            self._move(Input.BROKEN)
        waited = b"".join(self._received.waiting)
        self._received.waiting.clear()
        events = self.receive_data(waited, arrival_ms) if waited else []
        if self._received.ended and self.state is State.OPEN:
            events += self.receive_end(arrival_ms)
        return events

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
        """Row ``seq`` alone will never be stored. Too late once its ack has left."""
        if seq < self._ledger.emitted:
            return
        if seq < self.rows and not self._terms.continues:
            self._move(Input.BROKEN)
            self._ledger.break_off(seq, rejected)
            return
        self._move(Input.ROW_FAILED)
        if seq in self._refused:
            self._refused.remove(seq)
        elif self._errors_waiting >= self._errors_max:
            self._break_where_due(seq, self._too_many(rejected))
            return
        self._ledger.fail(seq, rejected)

    def break_off(self, seq: int, rejected: RowRejected) -> None:
        """From row ``seq`` on nothing is promised: the stream ends there, or at the first row
        after it whose ack has not left."""
        seq = min(max(seq, self._ledger.emitted), self.rows)
        nothing_owed = self.state is State.DRAINING and seq == self.rows
        self._move(Input.STOP if nothing_owed else Input.BROKEN)
        if not nothing_owed:
            self._ledger.break_off(seq, rejected)

    def stop(self, rejected: RowRejected) -> None:
        """End the stream early: verdicts of what was taken leave, then the error at the next row.

        After the body's end that is how it ends anyway.
        """
        takes_rows = self.state in (State.ADMITTING, State.OPEN)
        self._move(Input.STOP)
        if takes_rows:
            self._ledger.break_off(self.rows, rejected)

    def abandon(self, rejected: RowRejected) -> None:
        """Wait no longer: what is ready leaves, then the error at the first row without a verdict;
        at the next row if all have theirs and the body has not ended."""
        undecided = self._ledger.decided
        nothing_owed = self.state is State.DRAINING and undecided == self.rows
        self._move(Input.STOP if nothing_owed else Input.ABANDON)
        if not nothing_owed:
            self._ledger.break_off(undecided, rejected)

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
            self._ledger.emitted < self.rows
        )

    @property
    def rows(self) -> int:
        """Rows taken so far, duplicates and refused ones too."""
        return self._ledger.taken

    @property
    def acked(self) -> int:
        """Acks and errors of rows handed out so far."""
        return self._ledger.emitted

    def frames_to_send(self, acks_max: int) -> list[bytes]:
        """Take the frames that are ready, at most ``acks_max`` acks in them; [] if none."""
        if self.state is State.CLOSED:
            return []
        lines = self._lines(acks_max)
        frames = self._writer.write_lines(lines) if lines else []
        self._finish_if_done()
        if self._closing:
            frames += self._closing
            self._closing = []
        return frames

    def _lines(self, rows_max: int) -> bytes:
        parts: list[bytes] = []
        while rows_max > 0:
            first, end, rejected = self._ledger.emit(rows_max)
            if first == end:
                break
            rows_max -= end - first
            if rejected is None:
                parts.append(ack_lines(first, end, self._terms.duplicates))
            else:
                parts.append(insert_error_line(first, rejected) + b"\n")
        return b"".join(parts)

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

    def _receive_rows(self, data: bytes, arrival_ms: int) -> list[InsertEvent]:
        events = self._take(self._received.lines.feed(data), arrival_ms)
        if self.state is State.OPEN and self._received.lines.over_limit():
            events += self._take_oversize_line()
        return events

    def _take(self, block: bytes, arrival_ms: int) -> list[InsertEvent]:
        """Take whole lines: duplicates first, then rows to check."""
        if block and self.rows < self._terms.duplicates:
            block = self._take_duplicates(block)
        if not block:
            return []
        assert self._checker is not None
        if self._terms.continues:
            segments = self._checker.check_all(block, arrival_ms)
        else:
            segments = iter((self._checker.check(block, arrival_ms),))
        events: list[InsertEvent] = []
        for checked in segments:
            events += self._take_checked(checked)
            if self.state is State.FAILING:
                break
        return events

    def _take_duplicates(self, block: bytes) -> bytes:
        """Count the lines of rows that are held already; returns the lines after them."""
        wanted = self._terms.duplicates - self.rows
        count = block.count(b"\n")
        rest = b"" if count <= wanted else block.split(b"\n", wanted)[wanted]
        self._count(min(count, wanted))
        # A failure that waited for one of these has its row now: what comes after is not taken.
        return rest if self.state is not State.FAILING else b""

    def _take_checked(self, checked: Checked) -> list[InsertEvent]:
        events: list[InsertEvent] = []
        if checked.count:
            events.append(RowsChecked(self.rows, checked.count, checked.raw))
            self._count(checked.count)
        if checked.rejected is not None:
            events += self._take_bad_row(checked.refused, checked.rejected)
        return events

    def _take_bad_row(self, raw: bytes, rejected: RowRejected) -> list[InsertEvent]:
        """Its error is told once it is kept elsewhere; or it ends the stream."""
        if self._terms.continues and self._errors_waiting < self._errors_max:
            refused = RowRefused(self.rows, raw, rejected)
            self._refused.add(self.rows)
            self._count(1)
            return [refused]
        self._move(Input.BAD_ROW)
        if self._terms.continues:
            rejected = self._too_many(rejected)
        self._ledger.break_off(self.rows, rejected)
        return []

    def _take_oversize_line(self) -> list[InsertEvent]:
        """A line over the limit that goes on: nothing of it is waited for."""
        start = self._received.lines.drop_line()
        if self.rows < self._terms.duplicates:
            self._count(1)
            return []
        return self._take_bad_row(start, too_long(self._row_limit_bytes))

    def _count(self, rows: int) -> None:
        self._move(Input.ROWS)
        self._ledger.taken += rows
        self._break_where_reached()

    # ── errors ──

    @property
    def _errors_waiting(self) -> int:
        return self._ledger.errors + len(self._refused)

    def _too_many(self, rejected: RowRejected) -> RowRejected:
        return RowRejected(
            f"{self._errors_max} rows of this stream have failed whose errors wait for rows before "
            "them: the stream ends here. See to the rows, and send again from this one on. What "
            f"is wrong with it: {rejected.message}",
            rejected.code,
        )

    def _break_where_due(self, seq: int, rejected: RowRejected) -> None:
        self._ledger.break_off(seq, rejected)
        self._break_where_reached()

    def _break_where_reached(self) -> None:
        """End the stream at a row that had failed before it came."""
        if self.state not in (State.OPEN, State.DRAINING):
            return
        first = self._ledger.first_error
        if first is not None and first[0] < self.rows and not self._terms.continues:
            self._ledger.break_off(*first)
        end = self._ledger.end
        if end is not None and end[0] < self.rows:
            self._move(Input.BROKEN)

    # ── the end ──

    def _finish_if_done(self) -> None:
        if self.state is State.FAILING and self._ledger.end_is_next:
            end = self._ledger.end
            assert end is not None
            self._move(Input.ERROR_SENT)
            self._closing = self._writer.write([insert_error_line(*end)]) + self._writer.end()
        elif self.state is State.DRAINING and self._ledger.emitted == self.rows:
            self._move(Input.ALL_ACKED)
            self._closing = self._writer.end()

    def _move(self, happened: Input) -> None:
        try:
            self.state = TRANSITIONS[self.state, happened]
        except KeyError:
            raise IllegalInput(f"{happened} in {self.state}") from None
