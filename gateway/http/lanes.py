"""Lanes: the fast path of one stream, past the per-message queues of the stack.

A lane hands what a read brought to its sink in one call, and writes frames within the peer's
windows straight into the connection's output. It holds what the peer's window does not take, up to
a mark, and tells the sink when there is room again: whoever produces, stops producing.

Laws:
1. Frames leave in order, each as one DATA frame if the peer's limits allow, else cut; END_STREAM
   comes last, once.
2. Nothing here waits. A shut window stops this lane and nobody else.
3. Bytes that came before a sink was attached are delivered once, and credited once.
"""

from collections import deque
from collections.abc import Callable
from itertools import groupby
from struct import Struct
from typing import Protocol

from gateway.http.credit import Credit
from gateway.http.output import Output
from protocol.frames import END_STREAM, HEADER_BYTES

HELD_BYTES_MAX = 16 * 1024
"""Output held for a shut window; past it the sink is not asked for more."""

WHOLE_BYTES = 64 * 1024
"""A frame of up to this length is not cut for want of room in the output: it may exceed it once."""

_header = Struct(">IBI").pack


class LaneSink(Protocol):
    """Who takes what a lane brings. Called on the event loop; must not raise."""

    def receive(self, data: bytes) -> None:
        """Bytes of the request's body."""

    def receive_end(self) -> None:
        """The request's body has ended."""

    def room(self) -> None:
        """The lane takes output again."""

    def lost(self) -> None:
        """The peer has given the stream up, or is gone: nothing more comes or goes."""

    def owes(self) -> bool:
        """Whether the peer waits for something: then the connection is kept alive by PING."""


class Carrier(Protocol):
    """What a lane needs of its connection."""

    output: Output

    @property
    def outbound_frame_max(self) -> int:
        """The longest DATA payload that the peer takes."""

    def outbound_window(self, stream_id: int) -> int:
        """Bytes that may be sent on a stream now; may be below 0."""

    def spend_window(self, stream_id: int, size_bytes: int) -> None:
        """Bytes were sent on a stream."""

    def wait(self, lane: "Lane") -> None:
        """A lane holds output that may not leave now: `Lane.window_opened` once it may."""

    def end_stream(self, stream_id: int) -> None:
        """Say that our side of a stream is done."""

    def give_credit(self, lane: "Lane", flow_bytes: int) -> None:
        """Bytes of a lane are done with."""

    def hold_credit(self, lane: "Lane", flow_bytes: int) -> None:
        """So are these, but the lane's own window stays as it is for now."""

    def open_window(self, lane: "Lane", flow_bytes: int) -> None:
        """What `hold_credit` left out."""

    def keep(self, more_bytes: int) -> None:
        """So many more bytes are kept by a lane's sink that were done with; fewer if below 0."""


