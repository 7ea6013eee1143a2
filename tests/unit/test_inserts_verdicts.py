"""The insert stream where rows have verdicts of their own: bad rows that do not end it, rows that
its channel holds already, and ends that come from outside."""

from typing import Any

import orjson
import pytest

from protocol.errors import RowRejected
from protocol.framing import Framing
from protocol.inserts import InsertEvent, InsertsStream, RowRefused, RowsChecked, State
from protocol.rows import Field, RowChecker, RowSchema
from protocol.types import BIGINT, Column

LIMIT = 60
NOW = 1_700_000_000_000
ARGS = b'{"target":"S"}\n'
ROW = b'{"A":1}\n'
BAD = b"x\n"
SPENT = RowRejected("spent", 50000)


def opened(framing: Framing = Framing.DELIMITED, **terms: Any) -> InsertsStream:
    """A stream that goes on after bad rows unless told otherwise."""
    errors_max = terms.pop("errors_max", 1000)
    stream = InsertsStream(framing, row_limit_bytes=LIMIT, errors_max=errors_max)
    stream.receive_data(ARGS, NOW)
    schema = RowSchema(fields=(Field(column=Column("A", BIGINT), stored_as="A"),))
    checker = RowChecker(schema, row_limit_bytes=LIMIT)
    stream.admit(checker, NOW, **({"coalesced": False, "continues": True} | terms))
    return stream


def kept(stream: InsertsStream, events: list[InsertEvent]) -> None:
    """The intake has kept every row and every refused row."""
    for event in events:
        if isinstance(event, RowRefused):
            stream.fail(event.seq, event.rejected)
        else:
            stream.settle(event.first_seq, event.first_seq + event.count)


def lines(stream: InsertsStream) -> list[tuple[int, str]]:
    """What leaves now: sequence numbers, each with ok, again, or the message of an error."""
    told = []
    while frames := stream.frames_to_send(3):
        for line in map(orjson.loads, b"".join(frames).splitlines()):
            ok = "again" if line.get("duplicate") else "ok"
            told.append((line["seq"], line.get("message", ok)))
    return told


# ── bad rows that do not end the stream ──────────────────────────────────────────────────────


def test_a_bad_row_has_its_error_in_its_place_and_the_stream_ends_well() -> None:
    stream = opened()
    events = stream.receive_data(ROW + BAD + ROW + ROW, NOW)
    assert [type(event) for event in events] == [RowsChecked, RowRefused, RowsChecked]
    refused = events[1]
    assert isinstance(refused, RowRefused)
    assert (refused.seq, refused.raw) == (1, b"x")
    kept(stream, events)
    invalid = "Invalid JSON in inserts stream"
    assert lines(stream) == [(0, "ok"), (1, invalid), (2, "ok"), (3, "ok")]
    stream.receive_end(NOW)
    assert stream.state is State.ENDED
    assert lines(stream) == []


def test_the_error_of_a_bad_row_waits_until_the_row_is_kept_elsewhere() -> None:
    stream = opened()
    events = stream.receive_data(BAD + ROW, NOW)
    stream.settle(1, 2)
    assert lines(stream) == []
    assert stream.owes
    kept(stream, events[:1])
    assert [seq for seq, _ in lines(stream)] == [0, 1]


def test_a_bad_last_row_without_newline_has_its_error() -> None:
    stream = opened()
    kept(stream, stream.receive_data(ROW + b"{", NOW))
    kept(stream, stream.receive_end(NOW))
    assert lines(stream) == [(0, "ok"), (1, "Invalid JSON in inserts stream")]
    assert stream.ended


def test_a_row_that_cannot_be_stored_has_its_error_and_the_rest_their_acks() -> None:
    stream = opened()
    stream.receive_data(ROW * 3, NOW)
    stream.fail(1, SPENT)
    stream.settle(2, 3)
    stream.settle(0, 1)
    assert lines(stream) == [(0, "ok"), (1, "spent"), (2, "ok")]
    assert stream.state is State.OPEN


def test_errors_among_acks_are_packed_with_them_where_frames_are_coalesced() -> None:
    stream = opened(coalesced=True)
    kept(stream, stream.receive_data(ROW + BAD + ROW, NOW))
    (frame,) = stream.frames_to_send(100)
    assert frame.count(b"\n") == 3


def test_a_json_body_with_errors_among_its_acks_is_one_array() -> None:
    stream = opened(Framing.JSON, duplicates=1)
    stream.settle(0, 1)
    kept(stream, stream.receive_data(ROW + BAD + ROW, NOW))
    kept(stream, stream.receive_end(NOW))
    body = b"".join(stream.frames_to_send(2) + stream.frames_to_send(2))
    assert [line["seq"] for line in orjson.loads(body)] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 7, LIMIT, 10_000])
