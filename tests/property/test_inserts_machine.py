"""The insert stream under Hypothesis: any cutting of the bytes, any order of the outcomes, rows
that fail, rows that were sent before, in both modes."""

from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from protocol.errors import BadRequest, RowRejected
from protocol.framing import Framing
from protocol.inserts import InsertEvent, InsertsStream, RowRefused, State
from protocol.rows import Field, RowChecker, RowSchema
from protocol.types import BIGINT, DOUBLE, STRING, Column

LIMIT = 64
NOW = 1_700_000_000_000
SCHEMA = RowSchema(
    fields=tuple(
        Field(column=column, stored_as=column.name)
        for column in (Column("A", BIGINT), Column("D", DOUBLE), Column("S", STRING))
    )
)
framings = st.sampled_from([Framing.DELIMITED, Framing.JSON])

good_rows = st.sampled_from(
    [b'{"A":1}', b'{"a":2}', b'{ "A" : 3 }', b'{"D":1e5}', b'{"D":2,"S":null}', b"{}",
     b'{"A":\r4}', b'{"S":"\\u00e9\\n"}', '{"S":"é"}'.encode(), b'{"unknown":[1]}',
     b'{"S":"' + b"x" * (LIMIT - 8) + b'"}'],
)  # fmt: skip
bad_rows = st.sampled_from(
    [b"", b" ", b"null", b"{", b'{"A":1}{"A":2}', b'{"A":1.5}', b'{"A":"1"}', b'{"S":"\xff"}',
     b'{"S":"\\u0000"}', b'{"A":1,"a":1}', b'{"S":"' + b"x" * (LIMIT - 7) + b'"}'],
)  # fmt: skip
newlines = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int, bool]:
    """A body of rows, how many of them are good before the first bad, and whether one is bad."""
    lines = draw(st.lists(good_rows, max_size=8))
    count = len(lines)
    refused = draw(st.booleans())
    if refused:
        lines.append(draw(bad_rows))
        lines += draw(st.lists(st.one_of(good_rows, bad_rows), max_size=3))
    # A carriage return counts as a byte of its row, so rows at the limit end without one.
    body = b"".join(line + (b"\n" if len(line) >= LIMIT else draw(newlines)) for line in lines)
    if lines and lines[-1] and draw(st.booleans()):
        body = body.removesuffix(b"\n").removesuffix(b"\r")
    return body, count, refused


