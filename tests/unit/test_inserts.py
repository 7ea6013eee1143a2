"""The insert stream: its table, what leaves it and in which order, and how it ends."""

from collections.abc import Callable

import orjson
import pytest

from protocol.errors import BadRequest, RowRejected
from protocol.framing import Framing
from protocol.inserts import (
    TRANSITIONS,
    IllegalInput,
    Input,
    InsertEvent,
    InsertsStream,
    RowsChecked,
    State,
    coalesces,
)
from protocol.rows import Field, RowChecker, RowSchema
from protocol.types import BIGINT, Column

LIMIT = 200
NOW = 1_700_000_000_000
ARGS = b'{"target":"S"}\n'
ROW = b'{"A":1}\n'
BAD = b"x\n"
SPENT = RowRejected("spent", 50000)


def checker() -> RowChecker:
    schema = RowSchema(fields=(Field(column=Column("A", BIGINT), stored_as="A"),))
    return RowChecker(schema, row_limit_bytes=LIMIT)


class Traced(InsertsStream):
    """A stream that remembers which transitions were asked of it."""

    def __init__(self, framing: Framing = Framing.DELIMITED) -> None:
        super().__init__(framing, row_limit_bytes=LIMIT)
        self.asked: list[tuple[State, Input]] = []

    def _move(self, happened: Input) -> None:
        self.asked.append((self.state, happened))
        super()._move(happened)


def opened(
    framing: Framing = Framing.DELIMITED,
    *,
    coalesced: bool = False,
    continues: bool = False,
    duplicates: int = 0,
) -> Traced:
    stream = Traced(framing)
    stream.receive_data(ARGS, NOW)
    stream.admit(checker(), NOW, coalesced=coalesced, continues=continues, duplicates=duplicates)
    return stream


def rows_of(count: int) -> bytes:
    return b"".join(b'{"A":%d}\n' % number for number in range(count))


def good(events: list[InsertEvent]) -> list[RowsChecked]:
    """Where no row was refused: all of what was taken."""
    rows = [event for event in events if isinstance(event, RowsChecked)]
    assert rows == events
    return rows


def body(stream: InsertsStream, acks_max: int = 1000) -> bytes:
    return b"".join(stream.frames_to_send(acks_max))


def ok(*seqs: int) -> bytes:
    return b"".join(b'{"status":"ok","seq":%d}\n' % seq for seq in seqs)


# ── every state and every thing that can be said to it ───────────────────────────────────────


def awaiting() -> Traced:
    return Traced()


def admitting() -> Traced:
    stream = Traced()
    stream.receive_data(ARGS, NOW)
    return stream


def open_() -> Traced:
    stream = opened()
    stream.receive_data(ROW, NOW)
    return stream


def open_with_tail(tail: bytes, start: Callable[[], Traced] = open_) -> Callable[[], Traced]:
    def make() -> Traced:
        stream = start()
        stream.receive_data(tail, NOW)
        return stream

    return make


def draining() -> Traced:
    stream = open_()
    stream.receive_end(NOW)
    return stream


def going_on() -> Traced:
    stream = opened(continues=True)
    stream.receive_data(ROW, NOW)
    return stream


def going_on_to_the_end() -> Traced:
    stream = going_on()
    stream.receive_end(NOW)
    return stream


def resent() -> Traced:
    return opened(duplicates=2)


def failing() -> Traced:
    stream = open_()
    stream.receive_data(BAD, NOW)
    return stream


def ended() -> Traced:
    stream = opened()
    stream.receive_end(NOW)
    return stream


def closed() -> Traced:
    stream = open_()
    stream.peer_lost()
    return stream


def acked(stream: Traced) -> None:
    if stream.rows:
        stream.settle(0, 1)
    stream.frames_to_send(10)