@pytest.mark.parametrize("tail", [b"\n", b"\n" + ROW, b""])
def test_of_a_row_over_the_limit_the_start_is_kept_and_the_rest_passed_over(
    cut: int, tail: bytes
) -> None:
    stream, events = opened(), list[InsertEvent]()
    long = b'{"A":"' + b"y" * 1000
    sent = ROW + long + tail
    for at in range(0, len(sent), cut):
        events += stream.receive_data(sent[at : at + cut], NOW)
        assert len(stream._received.lines.unfinished) <= LIMIT + cut
    events += stream.receive_end(NOW)
    (refused,) = [event for event in events if isinstance(event, RowRefused)]
    assert (refused.seq, refused.raw) == (1, long[:LIMIT])
    assert refused.rejected.message.startswith(f"Row is larger than the limit of {LIMIT} bytes")
    kept(stream, events)
    assert [seq for seq, _ in lines(stream)] == list(range(stream.rows))
    assert stream.rows == 2 + tail.count(ROW)
    assert stream.ended


# ── how many errors may wait ─────────────────────────────────────────────────────────────────


def test_the_row_of_one_error_too_many_ends_the_stream() -> None:
    stream = opened(errors_max=3)
    events = stream.receive_data(ROW + BAD * 10 + ROW, NOW)
    assert [event.seq for event in events if isinstance(event, RowRefused)] == [1, 2, 3]
    assert stream.state is State.FAILING
    kept(stream, events)
    told = lines(stream)
    assert [seq for seq, _ in told] == [0, 1, 2, 3, 4]
    assert told[4][1].startswith("3 rows of this stream have failed whose errors wait")
    assert told[4][1].endswith("What is wrong with it: Invalid JSON in inserts stream")
    assert stream.ended


def test_errors_that_have_left_do_not_count() -> None:
    stream = opened(errors_max=3)
    for _ in range(10):
        kept(stream, stream.receive_data(BAD * 3, NOW))
        assert len(lines(stream)) == 3
    assert stream.state is State.OPEN


def test_a_failure_too_many_ends_the_stream_at_its_row() -> None:
    stream = opened(errors_max=2)
    stream.receive_data(ROW * 9, NOW)
    for seq in (5, 3, 7):
        stream.fail(seq, SPENT)
    assert stream.state is State.FAILING
    stream.settle(0, 9)
    told = lines(stream)
    assert [seq for seq, message in told if message == "spent"] == [3, 5]
    assert told[-1][0] == 7
    assert "spent" in told[-1][1]
    assert stream.ended


# ── rows that the channel holds already ──────────────────────────────────────────────────────


def test_duplicates_are_counted_and_acked_as_such_but_not_given_out_again() -> None:
    stream = opened(duplicates=3, continues=False)
    events = stream.receive_data(ROW * 2 + BAD + ROW * 2, NOW)
    assert events == [RowsChecked(3, 2, ROW * 2)]
    stream.settle(0, 3)
    kept(stream, events)
    assert lines(stream) == [(0, "again"), (1, "again"), (2, "again"), (3, "ok"), (4, "ok")]


def test_a_duplicate_s_ack_says_so_in_one_more_member() -> None:
    stream = opened(duplicates=1)
    stream.receive_data(ROW, NOW)
    stream.settle(0, 1)
    assert stream.frames_to_send(10) == [b'{"status":"ok","seq":0,"duplicate":true}\n']


def test_no_ack_of_a_duplicate_leaves_before_the_row_has_come_again() -> None:
    stream = opened(duplicates=3)
    stream.settle(0, 3)
    assert lines(stream) == []
    stream.receive_data(ROW + b'{"A"', NOW)
    assert lines(stream) == [(0, "again")]
    stream.receive_data(b":1}\n", NOW)
    assert lines(stream) == [(1, "again")]


def test_a_client_may_send_only_some_of_what_is_held_already() -> None:
    stream = opened(duplicates=300, continues=False)
    stream.fail(250, SPENT)
    stream.settle(0, 250)
    stream.receive_data(ROW * 2 + ROW.strip(), NOW)
    assert stream.receive_end(NOW) == []
    assert lines(stream) == [(0, "again"), (1, "again"), (2, "again")]
    assert stream.ended


def test_a_duplicate_over_the_row_limit_is_one_row() -> None:
    stream = opened(duplicates=2)
    for piece in (b"y" * 500, b"y" * 500, b"\n" + ROW + b'{"A":2}\n'):
        events = stream.receive_data(piece, NOW)
    assert events == [RowsChecked(2, 1, b'{"A":2}\n')]


@pytest.mark.parametrize("continues", [False, True])
@pytest.mark.parametrize("at_admission", [False, True])
def test_a_duplicate_that_had_failed_is_told_once_it_has_come_again(
    continues: bool, at_admission: bool
) -> None:
    stream = InsertsStream(Framing.DELIMITED, row_limit_bytes=LIMIT)
    stream.receive_data(ARGS, NOW)
    schema = RowSchema(fields=(Field(column=Column("A", BIGINT), stored_as="A"),))
    checker = RowChecker(schema, row_limit_bytes=LIMIT)

    def outcome() -> None:
        stream.fail(1, SPENT)
        stream.settle(0, 1)
        stream.settle(2, 3)

    if at_admission:
        outcome()
    stream.admit(checker, NOW, coalesced=False, duplicates=3, continues=continues)
    if not at_admission:
        outcome()
    assert stream.state is State.OPEN
    stream.receive_data(ROW, NOW)
    assert lines(stream) == [(0, "again")]
    events = stream.receive_data(ROW * 3, NOW)
    if continues:
        kept(stream, events)
        assert lines(stream) == [(1, "spent"), (2, "again"), (3, "ok")]
        assert stream.state is State.OPEN
    else:
        assert events == [], "nothing after the row that the stream ends at is taken"
        assert lines(stream) == [(1, "spent")]
        assert stream.ended


