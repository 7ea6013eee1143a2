"""Lanes of one connection that wait for its window: each in its turn, and nobody else is asked."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

import h2.config
import h2.connection
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.credit import WINDOW_MAX, Credit
from gateway.http.h2core import DEFAULT_WINDOW_BYTES, H2Options
from gateway.http.lanes import Lane
from gateway.http.wire import Wire
from tests.frames import Frame, Kind
from tests.unit.test_lanes import Sink


class Socket:
    """A transport and its writer in one, which take everything at once."""

    def __init__(self) -> None:
        self.raw = b""

    @property
    def transport(self) -> "Socket":
        return self

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, raw: bytes) -> None:
        self.raw += raw


class Connection:
    """A wire with streams that a real h2 client has opened, a lane and a sink on each."""

    def __init__(self, streams: int) -> None:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        names = (":method", ":path", ":scheme", ":authority")
        request = list(zip(names, ("POST", "/", "http", "h"), strict=True))
        for number in range(streams):
            client.send_headers(2 * number + 1, request)
        self.socket = Socket()
        self.wire = Wire(H2Options(), cast("Any", self.socket), lambda: None)
        self.wire.h2.initiate_connection()
        self.wire.h2.receive_data(client.data_to_send())
        self.wire.flush()
        self.wire.output.flush()
        self.sinks = [Sink() for _ in range(streams)]
        self.lanes = [Lane(self.wire, 2 * n + 1, Credit(1 << 20)) for n in range(streams)]
        for lane, sink in zip(self.lanes, self.sinks, strict=True):
            lane.attach(sink)
            lane.open()
            sink.heard.clear()

    def sent(self) -> Iterator[tuple[int, bytes]]:
        """DATA that left since it was asked for: the lane's number and the payload."""
        self.wire.output.flush()
        raw, self.socket.raw = bytearray(self.socket.raw), b""
        while (frame := Frame.decode(raw)) is not None:
            del raw[: 9 + len(frame.payload)]
            if frame.kind == Kind.DATA:
                yield frame.stream_id // 2, frame.payload

    def raise_window(self, number: int | None, size_bytes: int) -> None:
        """WINDOW_UPDATE for a lane, or for the connection; what it opens is not served yet."""
        stream_id = 0 if number is None else self.lanes[number].stream_id
        assert self.wire.raise_window(stream_id, size_bytes)
        if number is not None and self.lanes[number].holds:
            self.wire.wait(self.lanes[number])

    def use_up(self) -> None:
        """Spend the connection's window on the last lane."""
        self.lanes[-1].write([bytes(DEFAULT_WINDOW_BYTES)])
        list(self.sent())
        self.sinks[-1].heard.clear()


async def test_a_window_goes_to_those_who_wait_in_turns_and_asks_nobody_else() -> None:
    connection = Connection(streams=1000)
    connection.use_up()
    for number in (5, 700, 30):
        connection.lanes[number].write([b"a", b"b"])
    turns: list[tuple[int, bytes]] = []
    for _ in range(6):
        connection.raise_window(None, 1)
        connection.wire.serve()
        turns += connection.sent()
    assert turns == [(5, b"a"), (700, b"a"), (30, b"a"), (5, b"b"), (700, b"b"), (30, b"b")]
    asked = [number for number, sink in enumerate(connection.sinks) if sink.heard]
    assert asked == [5, 30, 700]


async def test_updates_for_each_frame_of_a_read_are_served_as_one() -> None:
    connection = Connection(streams=3)
    connection.use_up()
    connection.lanes[1].write([b"row"] * 100)
    for _ in range(100):
        connection.raise_window(1, 3)
        connection.raise_window(None, 3)
    assert list(connection.sent()) == []
    connection.wire.serve()
    assert list(connection.sent()) == [(1, b"row")] * 100
    assert connection.sinks[1].heard == ["room"]


async def test_a_lane_whose_own_window_is_shut_leaves_the_connections_to_others() -> None:
    connection = Connection(streams=3)
    shut, other = connection.lanes[0], connection.lanes[1]
    shut.write([bytes(DEFAULT_WINDOW_BYTES)])
    list(connection.sent())
    shut.write([b"waits"])
    other.write([b"goes"])
    connection.raise_window(None, 100)
    connection.wire.serve()
    assert list(connection.sent()) == [(1, b"goes")]
    connection.raise_window(0, 5)
    connection.wire.serve()
    assert list(connection.sent()) == [(0, b"waits")]


async def test_a_window_past_what_rfc_9113_allows_is_not_taken() -> None:
    connection = Connection(streams=1)
    wire = connection.wire
    for stream_id in (0, 1):
        before = wire.outbound_window(1)
        assert not wire.raise_window(stream_id, WINDOW_MAX - DEFAULT_WINDOW_BYTES + 1)
        assert not wire.raise_window(stream_id, 2**32 - 1)
        assert wire.outbound_window(1) == before
        assert wire.raise_window(stream_id, WINDOW_MAX - DEFAULT_WINDOW_BYTES)
    assert not wire.raise_window(3, 1)


LANES = 4
writes = st.tuples(st.just("write"), st.integers(0, LANES - 1), st.integers(1, 30_000))
opens = st.tuples(st.just("raise"), st.integers(-1, LANES - 1), st.integers(1, 30_000))
serves = st.tuples(st.just("serve"), st.just(0), st.just(0))


@given(st.lists(writes | writes | opens | serves, max_size=60))
async def test_all_that_was_written_leaves_in_its_order_once_windows_allow_it(
    steps: list[tuple[str, int, int]],
) -> None:
    connection = Connection(LANES)
    written: dict[int, bytes] = defaultdict(bytes)
    left: dict[int, bytes] = defaultdict(bytes)
    for what, number, size_bytes in steps:
        if what == "write":
            payload = bytes([len(written[number]) % 251]) * size_bytes
            connection.lanes[number].write([payload])
            written[number] += payload
        elif what == "raise":
            connection.raise_window(None if number < 0 else number, size_bytes)
        else:
            connection.wire.serve()
    for number in (None, *range(LANES)):
        connection.raise_window(number, 1 << 22)
    for _ in range(len(steps) + 1):  # The output takes 256 KiB at a time.
        for number, payload in connection.sent():
            left[number] += payload
        connection.wire.serve()
    assert not any(lane.holds for lane in connection.lanes)
    assert left == {number: payload for number, payload in written.items() if payload}
