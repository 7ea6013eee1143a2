"""The fan-out bench measures what it says: whose lateness, which credits, and no wrong rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.frames import DataChunk
from tests.bench.fanout import lateness_ms
from tests.bench.push_reader import Connection, ReadingFailed, Subscriber, check, credit
from tests.frames import Frame, Kind

HEADER = b'{"queryId":"q","columnNames":["ID"],"columnTypes":["BIGINT"]}\n'


def test_each_row_at_each_subscriber_is_timed_from_its_own_ack() -> None:
    acked_at = [1.0, 1.0, 2.0, 3.0]
    everything = [(1.5, 1), (2.5, 3), (2.9, 4)]
    assert lateness_ms(acked_at, [everything], 1) == pytest.approx([-100, 500, 500, 1500])
    halves = [[(2.1, 2)], [(3.5, 2)]]
    assert lateness_ms(acked_at, halves, 2) == pytest.approx([100, 500, 1100, 2500])


@given(st.integers(1, 40), st.integers(0, 5000))
def test_every_frame_is_credited_to_its_stream_and_to_the_connection(
    frames: int, flow_bytes: int
) -> None:
    flow_bytes += frames
    raw = bytearray(credit(DataChunk(7, b"", flow_bytes, frames, ended=False)))
    given_bytes = {0: 0, 7: 0}
    count = 0
    while (frame := Frame.decode(raw)) is not None:
        assert frame.kind == Kind.WINDOW_UPDATE
        given_bytes[frame.stream_id] += int.from_bytes(frame.payload)
        count += 1
        del raw[:13]
    assert (count, given_bytes) == (2 * frames, {0: flow_bytes, 7: flow_bytes})


def audience(*bodies: bytes) -> list[Connection]:
    """Subscribers of one statement of three rows that have got these bytes; the first is kept."""
    connection = object.__new__(Connection)
    connection.subscribers = {}
    for number, body in enumerate(bodies):
        subscriber = Subscriber(statement=0, wanted=3, is_kept=number == 0)
        subscriber.take(HEADER + body[:7], 1.0)
        subscriber.take(body[7:], 2.0)
        connection.subscribers[2 * number + 1] = subscriber
    return [connection]


def test_the_reader_believes_rows_that_are_right_for_all() -> None:
    check(audience(b"[0]\n[1]\n[2]\n", b"[0]\n[1]\n[2]\n"), 1)


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ((b"[0]\n[2]\n[1]\n",), "another order"),
        ((b"[0]\n[1]\n[2]\n[3]\n",), "another order"),
        ((b"[0]\n[1]\n[2]\n", b"[0]\n[1]\n[7]\n"), "differ"),
        ((b"[0]\n[1]\n[2]\n", b"[0]\n[1]\n"), "differ"),
    ],
)
def test_the_reader_believes_no_wrong_rows(bodies: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(ReadingFailed, match=reason):
        check(audience(*bodies), 1)