def test_more_failed_duplicates_than_may_wait_end_the_stream_only_where_they_come() -> None:
    stream = opened(duplicates=9, errors_max=2)
    for seq in range(2, 9):
        stream.fail(seq, SPENT)
    stream.settle(0, 2)
    assert stream.state is State.OPEN
    stream.receive_data(ROW * 9, NOW)
    told = lines(stream)
    assert told[:4] == [(0, "again"), (1, "again"), (2, "spent"), (3, "spent")]
    assert told[4][1].startswith("2 rows of this stream have failed")
    assert len(told) == 5
    assert stream.ended


# ── ends from outside ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("continues", [False, True])
def test_a_broken_stream_ends_at_its_row_in_either_mode(continues: bool) -> None:
    stream = opened(continues=continues)
    stream.receive_data(ROW * 4, NOW)
    stream.settle(0, 4)
    stream.break_off(2, SPENT)
    assert lines(stream) == [(0, "ok"), (1, "ok"), (2, "spent")]
    assert stream.ended


def test_a_break_below_acks_that_have_left_ends_the_stream_at_the_next() -> None:
    stream = opened()
    stream.receive_data(ROW * 4, NOW)
    stream.settle(0, 3)
    assert len(lines(stream)) == 3
    stream.break_off(1, SPENT)
    assert lines(stream) == [(3, "spent")]
    assert stream.ended


def test_a_break_above_what_came_ends_the_stream_at_the_next_row() -> None:
    stream = opened(duplicates=300)
    stream.receive_data(ROW, NOW)
    stream.break_off(200, SPENT)
    stream.settle(0, 200)
    assert lines(stream) == [(0, "again"), (1, "spent")]


def test_a_break_at_no_row_that_came_lets_a_draining_stream_end_well() -> None:
    stream = opened()
    stream.receive_data(ROW, NOW)
    stream.receive_end(NOW)
    stream.break_off(1, SPENT)
    stream.settle(0, 1)
    assert lines(stream) == [(0, "ok")]
    assert stream.ended


def test_a_stream_that_is_stopped_before_it_is_admitted_ends_at_its_first_row() -> None:
    for say in (InsertsStream.stop, lambda stream, spent: stream.break_off(0, spent)):
        stream = InsertsStream(Framing.DELIMITED, row_limit_bytes=LIMIT)
        stream.receive_data(ARGS + ROW, NOW)
        say(stream, SPENT)
        schema = RowSchema(fields=(Field(column=Column("A", BIGINT), stored_as="A"),))
        checker = RowChecker(schema, row_limit_bytes=LIMIT)
        assert stream.admit(checker, NOW, coalesced=False) == []
        assert lines(stream) == [(0, "spent")]
        assert stream.ended


def test_errors_of_what_a_stopped_stream_took_still_leave() -> None:
    stream = opened()
    events = stream.receive_data(ROW + BAD, NOW)
    stream.stop(RowRejected("stopping", 50303))
    kept(stream, events)
    assert [message for _, message in lines(stream)][2] == "stopping"
    assert stream.ended


def test_an_abandoned_stream_says_what_is_ready_and_then_that_it_waits_no_longer() -> None:
    stream = opened()
    stream.receive_data(ROW + BAD + ROW * 3, NOW)
    stream.fail(1, SPENT)
    stream.settle(0, 1)
    stream.settle(3, 5)
    stream.abandon(RowRejected("no longer", 50303))
    assert lines(stream) == [(0, "ok"), (1, "spent"), (2, "no longer")]
    assert stream.ended
    stream.settle(2, 3)
    assert lines(stream) == []


def test_an_abandoned_stream_whose_rows_are_all_acked_ends_at_the_next() -> None:
    stream = opened()
    stream.receive_data(ROW, NOW)
    stream.settle(0, 1)
    stream.abandon(SPENT)
    assert lines(stream) == [(0, "ok"), (1, "spent")]


def test_an_abandoned_stream_that_owes_nothing_more_ends_well() -> None:
    stream = opened()
    stream.receive_data(ROW, NOW)
    stream.receive_end(NOW)
    stream.settle(0, 1)
    stream.abandon(SPENT)
    assert lines(stream) == [(0, "ok")]
    assert stream.ended


def test_what_is_stopped_and_then_abandoned_hears_of_the_lower_row() -> None:
    stream = opened(continues=False)
    stream.receive_data(ROW * 2, NOW)
    stream.stop(RowRejected("stopping", 50303))
    stream.settle(0, 1)
    stream.abandon(RowRejected("no longer", 50303))
    assert lines(stream) == [(0, "ok"), (1, "no longer")]