MAKE: dict[str, Callable[[], Traced]] = {
    "awaiting": awaiting,
    "admitting": admitting,
    "open": open_,
    "open, half a row": open_with_tail(b'{"A":2}'),
    "open, half a bad row": open_with_tail(b'{"A"'),
    "going on": going_on,
    "going on, half a bad row": open_with_tail(b'{"A"', going_on),
    "resent": resent,
    "draining": draining,
    "draining, going on": going_on_to_the_end,
    "failing": failing,
    "ended": ended,
    "closed": closed,
}
SAY: dict[str, Callable[[Traced], object]] = {
    "args": lambda stream: stream.receive_data(ARGS, NOW),
    "bad args": lambda stream: stream.receive_data(b"{}\n", NOW),
    "row": lambda stream: stream.receive_data(ROW, NOW),
    "bad row": lambda stream: stream.receive_data(BAD, NOW),
    "end": lambda stream: stream.receive_end(NOW),
    "admit": lambda stream: stream.admit(checker(), NOW, coalesced=False),
    "refuse": lambda stream: stream.refuse(),
    "acked": acked,
    "fail": lambda stream: stream.fail(0, SPENT),
    "fail far": lambda stream: stream.fail(1, SPENT),
    "break": lambda stream: stream.break_off(0, SPENT),
    "stop": lambda stream: stream.stop(SPENT),
    "abandon": lambda stream: stream.abandon(SPENT),
    "lost": lambda stream: stream.peer_lost(),
}
_S = State
_BAD = BadRequest
_NO = IllegalInput
WHAT_HAPPENS: dict[str, dict[str, State | type[Exception]]] = {
    "awaiting": {
        "args": _S.ADMITTING, "bad args": _BAD, "end": _BAD, "admit": _NO, "refuse": _S.ENDED,
        "fail": _NO, "break": _NO, "stop": _NO, "abandon": _NO, "lost": _S.CLOSED,
    },
    "admitting": {
        "row": _S.ADMITTING, "end": _S.ADMITTING, "admit": _S.OPEN, "refuse": _S.ENDED,
        "fail": _S.ADMITTING, "break": _S.ADMITTING, "stop": _S.ADMITTING, "abandon": _NO,
        "lost": _S.CLOSED,
    },
    "open": {
        "row": _S.OPEN, "bad row": _S.FAILING, "end": _S.DRAINING, "admit": _NO, "refuse": _NO,
        "acked": _S.OPEN, "fail": _S.FAILING, "break": _S.FAILING, "stop": _S.FAILING,
        "abandon": _S.FAILING, "lost": _S.CLOSED,
    },
    "open, half a row": {"end": _S.DRAINING},
    "open, half a bad row": {"end": _S.FAILING},
    "going on": {
        "row": _S.OPEN, "bad row": _S.OPEN, "end": _S.DRAINING, "acked": _S.OPEN, "fail": _S.OPEN,
        "break": _S.FAILING, "stop": _S.FAILING, "abandon": _S.FAILING,
    },
    "going on, half a bad row": {"end": _S.DRAINING},
    "resent": {
        "row": _S.OPEN, "bad row": _S.OPEN, "end": _S.ENDED, "fail": _S.OPEN, "fail far": _S.OPEN,
        "break": _S.FAILING, "stop": _S.FAILING, "abandon": _S.FAILING,
    },
    "draining": {
        "row": _S.DRAINING, "bad row": _S.DRAINING, "end": _NO, "admit": _NO, "refuse": _NO,
        "acked": _S.ENDED, "fail": _S.FAILING, "break": _S.FAILING, "stop": _S.DRAINING,
        "abandon": _S.FAILING, "lost": _S.CLOSED,
    },
    "draining, going on": {
        "acked": _S.ENDED, "fail": _S.DRAINING, "break": _S.FAILING, "stop": _S.DRAINING,
        "abandon": _S.FAILING,
    },
    "failing": {
        "row": _S.FAILING, "bad row": _S.FAILING, "end": _S.FAILING, "admit": _NO, "refuse": _NO,
        "acked": _S.ENDED, "fail": _S.FAILING, "fail far": _S.FAILING, "break": _S.FAILING,
        "stop": _S.FAILING, "abandon": _S.FAILING, "lost": _S.CLOSED,
    },
    "ended": {
        "row": _S.ENDED, "bad row": _S.ENDED, "end": _S.ENDED, "admit": _NO, "refuse": _NO,
        "acked": _S.ENDED, "fail": _S.ENDED, "break": _S.ENDED, "stop": _S.ENDED,
        "abandon": _S.ENDED, "lost": _S.CLOSED,
    },
    "closed": {
        "row": _S.CLOSED, "bad row": _S.CLOSED, "end": _S.CLOSED, "admit": _NO, "refuse": _NO,
        "acked": _S.CLOSED, "fail": _S.CLOSED, "fail far": _S.CLOSED, "break": _S.CLOSED,
        "stop": _S.CLOSED, "abandon": _S.CLOSED, "lost": _S.CLOSED,
    },
}  # fmt: skip
PAIRS = [(start, said) for start, row in WHAT_HAPPENS.items() for said in row]