@dataclass
class Seen:
    """What came of a request: rows by their sequence numbers, and the response."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    response: bytes = b""


def run(pieces: list[bytes], framing: Framing, admit_after: int, *, coalesced: bool) -> Seen:
    """Feed a request; admit it some pieces after its arguments are there; settle at once."""
    stream, seen = InsertsStream(framing, row_limit_bytes=LIMIT), Seen()
    waited = 0

    def take(checked: list[Any]) -> None:
        for rows in checked:
            lines = rows.raw.split(b"\n")[:-1]
            assert rows.first_seq == len(seen.rows)
            assert len(lines) == rows.count
            for line in lines:
                members = orjson.loads(line)
                known = {name: value for name, value in members.items() if value is not None}
                seen.rows[len(seen.rows)] = known
            stream.settle(rows.first_seq, rows.first_seq + rows.count)
        seen.response += b"".join(stream.frames_to_send(3))

    for piece in pieces:
        take(stream.receive_data(piece, NOW))
        if stream.state is State.ADMITTING:
            waited += 1
            if waited > admit_after:
                take(stream.admit(checker(), NOW, coalesced=coalesced))
    take(stream.receive_end(NOW))
    if stream.state is State.ADMITTING:
        take(stream.admit(checker(), NOW, coalesced=coalesced))
    while frames := stream.frames_to_send(3):
        seen.response += b"".join(frames)
    assert stream.ended
    return seen


def checker() -> RowChecker:
    return RowChecker(SCHEMA, row_limit_bytes=LIMIT)


@settings(deadline=None, max_examples=150)
@given(bodies(), framings, st.booleans(), st.integers(0, 3), st.data())
def test_events_and_answer_do_not_depend_on_how_the_bytes_were_cut(
    drawn: tuple[bytes, int, bool],
    framing: Framing,
    coalesced: bool,
    admit_after: int,
    data: st.DataObject,
) -> None:
    rows, count, refused = drawn
    request = b'{"target":"S"}' + data.draw(newlines) + rows
    whole = run([request], framing, 0, coalesced=coalesced)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(request)), max_size=8)))
    pieces = [request[a:b] for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True)]
    bytewise = [request[at : at + 1] for at in range(len(request))]
    assert run(pieces, framing, admit_after, coalesced=coalesced) == whole
    assert run(bytewise, framing, admit_after, coalesced=coalesced) == whole
    answer = documents(whole.response, framing)
    assert list(whole.rows) == list(range(count))
    assert answer[:count] == [{"status": "ok", "seq": seq} for seq in range(count)]
    assert [error["seq"] for error in answer[count:]] == ([count] if refused else [])


def documents(response: bytes, framing: Framing) -> list[dict[str, Any]]:
    if framing is Framing.JSON:
        found = orjson.loads(response)
        assert isinstance(found, list)
        return found
    assert response == b"" or response.endswith(b"\n")
    return [orjson.loads(line) for line in response.splitlines()]


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=4))
def test_any_arguments_are_taken_or_a_bad_request_however_they_were_cut(
    line: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> object:
        stream = InsertsStream(Framing.DELIMITED, row_limit_bytes=LIMIT)
        try:
            for piece in pieces:
                stream.receive_data(piece, NOW)
            stream.receive_end(NOW)
        except BadRequest as refused:
            assert stream.state is State.ENDED
            return type(refused)
        assert stream.state is State.ADMITTING
        return stream.arguments

    ends = sorted(cuts)
    pieces = [line[a:b] for a, b in zip([0, *ends], [*ends, len(line)], strict=True)]
    assert outcome(pieces) == outcome([line])


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """A request of single rows: its lines, which of them are bad, and what becomes of the rest."""

    lines: list[tuple[bytes, bool]]
    failing: set[int]
    duplicates: int
    continues: bool

    @property
    def body(self) -> bytes:
        return b"".join(line + b"\n" for line, _ in self.lines)

    def verdict(self, seq: int) -> str:
        """Of a row that is looked at alone: ok, again, failed, or bad."""
        if seq >= self.duplicates and self.lines[seq][1]:
            return "bad"
        if seq in self.failing:
            return "failed"
        return "again" if seq < self.duplicates else "ok"

    def told(self) -> list[tuple[int, str]]:
        """The model: every row has its verdict, up to the first error where that ends it."""
        told = []
        for seq in range(len(self.lines)):
            told.append((seq, self.verdict(seq)))
            if not self.continues and told[-1][1] in ("failed", "bad"):
                break
        return told


@st.composite
def cases(draw: st.DrawFn) -> Case:
    bad = st.tuples(bad_rows, st.just(True))
    good = st.tuples(good_rows, st.just(False))
    lines = draw(st.lists(st.one_of(good, good, bad), max_size=10))
    rows = st.integers(0, 12)
    return Case(lines, draw(st.sets(rows, max_size=3)), draw(rows), draw(st.booleans()))


class Answering:
    """Feeds a request and lets the outcomes of its rows come in an order that is drawn."""

    def __init__(self, case: Case, framing: Framing, data: st.DataObject) -> None:
        self.case = case
        self.data = data
        self.stream = InsertsStream(framing, row_limit_bytes=LIMIT)
        self.response = b""
        self.outcomes = [(seq, self.case_failed(seq)) for seq in range(case.duplicates)]

    def case_failed(self, seq: int) -> RowRejected | None:
        return RowRejected("failed") if seq in self.case.failing else None

    def admit(self) -> None:
        self.take(
            self.stream.admit(
                checker(),
                NOW,
                coalesced=self.data.draw(st.booleans()),
                duplicates=self.case.duplicates,
                continues=self.case.continues,
            )
        )

    def take(self, events: list[InsertEvent]) -> None:
        for event in events:
            if isinstance(event, RowRefused):
                assert self.case.verdict(event.seq) == "bad"
                assert event.raw == self.case.lines[event.seq][0][:LIMIT]
                self.outcomes.append((event.seq, RowRejected("bad")))
                continue
            for seq in range(event.first_seq, event.first_seq + event.count):
                assert seq >= self.case.duplicates
                assert self.case.verdict(seq) in ("ok", "failed")
                self.outcomes.append((seq, self.case_failed(seq)))

    def let_some_happen(self, count: int) -> None:
        for _ in range(min(count, len(self.outcomes))):
            at = self.data.draw(st.integers(0, len(self.outcomes) - 1))
            seq, rejected = self.outcomes.pop(at)
            if rejected is not None:
                self.stream.fail(seq, rejected)
            else:
                self.stream.settle(seq, seq + 1)
        self.response += b"".join(self.stream.frames_to_send(self.data.draw(st.integers(1, 5))))


@settings(deadline=None, max_examples=300)
@given(cases(), framings, st.data())
def test_each_row_gets_its_one_line_however_bytes_were_cut_and_outcomes_came(
    case: Case, framing: Framing, data: st.DataObject
) -> None:
    answering = Answering(case, framing, data)
    stream, body = answering.stream, case.body
    if body.endswith(b"\n") and case.lines[-1][0] and data.draw(st.booleans()):
        body = body[:-1]
    stream.receive_data(b'{"target":"S"}\n', NOW)
    answering.let_some_happen(data.draw(st.integers(0, 3)))
    answering.admit()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    for first, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        answering.take(stream.receive_data(body[first:end], NOW))
        answering.let_some_happen(data.draw(st.integers(0, 4)))
    answering.take(stream.receive_end(NOW))
    while answering.outcomes:
        answering.let_some_happen(5)
    while frames := stream.frames_to_send(3):
        answering.response += b"".join(frames)
    assert stream.ended
    found = documents(answering.response, framing)
    verdicts = [line["status"] + str(line.get("duplicate", "")) for line in found]
    told = {"ok": "ok", "again": "okTrue", "failed": "error", "bad": "error"}
    expected = case.told()
    assert [line["seq"] for line in found] == [seq for seq, _ in expected]
    assert verdicts == [told[verdict] for _, verdict in expected]


class Outcomes(RuleBasedStateMachine):
    """Rows settle and fail in any order, and the stream is ended from outside.

    Model: the sets of settled and failed rows, and the lowest row that the stream ends at.
    """

    @initialize(
        framing=framings,
        coalesced=st.booleans(),
        continues=st.booleans(),
        duplicates=st.integers(0, 3),
    )
    def open_stream(
        self, framing: Framing, coalesced: bool, continues: bool, duplicates: int
    ) -> None:
        self.framing = framing
        self.coalesced = coalesced
        self.continues = continues
        self.duplicates = duplicates
        self.stream = InsertsStream(framing, row_limit_bytes=LIMIT)
        self.stream.receive_data(b'{"target":"S"}\n', NOW)
        self.stream.admit(
            checker(), NOW, coalesced=coalesced, duplicates=duplicates, continues=continues
        )
        self.taken = 0
        self.waiting: list[tuple[int, int]] = [(0, duplicates)] if duplicates else []
        self.unkept: list[tuple[int, RowRejected]] = []
        self.settled: set[int] = set()
        self.errors: set[int] = set()
        self.refused: int | None = None
        self.body_ended = False
        self.lost = False
        self.complete = False
        self.response = b""

    @property
    def over(self) -> bool:
        return self.lost or self.stream.ended

    @property
    def takes_rows(self) -> bool:
        return not (self.over or self.body_ended or self.refused is not None)

    @rule(count=st.integers(1, 4))
    def send_rows(self, count: int) -> None:
        took = self.takes_rows
        events = self.stream.receive_data(b'{"A":1}\n' * count, NOW)
        if not took:
            assert events == []
            return
        again = min(count, max(0, self.duplicates - self.taken))
        self._took(again)
        new = count - again
        if self.refused is not None or not new:
            assert events == []
            return
        assert [
            (event.first_seq, event.count) for event in events if not isinstance(event, RowRefused)
        ] == [(self.taken, new)]
        self.waiting.append((self.taken, self.taken + new))
        self._took(new)

    @rule(line=bad_rows)
    def send_a_bad_row(self, line: bytes) -> None:
        took = self.takes_rows
        events = self.stream.receive_data(line + b"\n", NOW)
        if not took or self.taken < self.duplicates:
            assert events == []
            if took:
                self._took(1)
        elif self.continues:
            (event,) = events
            assert isinstance(event, RowRefused)
            assert event.seq == self.taken
            self.unkept.append((event.seq, event.rejected))
            self._took(1)
        else:
            assert events == []
            self._refused_at(self.taken)

    @precondition(lambda self: self.unkept)
    @rule(data=st.data())
    def keep_a_bad_row(self, data: st.DataObject) -> None:
        seq, rejected = data.draw(st.sampled_from(self.unkept))
        self.unkept.remove((seq, rejected))
        self.stream.fail(seq, rejected)
        self.errors.add(seq)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        first, end = data.draw(st.sampled_from(self.waiting))
        middle = data.draw(st.integers(first + 1, end))
        self.waiting.remove((first, end))
        if middle < end:
            self.waiting.append((middle, end))
        self.stream.settle(first, middle)
        self.settled |= set(range(first, middle))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def fail_a_row(self, data: st.DataObject) -> None:
        """Its stretch may settle later all the same."""
        first, end = data.draw(st.sampled_from(self.waiting))
        seq = data.draw(st.integers(first, end - 1))
        self.stream.fail(seq, RowRejected("cannot be stored", 50000))
        self.errors.add(seq)
        self._end_at_errors()

    @rule(above=st.integers(0, 9))
    def break_off(self, above: int) -> None:
        seq = min(self.stream.acked + above, self.taken)
        self.stream.break_off(self.stream.acked + above, RowRejected("broken", 50000))
        self._ended_at(seq)

    @rule()
    def stop(self) -> None:
        self.stream.stop(RowRejected("stopping", 50303))
        self._ended_at(self.taken)

    @rule()
    def abandon(self) -> None:
        self.stream.abandon(RowRejected("no longer", 50303))
        self._ended_at(self._undecided())

    @rule(acks_max=st.integers(1, 5))
    def take_frames(self, acks_max: int) -> None:
        frames = self.stream.frames_to_send(acks_max)
        assert all(frames), "an empty frame says nothing"
        acks = b"".join(frames).count(b'"ok"')
        assert acks <= acks_max
        if self.framing is Framing.DELIMITED and not self.coalesced:
            assert all(frame.count(b"\n") == 1 for frame in frames)
        if self.lost or self.complete:
            assert frames == []
        self.response += b"".join(frames)
        self.complete = self.stream.ended

    @precondition(lambda self: not self.body_ended)
    @rule()
    def end_body(self) -> None:
        self.stream.receive_end(NOW)
        self.body_ended = True

    @rule()
    def lose_the_peer(self) -> None:
        self.take_frames(1)
        self.stream.peer_lost()
        self.lost = True

    def _took(self, rows: int) -> None:
        self.taken += rows
        self._end_at_errors()

    def _end_at_errors(self) -> None:
        """A row that failed ends the stream once it has come, unless bad rows do not."""
        come = [seq for seq in self.errors if seq < self.taken]
        if come and not self.continues:
            self._refused_at(min(come))

    def _ended_at(self, seq: int) -> None:
        """From outside: not where every row has come and is below it."""
        if not (self.body_ended and seq == self.taken):
            self._refused_at(seq)

    def _refused_at(self, seq: int) -> None:
        if not self.over and (self.refused is None or seq < self.refused):
            self.refused = seq

    def _undecided(self) -> int:
        seq = 0
        while seq in self.settled | self.errors and seq < self.taken:
            seq += 1
        return seq

    def teardown(self) -> None:
        if not hasattr(self, "stream"):
            return
        if self.lost:
            assert self.stream.frames_to_send(1) == []
            return
        while frames := self.stream.frames_to_send(7):
            self.response += b"".join(frames)
        lines = self._undecided()
        if self.refused is not None:
            lines = min(lines, self.refused)
        told = lines == self.refused
        done = told or (self.body_ended and self.refused is None and lines == self.taken)
        assert self.stream.ended == done
        response = self.response
        if self.framing is Framing.JSON and not done:
            response = response + b"]" if response else b"[]"
        found = documents(response, self.framing)
        assert [line["seq"] for line in found] == list(range(lines + told))
        for line in found:
            failed = line["seq"] in self.errors or line["seq"] == self.refused
            assert line["status"] == ("error" if failed else "ok")
            again = line["seq"] < self.duplicates and not failed
            assert line.get("duplicate", False) == again


TestOutcomes = Outcomes.TestCase
TestOutcomes.settings = settings(deadline=None, max_examples=150, stateful_step_count=25)
