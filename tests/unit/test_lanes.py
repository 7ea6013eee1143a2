"""A lane against any windows and any writes: order, cutting, one end, and whom it asks for more."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.credit import Credit
from gateway.http.lanes import HELD_BYTES_MAX, WHOLE_BYTES, Lane
from gateway.http.output import FULL_BYTES
from tests.frames import Frame, Kind


class Paper:
    """An output that keeps what is written; `take` is the socket taking it."""

    def __init__(self) -> None:
        self.raw = b""
        self.room_bytes = FULL_BYTES

    def write(self, parts: list[bytes], size_bytes: int | None = None) -> None:
        """See `gateway.http.output.Output`."""
        assert size_bytes in (None, sum(map(len, parts)))
        self.raw += b"".join(parts)
        self.room_bytes = max(0, self.room_bytes - sum(map(len, parts)))

    def take(self) -> None:
        """Room for all again."""
        self.room_bytes = FULL_BYTES


class Carrier:
    """A connection of one stream, whose windows the test moves."""

    def __init__(self, *, window: int = 65_535, frame_max: int = 16_384) -> None:
        self.output = Paper()
        self.outbound_frame_max = frame_max
        self.window = window
        self.ends = 0
        self.credited = 0
        self.held: list[int] = []
        self.released: list[int] = []
        self.kept = 0

    def outbound_window(self, stream_id: int) -> int:
        """See `gateway.http.lanes.Carrier`."""
        return self.window

    def spend_window(self, stream_id: int, size_bytes: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        assert 0 < size_bytes <= self.window
        self.window -= size_bytes

    def wait(self, lane: Lane) -> None:
        """See `gateway.http.lanes.Carrier`. The test opens windows by its own."""
        assert lane.holds

    def end_stream(self, stream_id: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        self.ends += 1

    def hold_credit(self, lane: Lane, flow_bytes: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        self.held.append(flow_bytes)

    def open_window(self, lane: Lane, flow_bytes: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        self.released.append(flow_bytes)

    def give_credit(self, lane: Lane, flow_bytes: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        self.credited += flow_bytes

    def keep(self, more_bytes: int) -> None:
        """See `gateway.http.lanes.Carrier`."""
        self.kept += more_bytes

    def frames(self) -> list[bytes]:
        """Payloads of the DATA frames that left."""
        raw, found = bytearray(self.output.raw), list[bytes]()
        while (frame := Frame.decode(raw)) is not None:
            assert (frame.kind, frame.flags, frame.stream_id) == (Kind.DATA, 0, 7)
            found.append(frame.payload)
            del raw[: 9 + len(frame.payload)]
        assert not raw
        return found


class Sink:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.heard: list[str] = []

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self.received.append(data)

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self.heard.append("end")

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self.heard.append("room")

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self.heard.append("lost")

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`."""
        return True


def lane_on(carrier: Carrier, *, opened: bool = True) -> Lane:
    lane = Lane(carrier, 7, Credit(1 << 20))  # type: ignore[arg-type]
    if opened:
        lane.open()
    return lane


# ── outbound ─────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=40), st.integers(1, FULL_BYTES))
def test_a_frame_is_not_cut_because_our_own_output_is_full(sizes: list[int], room: int) -> None:
    carrier = Carrier(window=1 << 30, frame_max=65_536)
    carrier.output.room_bytes = room
    lane = lane_on(carrier)
    frames = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    lane.write(frames)
    while len(carrier.frames()) < len(frames):
        before = len(carrier.output.raw)
        carrier.output.take()
        lane.window_opened()
        taken = len(carrier.output.raw) - before
        assert 0 < taken <= FULL_BYTES + WHOLE_BYTES + 9
    assert carrier.frames() == frames


steps = st.lists(
    st.one_of(
        st.lists(st.binary(min_size=1, max_size=60), max_size=5),
        st.integers(-50, 100),
    ),
    max_size=20,
)


@given(steps, st.integers(1, 40), st.integers(0, 100))
def test_whatever_the_windows_do_bytes_leave_in_order_in_frames_that_the_peer_takes(
    moves: list[list[bytes] | int], frame_max: int, window: int
) -> None:
    carrier = Carrier(window=window, frame_max=frame_max)
    lane = lane_on(carrier)
    written = b""
    for move in moves:
        if isinstance(move, int):
            # By WINDOW_UPDATE, or by SETTINGS, which may also take away.
            carrier.window += move
            lane.window_opened()
        else:
            written += b"".join(move)
            lane.write(move)
        left = b"".join(carrier.frames())
        assert written.startswith(left)
        assert left == written or carrier.window <= 0
    lane.end()
    assert carrier.ends == (left == written if moves else 1)
    carrier.window = 10_000
    lane.window_opened()
    lane.window_opened()
    assert b"".join(carrier.frames()) == written
    assert all(0 < len(frame) <= frame_max for frame in carrier.frames())
    assert (carrier.ends, lane.ended, lane.is_empty) == (1, True, True)