class Lane:
    """One stream of a connection."""

    def __init__(self, connection: Carrier, stream_id: int, credit: Credit) -> None:
        self.stream_id = stream_id
        self.credit = credit
        self.ended = False
        """END_STREAM has left"""
        self.request_ended = False
        """the peer's side is done"""
        self.closed = False
        self.moved: Callable[[], None] = _nothing
        """called when the lane has ended, or is closed"""
        self._connection = connection
        self._sink: LaneSink | None = None
        self._early: list[bytes] = []
        self._early_end = False
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._ending = False
        self._open = False
        self._undone_bytes = 0
        self._kept_bytes = 0

    # ── inbound ──

    def received(self, flow_bytes: int) -> None:
        """The peer sent so many bytes on this stream, padding included."""
        self._undone_bytes += flow_bytes
        self.credit.received(flow_bytes)

    def attach(self, sink: LaneSink) -> None:
        """Deliver to ``sink`` from now on, first what came before it."""
        self._sink = sink
        early, self._early = self._early, []
        if self.closed:
            sink.lost()
            return
        if early:
            sink.receive(b"".join(early))
        if self._early_end:
            sink.receive_end()

    def receive(self, data: bytes, *, ended: bool) -> None:
        """What one read brought for this stream."""
        if self._sink is None:
            self._early.append(data)
            self._early_end = self._early_end or ended
            return
        if data:
            self._sink.receive(data)
        if ended:
            self._sink.receive_end()

    def done(self, flow_bytes: int) -> None:
        """So many inbound bytes are done with: the peer may send as many more."""
        if not self.closed:
            self._undone_bytes -= flow_bytes
            self._connection.give_credit(self, flow_bytes)

    def hold(self, flow_bytes: int) -> None:
        """As `done`, but the peer may not send more on this stream before `release` of as many.

        Other streams of the connection have nothing to do with it, and do not feel it.
        """
        if not self.closed:
            self._undone_bytes -= flow_bytes
            self._connection.hold_credit(self, flow_bytes)

    def release(self, flow_bytes: int) -> None:
        """See `hold`."""
        if not self.closed:
            self._connection.open_window(self, flow_bytes)

    def keep(self, kept_bytes: int) -> None:
        """So many bytes are in memory although they are done with: credit let the rest come.

        They count towards what waits on the connection, as all that is not done with does.
        """
        if not self.closed and kept_bytes != self._kept_bytes:
            self._connection.keep(kept_bytes - self._kept_bytes)
            self._kept_bytes = kept_bytes

    @property
    def undone_bytes(self) -> int:
        """Bytes that came and are not done with."""
        return self._undone_bytes

    @property
    def kept_bytes(self) -> int:
        """See `keep`."""
        return self._kept_bytes

    def owes(self) -> bool:
        """See `LaneSink.owes`."""
        return self._sink is not None and not self.ended and self._sink.owes()

    # ── outbound ──

    @property
    def has_room(self) -> bool:
        """Whether the lane takes output: the peer's window and the socket keep up."""
        return (
            self._open
            and self._held_bytes < HELD_BYTES_MAX
            and self._connection.output.room_bytes > 0
        )

    @property
    def holds(self) -> bool:
        """Whether there is output that waits for a window, or for the socket."""
        return bool(self._held)

    @property
    def is_empty(self) -> bool:
        """Whether everything that was written has left."""
        return self._open and not self._held

    def open(self) -> None:
        """The response's headers have left: output may follow."""
        self._open = True
        self.pump()
        if self._sink is not None and self.has_room:
            self._sink.room()

    def write(self, frames: list[bytes]) -> None:
        """Send each as a DATA frame, as far as windows allow; hold the rest."""
        if self.closed or self._ending:
            return
        size_bytes = sum(map(len, frames))
        if self._open and not self._held and self._send_whole(frames, size_bytes):
            return
        self._held.extend(frames)
        self._held_bytes += size_bytes
        self.pump()

    def end(self) -> None:
        """END_STREAM once everything written has left."""
        self._ending = True
        self.pump()

    def window_opened(self) -> None:
        """The peer's window, or the socket, takes more."""
        if self.closed:
            return
        self.pump()
        if self._sink is not None and self.has_room and not self._ending:
            self._sink.room()

    def pump(self) -> None:
        """Move what is held into the output, within the windows."""
        if not self._open or self.closed or self.ended:
            return
        if self._held:
            self._send_held()
        if self._held:
            self._connection.wait(self)
        elif self._ending:
            self.ended = True
            self._connection.end_stream(self.stream_id)
            self.moved()

    def close(self) -> None:
        """The stream is over; the sink hears it unless it ended well."""
        if self.closed:
            return
        self.closed = True
        self._held.clear()
        self._held_bytes = 0
        self._early.clear()
        if self._sink is not None and not self.ended:
            self._sink.lost()
        self.moved()

    def _send_whole(self, frames: list[bytes], size_bytes: int) -> bool:
        """Send all of them at once, if there is room for all.

        Frames of one length share a header: acks do, thousands in a row, and then a frame costs
        no step of its own.
        """
        connection, stream_id = self._connection, self.stream_id
        room = min(connection.outbound_window(stream_id), connection.output.room_bytes)
        if size_bytes > room or max(map(len, frames), default=0) > connection.outbound_frame_max:
            return False
        out = []
        for length, run in groupby(frames, len):
            header = _header(length << 8, 0, stream_id)
            out.append(header + header.join(run))
        if out:
            connection.spend_window(stream_id, size_bytes)
            connection.output.write(out)
        return True

    def _send_held(self) -> None:
        connection, stream_id = self._connection, self.stream_id
        window, room = connection.outbound_window(stream_id), connection.output.room_bytes
        frame_max = connection.outbound_frame_max
        held, out, sent = self._held, [], 0
        while held and window > 0 and room > 0:
            payload = held[0]
            size = len(payload)
            limit = min(window, frame_max, max(room, WHOLE_BYTES))
            if size > limit:
                size = limit
                held[0] = payload[size:]
                payload = payload[:size]
            else:
                held.popleft()
            out.append(_header(size << 8, 0, stream_id))
            out.append(payload)
            window -= size
            room -= size + HEADER_BYTES
            sent += size
        if sent:
            self._held_bytes -= sent
            connection.spend_window(stream_id, sent)
            connection.output.write(out, sent + len(out) // 2 * HEADER_BYTES)


def _nothing() -> None:
    """Nobody listens."""


def end_of_stream(stream_id: int) -> bytes:
    """An empty DATA frame with END_STREAM."""
    return _header(0, END_STREAM, stream_id)