@pytest.mark.parametrize(("start", "said"), PAIRS)
def test_each_thing_said_in_each_state_does_what_the_drawing_says(start: str, said: str) -> None:
    stream = MAKE[start]()
    before, expected = stream.state, WHAT_HAPPENS[start][said]
    if isinstance(expected, State):
        SAY[said](stream)
        assert stream.state is expected
        return
    with pytest.raises(expected):
        SAY[said](stream)
    assert stream.state is (State.ENDED if expected is BadRequest else before)


def test_the_table_holds_what_happens_and_nothing_else() -> None:
    seen: set[tuple[State, Input]] = set()
    for start, said in PAIRS:
        stream = MAKE[start]()
        try:
            SAY[said](stream)
        except IllegalInput:
            assert stream.asked.pop() not in TRANSITIONS
        except BadRequest:
            assert stream.asked[-1][1] is Input.BAD_ARGS
        seen |= set(stream.asked)
    assert seen == set(TRANSITIONS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("happened", Input)
def test_what_is_absent_from_the_table_is_an_error_of_the_caller(
    state: State, happened: Input
) -> None:
    stream = Traced()
    stream.state = state
    if (state, happened) in TRANSITIONS:
        stream._move(happened)
        assert stream.state is TRANSITIONS[state, happened]
    else:
        with pytest.raises(IllegalInput, match=f"{happened} in {state}"):
            stream._move(happened)
        assert stream.state is state


# ── arguments ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "Invalid JSON in request: No content to map due to end-of-input"),
        (b"\n", "Invalid JSON in request: No content to map due to end-of-input"),
        (b"{}\n", "Invalid JSON in request: Missing required creator property 'target'"),
        (b"{}", "Invalid JSON in request: Missing required creator property 'target'"),
        (b'{"foo":1', "Invalid JSON in request: Unexpected end-of-input: expected close marker"),
        (b'{"target":"S","properties":[]}\n', "Invalid JSON in request: "),
        (b"\xff\xfe\n", "Invalid JSON in request: "),
    ],
)
def test_bad_arguments_are_a_bad_request_and_end_the_stream(sent: bytes, message: str) -> None:
    stream = Traced()
    with pytest.raises(BadRequest) as caught:  # noqa: PT012 - either call may raise
        stream.receive_data(sent, NOW)
        stream.receive_end(NOW)
    assert caught.value.message.startswith(message)
    assert stream.state is State.ENDED
    assert stream.ended
    assert body(stream) == b""


@pytest.mark.parametrize("cut", [1, 50, LIMIT, LIMIT + 1, 10_000])
@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_arguments_over_the_limit_are_refused_however_they_were_cut(
    cut: int, newline: bytes
) -> None:
    line = b'{"target":"' + b"s" * LIMIT + b'"}' + newline
    stream = Traced()
    with pytest.raises(BadRequest, match=f"larger than {LIMIT} bytes"):  # noqa: PT012
        for at in range(0, len(line), cut):
            stream.receive_data(line[at : at + cut], NOW)
    assert stream.ended


def test_arguments_as_long_as_the_limit_are_taken() -> None:
    line = b'{"target":"' + b"s" * (LIMIT - 13) + b'"}'
    assert len(line) == LIMIT
    for pieces in ([line + b"\n"], [line, b"\n"]):
        stream = Traced()
        for piece in pieces:
            stream.receive_data(piece, NOW)
        assert stream.state is State.ADMITTING


def test_arguments_without_newline_count_once_the_body_ends() -> None:
    stream = Traced()
    stream.receive_data(b'{"target":"S"}', NOW)
    stream.receive_end(NOW)
    assert stream.arguments is not None
    assert stream.arguments.target == "S"
    assert stream.admit(checker(), NOW, coalesced=False) == []
    assert stream.state is State.ENDED
    assert body(stream) == b""


def test_packed_frames_are_asked_for_by_a_property() -> None:
    assert coalesces({"headrace.frames": "coalesced"})
    assert not coalesces({"headrace.frames": "each"})
    assert not coalesces({})


# ── rows before admission ────────────────────────────────────────────────────────────────────