def test_each_write_is_a_frame_of_its_own() -> None:
    carrier = Carrier()
    lane_on(carrier).write([b"a\n", b"bc\n", b"d\n"])
    assert carrier.frames() == [b"a\n", b"bc\n", b"d\n"]


def test_nothing_leaves_before_the_headers() -> None:
    carrier = Carrier()
    lane = lane_on(carrier, opened=False)
    lane.write([b"early"])
    lane.end()
    assert (carrier.frames(), carrier.ends, lane.has_room) == ([], 0, False)
    lane.open()
    assert (carrier.frames(), carrier.ends) == ([b"early"], 1)


def test_a_full_output_holds_a_lane_back_as_a_shut_window_does() -> None:
    carrier = Carrier(window=1 << 30)
    lane = lane_on(carrier)
    sink = Sink()
    lane.attach(sink)
    lane.write([b"x" * 10_000] * 100)
    assert len(carrier.output.raw) <= FULL_BYTES + 9 + 10_000, "one frame too many at the most"
    assert not lane.has_room
    while not lane.is_empty:
        carrier.output.take()
        lane.window_opened()
    assert sink.heard[-1] == "room"
    assert carrier.frames() == [b"x" * 10_000] * 100


def test_a_sink_is_asked_for_more_only_where_there_is_room() -> None:
    carrier = Carrier(window=0)
    lane = lane_on(carrier)
    sink = Sink()
    lane.attach(sink)
    lane.write([b"x" * HELD_BYTES_MAX])
    assert not lane.has_room
    lane.window_opened()
    assert sink.heard == []
    carrier.window = 1
    lane.window_opened()
    assert sink.heard == ["room"]


def test_after_its_end_a_lane_takes_nothing_and_asks_for_nothing() -> None:
    carrier = Carrier(window=0)
    lane = lane_on(carrier)
    sink = Sink()
    lane.attach(sink)
    lane.write([b"last"])
    lane.end()
    lane.write([b"too late"])
    carrier.window = 100
    lane.window_opened()
    assert (carrier.frames(), carrier.ends, sink.heard) == ([b"last"], 1, [])


# ── inbound ──────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=8), st.integers(0, 8), st.booleans())
def test_what_comes_before_its_sink_is_delivered_once_in_order(
    pieces: list[bytes], attached_after: int, ends: bool
) -> None:
    lane = lane_on(Carrier())
    sink = Sink()
    for number, piece in enumerate(pieces):
        if number == attached_after:
            lane.attach(sink)
        lane.receive(piece, ended=False)
    if ends:
        lane.receive(b"", ended=True)
    if attached_after >= len(pieces):
        lane.attach(sink)
    assert b"".join(sink.received) == b"".join(pieces)
    assert sink.heard == (["end"] if ends else [])


def test_bytes_are_done_with_once_and_none_after_the_end() -> None:
    carrier = Carrier()
    lane = lane_on(carrier)
    lane.received(100)
    lane.done(60)
    assert (lane.undone_bytes, carrier.credited) == (40, 60)
    lane.close()
    lane.done(40)
    assert carrier.credited == 60


def test_a_sink_hears_that_its_stream_is_lost_unless_it_ended_well() -> None:
    for ended in (False, True):
        lane, sink, moved = lane_on(Carrier()), Sink(), list[None]()
        lane.attach(sink)
        lane.moved = lambda moved=moved: moved.append(None)  # type: ignore[misc]
        if ended:
            lane.end()
        lane.close()
        lane.close()
        assert sink.heard == ([] if ended else ["lost"])
        assert len(moved) == 1 + ended


def test_a_sink_that_comes_too_late_hears_so_and_gets_nothing() -> None:
    lane, sink = lane_on(Carrier()), Sink()
    lane.receive(b"x", ended=True)
    lane.close()
    lane.attach(sink)
    assert (sink.received, sink.heard) == ([], ["lost"])


def test_a_lane_that_is_held_gives_credit_to_its_connection_at_once_and_to_itself_later() -> None:
    connection = Carrier()
    lane = lane_on(connection)
    lane.received(600)
    lane.hold(400)
    assert (lane.undone_bytes, connection.held, connection.released) == (200, [400], [])
    lane.release(400)
    assert (connection.released, connection.credited) == ([400], 0)
    lane.close()
    lane.hold(200)
    lane.release(200)
    assert (connection.held, connection.released) == ([400], [400])
