"""A connection's outbound half: what leaves it, and the windows of both directions.

It owns h2, the output and the connection's inbound credit. It knows lanes and never what they carry
nor which streams there are. Lanes write DATA past it into the output; all other frames leave here.

One private part of h2 is touched, ``_expected_content_length`` (`end_request`): h2 counts a body's
bytes by the DATA frames it sees, and it sees none.

Source: RFC 9113 §5.2, §6.9.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable

import h2.exceptions
from h2.errors import ErrorCodes
from h2.stream import H2Stream

from gateway.http.credit import WINDOW_MAX, Credit
from gateway.http.h2core import H2Core, H2Options, goaway, new_h2, window_update
from gateway.http.lanes import Lane, end_of_stream
from gateway.http.measures import ConnectionMeasure
from gateway.http.output import Output

Headers = list[tuple[bytes, bytes]]

_PING_PAYLOAD = b"headrace"


class Wire:
    """What a connection sends. Implements `gateway.http.lanes.Carrier`."""

    def __init__(
        self,
        options: H2Options,
        writer: asyncio.StreamWriter,
        drained: Callable[[], None],
        measure: ConnectionMeasure | None = None,
    ) -> None:
        self.measure = measure or ConnectionMeasure()
        self._windows = self.measure.windows
        self.h2 = new_h2(options)
        self.output = Output(writer, drained)
        self.closed = False
        """the connection is over, or ends now"""
        self.waiting_bytes = 0
        """of DATA that came, on any stream, and is not done with, or is kept all the same"""
        self._credit = Credit(options.connection_window_bytes)
        self._credits_strays = True
        # Lanes whose own window is open: who came first is served first.
        self._waiting: OrderedDict[Lane, None] = OrderedDict()

    def flush(self) -> None:
        """Send what h2 has ready."""
        data = self.h2.data_to_send()
        if data:
            self.output.write([data])

    # ── inbound windows ──

    def received(self, lane: Lane, flow_bytes: int) -> None:
        """DATA came for a lane."""
        self.waiting_bytes += flow_bytes
        lane.received(flow_bytes)
        if lane.credit.gives:
            self._credit.received(flow_bytes)
            if lane.credit.left_bytes <= 0 and not lane.request_ended:
                self._windows.closed(lane)
        else:
            self._credits_strays = False

    def give_credit(self, lane: Lane, flow_bytes: int) -> None:
        """Bytes of a lane are done with."""
        self.open_window(lane, flow_bytes)
        self.hold_credit(lane, flow_bytes)

    def hold_credit(self, lane: Lane, flow_bytes: int) -> None:
        """Bytes of a lane are done with, for the connection."""
        self.waiting_bytes -= flow_bytes
        if lane.credit.gives:
            self._give(flow_bytes)

    def open_window(self, lane: Lane, flow_bytes: int) -> None:
        """Bytes of a lane are done with, for its own window."""
        if not lane.credit.gives:
            return
        increment = lane.credit.done(flow_bytes)
        if increment:
            self._windows.opened(lane)
            if not lane.request_ended:
                self.output.write([window_update(lane.stream_id, increment)])

    def keep(self, more_bytes: int) -> None:
        """A lane's sink keeps more of what it has credited, or less."""
        self.waiting_bytes += more_bytes

    def give_back(self, lane: Lane) -> None:
        """A lane is over: what it had not done with counts as done, for the connection."""
        self._waiting.pop(lane, None)
        self._windows.opened(lane)
        undone_bytes = lane.undone_bytes
        self.waiting_bytes -= undone_bytes + lane.kept_bytes
        if lane.credit.gives:
            self._give(undone_bytes)

    def received_stray(self, flow_bytes: int) -> None:
        """DATA came for a stream that is over.

        It may be one of those that do not count (`gateway.http.credit`): where there was any, none
        gets credit. That costs the others on its connection a little of their window.
        """
        if self._credits_strays:
            self._credit.received(flow_bytes)
            self._give(flow_bytes)

    def _give(self, flow_bytes: int) -> None:
        increment = self._credit.done(flow_bytes)
        if increment:
            self.output.write([window_update(0, increment)])

    # ── outbound windows ──

    @property
    def outbound_frame_max(self) -> int:
        """The longest DATA payload that the peer takes."""
        return self.h2.max_outbound_frame_size

    def outbound_window(self, stream_id: int) -> int:
        """Bytes that may be sent on a stream now; may be below 0."""
        state = self.h2.streams.get(stream_id)
        if state is None or self.closed:
            return 0
        return min(state.outbound_flow_control_window, self.h2.outbound_flow_control_window)

    def spend_window(self, stream_id: int, size_bytes: int) -> None:
        """Bytes were sent on a stream."""
        self.h2.streams[stream_id].outbound_flow_control_window -= size_bytes
        self.h2.outbound_flow_control_window -= size_bytes

    def raise_window(self, stream_id: int, increment: int) -> bool:
        """WINDOW_UPDATE for a stream that is open, or for the connection (0).

        False: nothing was done, it is for h2 to say what is wrong. Past h2, because a client may
        well send two for each frame that it gets.
        """
        window: H2Core | H2Stream | None = self.h2.streams.get(stream_id) if stream_id else self.h2
        if window is None or increment > WINDOW_MAX:
            return False
        if window.outbound_flow_control_window + increment > WINDOW_MAX:
            return False
        window.outbound_flow_control_window += increment
        return True

    def wait(self, lane: Lane) -> None:
        """A lane holds output: `serve` lets it go on.

        One whose own window is shut does not wait here: the peer opens that one by its number.
        """
        state = self.h2.streams.get(lane.stream_id)
        if state is not None and state.outbound_flow_control_window > 0:
            self._waiting[lane] = None

    def serve(self) -> None:
        """Windows may have opened: lanes that wait go on, each in its turn, as far as they reach.

        It costs by the lanes that move, not by those that there are.
        """
        for _ in range(len(self._waiting)):
            if self.h2.outbound_flow_control_window <= 0 or not self.output.room_bytes:
                return
            lane, _ = self._waiting.popitem(last=False)
            lane.window_opened()

    # ── frames ──

    def send_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> bool:
        """HEADERS, or trailers with ``end``; False if the stream takes none any more."""
        try:
            self.h2.send_headers(stream_id, headers, end_stream=end)
        except h2.exceptions.ProtocolError:
            return False
        self.flush()
        return True

    def end_stream(self, stream_id: int) -> None:
        """Say that our side of a stream is done."""
        # What is over already, for both sides, needs no end.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.h2.end_stream(stream_id)
        self.flush()

    def end_request(self, stream_id: int) -> None:
        """Tell h2 what it has not seen: the peer's side of a stream has ended by DATA."""
        state = self.h2.streams.get(stream_id)
        if state is not None:
            state._expected_content_length = None
            self.h2.receive_data(end_of_stream(stream_id))

    def reset_stream(self, stream_id: int, code: ErrorCodes) -> None:
        """RST_STREAM, if the stream is not over already."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.h2.reset_stream(stream_id, code)
            self.measure.reset_by_us.inc()
        self.flush()

    def ping(self) -> None:
        """PING: the peer sees that we are alive."""
        self.measure.pings.inc()
        self.h2.ping(_PING_PAYLOAD)
        self.flush()

    def say_goaway(self, code: ErrorCodes, last_stream_id: int | None = None) -> None:
        """GOAWAY; without a number, the last stream is the one that came last."""
        if last_stream_id is None:
            last_stream_id = self.h2.highest_inbound_stream_id
        self.output.write([goaway(last_stream_id, code)])