def test_rows_that_came_before_the_admission_are_not_lost() -> None:
    stream = Traced()
    stream.receive_data(ARGS + b'{"A":0}\n{"A"', NOW)
    stream.receive_data(b':1}\n{"A":2}', NOW)
    stream.receive_end(NOW)
    taken = stream.admit(checker(), NOW, coalesced=False)
    assert b"".join(rows.raw for rows in taken) == rows_of(3)
    assert [rows.first_seq for rows in good(taken)] == [0, 2]
    stream.settle(0, 3)
    assert body(stream) == ok(0, 1, 2)
    assert stream.ended


def test_a_bad_row_that_waited_for_the_admission_fails_the_stream() -> None:
    stream = Traced()
    stream.receive_data(ARGS + ROW + BAD + ROW, NOW)
    stream.receive_end(NOW)
    taken = stream.admit(checker(), NOW, coalesced=False)
    assert taken == [RowsChecked(0, 1, ROW)]
    assert stream.state is State.FAILING


def test_a_refused_stream_says_nothing_itself() -> None:
    stream = Traced(Framing.JSON)
    stream.receive_data(ARGS + ROW, NOW)
    stream.refuse()
    assert stream.ended
    assert body(stream) == b""


# ── acks ─────────────────────────────────────────────────────────────────────────────────────


def test_acks_leave_in_order_and_no_more_in_a_turn_than_asked_for() -> None:
    stream = opened()
    stream.receive_data(rows_of(5), NOW)
    stream.settle(3, 5)
    assert body(stream) == b""
    stream.settle(0, 3)
    assert body(stream, 2) == ok(0, 1)
    assert body(stream, 2) == ok(2, 3)
    assert body(stream, 2) == ok(4)
    assert body(stream, 2) == b""


def test_each_ack_is_a_frame_of_its_own_unless_frames_are_coalesced() -> None:
    each, packed = opened(), opened(coalesced=True)
    for stream in (each, packed):
        stream.receive_data(rows_of(3), NOW)
        stream.settle(0, 3)
    assert each.frames_to_send(10) == [ok(0), ok(1), ok(2)]
    assert packed.frames_to_send(10) == [ok(0, 1, 2)]


def test_acks_leave_while_the_request_is_open_and_the_body_ends_with_the_last() -> None:
    stream = opened()
    stream.receive_data(rows_of(2), NOW)
    stream.settle(0, 1)
    assert body(stream) == ok(0)
    assert stream.owes
    stream.receive_end(NOW)
    assert not stream.ended
    stream.settle(1, 2)
    assert body(stream) == ok(1)
    assert stream.ended
    assert not stream.owes
    assert (stream.rows, stream.acked) == (2, 2)


def test_a_stream_without_rows_ends_with_an_empty_body() -> None:
    stream = ended()
    assert stream.ended
    assert body(stream) == b""


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def test_the_error_of_a_bad_row_leaves_after_the_acks_below_it_and_nothing_after() -> None:
    stream = opened()
    rows = stream.receive_data(rows_of(2) + BAD + rows_of(2), NOW)
    assert [(taken.first_seq, taken.count) for taken in good(rows)] == [(0, 2)]
    assert body(stream) == b""
    stream.settle(1, 2)
    assert body(stream) == b""
    stream.settle(0, 1)
    lines = body(stream).splitlines()
    assert lines[:2] == ok(0, 1).splitlines()
    assert list(orjson.loads(lines[2]).items()) == [
        ("@type", "InsertError"),
        ("status", "error"),
        ("seq", 2),
        ("message", "Invalid JSON in inserts stream"),
        ("error_code", 40000),
    ]
    assert len(lines) == 3
    assert stream.ended
    assert stream.receive_data(ROW, NOW) == []
    stream.receive_end(NOW)
    assert body(stream) == b""


def test_a_row_that_cannot_be_stored_wins_over_a_bad_row_above_it() -> None:
    stream = opened()
    stream.receive_data(rows_of(3) + BAD, NOW)
    stream.settle(0, 1)
    stream.fail(1, SPENT)
    stream.settle(2, 3)
    lines = body(stream).splitlines()
    assert lines[0] + b"\n" == ok(0)
    assert orjson.loads(lines[1])["seq"] == 1
    assert orjson.loads(lines[1])["error_code"] == 50000
    assert len(lines) == 2


def test_a_bad_row_wins_over_a_failure_above_it() -> None:
    stream = opened()
    stream.receive_data(ROW, NOW)
    stream.fail(0, SPENT)
    stream.fail(0, RowRejected("again"))
    assert orjson.loads(body(stream))["message"] == "spent"


def test_a_failure_of_a_row_whose_ack_has_left_changes_nothing() -> None:
    """The ledger's rule holds for the stream too: else it would wait for an error for ever."""
    stream = opened()
    stream.receive_data(ROW, NOW)
    stream.settle(0, 1)
    assert body(stream) == ok(0)
    stream.fail(0, SPENT)
    assert [rows.first_seq for rows in good(stream.receive_data(ROW, NOW))] == [1]
    stream.settle(1, 2)
    stream.receive_end(NOW)
    assert body(stream) == ok(1)
    assert stream.ended


def test_a_failure_found_while_draining_is_told() -> None:
    stream = draining()
    stream.fail(0, SPENT)
    assert orjson.loads(body(stream))["seq"] == 0
    assert stream.ended


def test_a_row_that_grows_over_the_limit_is_refused_before_it_ends() -> None:
    stream = opened()
    assert stream.receive_data(ROW + b'{"A":"' + b"y" * LIMIT, NOW) == [RowsChecked(0, 1, ROW)]
    assert stream.state is State.FAILING
    stream.settle(0, 1)
    error = orjson.loads(body(stream).splitlines()[1])
    assert (error["seq"], error["error_code"]) == (1, 40000)
    assert error["message"].startswith(f"Row is larger than the limit of {LIMIT} bytes")


def test_no_carriage_return_stays_in_a_row() -> None:
    """Many a reader of lines takes one for the end of a line, and a row for two."""
    stream = opened()
    taken = stream.receive_data(b'{"A":\r1}\n{"A":2}\n', NOW)
    taken += stream.receive_data(b'{"A":3}\r\n', NOW)
    raw = b"".join(rows.raw for rows in taken)
    assert [orjson.loads(line)["A"] for line in raw.split(b"\n")[:-1]] == [1, 2, 3]
    assert b"\r" not in raw


# ── stopping ─────────────────────────────────────────────────────────────────────────────────


def test_a_stopped_stream_acks_what_it_took_and_then_says_why() -> None:
    stream = opened()
    stream.receive_data(rows_of(2), NOW)
    stream.stop(RowRejected("shutting down", 50303))
    assert stream.receive_data(rows_of(2), NOW) == []
    stream.settle(0, 2)
    lines = body(stream).splitlines()
    assert lines[:2] == ok(0, 1).splitlines()
    assert (orjson.loads(lines[2])["seq"], orjson.loads(lines[2])["error_code"]) == (2, 50303)
    assert stream.ended


def test_a_stop_after_the_end_of_the_body_lets_the_acks_leave_as_if_nothing_were() -> None:
    stream = draining()
    stream.stop(SPENT)
    stream.settle(0, 1)
    assert body(stream) == ok(0)
    assert stream.ended


def test_a_stop_after_a_bad_row_leaves_the_bad_row_its_word() -> None:
    stream = failing()
    stream.stop(SPENT)
    stream.settle(0, 1)
    assert orjson.loads(body(stream).splitlines()[1])["message"].startswith("Invalid JSON")


def test_nothing_leaves_once_the_peer_is_lost() -> None:
    stream = open_()
    stream.settle(0, 1)
    stream.peer_lost()
    assert body(stream) == b""
    stream.settle(1, 2)
    assert stream.ended


# ── JSON framing ─────────────────────────────────────────────────────────────────────────────


def test_a_json_body_is_an_array_of_acks() -> None:
    stream = opened(Framing.JSON)
    stream.receive_data(rows_of(3), NOW)
    stream.settle(0, 2)
    frames = stream.frames_to_send(10)
    assert frames == [b'[{"status":"ok","seq":0},{"status":"ok","seq":1}']
    stream.settle(2, 3)
    stream.receive_end(NOW)
    assert body(stream) == b',{"status":"ok","seq":2}]'


def test_a_json_body_without_acks_is_an_empty_array() -> None:
    stream = opened(Framing.JSON)
    stream.receive_end(NOW)
    assert body(stream) == b"[]"


def test_a_json_body_that_starts_with_an_error_is_an_array() -> None:
    stream = opened(Framing.JSON)
    stream.receive_data(BAD, NOW)
    (error,) = orjson.loads(body(stream))
    assert (error["@type"], error["seq"]) == ("InsertError", 0)
