"""The streams of one connection: how they begin, how they are woken, and every way they end.

Laws:
1. Every stream ends in a way that its peer hears: END_STREAM, or RST_STREAM with a code. An
   application that fails after its headers is RST_STREAM(INTERNAL_ERROR), never silence.
2. A stream that is over is told to its application, and its bytes count as done, once.
"""

import asyncio
from collections.abc import Callable

from h2.errors import ErrorCodes
from hypercorn.protocol.events import Request, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from gateway.http.credit import Credit
from gateway.http.h2core import H2Options
from gateway.http.lanes import Lane
from gateway.http.streams import LANE_KEY, BodyPump, Stream
from gateway.http.wire import Headers, Wire

MakeAsgi = Callable[[type[HTTPStream] | type[WSStream], int], HTTPStream | WSStream]
"""Makes Hypercorn's side of a stream from its class and its number."""


class StreamTable:
    """The streams that are open, or answered while their peer may still be sending."""

    def __init__(
        self,
        wire: Wire,
        options: H2Options,
        state: ConnectionState,
        make_asgi: MakeAsgi,
        emptied: Callable[[], None],
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self._wire = wire
        self._options = options
        self._state = state
        self._make_asgi = make_asgi
        self._emptied = emptied
        self._loop = asyncio.get_running_loop()
        self._requests = 0
        self._first = 0

    def __len__(self) -> int:
        return len(self.streams)

    def get(self, stream_id: int | None) -> Stream | None:
        """The stream of this number, if it is not over."""
        return self.streams.get(stream_id or 0)

    # ── begin ──

    async def request(self, stream_id: int, headers: Headers) -> None:
        """A peer opens a stream: start its application, or refuse it."""
        self._requests += 1
        self._wire.measure.streams.inc()
        if self._requests % 64 == 0:
            self._wire.h2.forget_closed_streams()
        if len(self.streams) >= self._options.streams_max or self._wire.closed:
            self._wire.measure.refused.inc()
            self._wire.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        fields = dict(headers)
        raw_path = fields.get(b":path", b"/")
        # Hypercorn and Quart fail on any other.
        if not (raw_path.isascii() and (raw_path.startswith(b"/") or raw_path == b"*")):
            self._wire.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        method = fields.get(b":method", b"").decode("ascii", "replace").upper()
        rides = method == "POST" and raw_path.partition(b"?")[0] in self._options.lane_paths
        stream = self._new_stream(stream_id, method, fields, rides=rides)
        await stream.asgi.handle(
            Request(
                stream_id=stream_id,
                headers=filter_pseudo_headers(headers),
                http_version="2",
                method=method,
                raw_path=raw_path,
                state=self._state_of(stream),
            )
        )

    def _new_stream(
        self, stream_id: int, method: str, fields: dict[bytes, bytes], *, rides: bool
    ) -> Stream:
        gives = not (rides and _does_not_count(fields))
        lane = Lane(self._wire, stream_id, Credit(self._options.stream_window_bytes, gives=gives))
        length = fields.get(b"content-length", b"")
        asgi = self._make_asgi(WSStream if method == "CONNECT" else HTTPStream, stream_id)
        stream = Stream(lane, asgi, int(length) if length.isdigit() else None)
        lane.moved = stream.output_moved.set
        self.streams[stream_id] = stream
        if not rides:
            stream.pump = BodyPump(stream)
            lane.attach(stream.pump)
        return stream

    def _state_of(self, stream: Stream) -> ConnectionState:
        """The ASGI state of a stream, where its handler finds the lane."""
        state = dict(self._state)
        if stream.pump is None:
            state[LANE_KEY] = stream.lane
        return ConnectionState(state)

    # ── go on ──

    def wake(self) -> None:
        """The socket takes more, or SETTINGS have opened any window: ask every stream."""
        # Each in its turn is the first: one stream could take all that there is every time.
        streams = list(self.streams.values())
        self._first = (self._first + 1) % max(1, len(streams))
        for stream in streams[self._first :] + streams[: self._first]:
            stream.lane.window_opened()

    @property
    def owes(self) -> bool:
        """Whether any peer of a stream waits for something."""
        return any(stream.lane.owes() for stream in self.streams.values())

    # ── end ──

    def end_request(self, stream: Stream, *, by_data: bool) -> bool:
        """The peer's side is done; False if its body was not as long as it had said."""
        stream.lane.request_ended = True
        if stream.content_length not in (None, stream.received_bytes):
            return False
        if by_data:
            self._wire.end_request(stream.id)
        return True

    async def application_done(self, stream: Stream) -> None:
        """The application has returned: its response is whole, or the peer must hear it is not."""
        if stream.pump is not None:
            stream.pump.cancel()
        if not stream.lane.ended:
            await self.reset(stream, ErrorCodes.INTERNAL_ERROR)
        elif stream.lane.request_ended:
            await self.forget(stream)
        else:
            # The peer may not have heard yet; what it still sends is dropped for a while.
            self.finish(stream)
            stream.lane.done(stream.lane.undone_bytes)

    def finish(self, stream: Stream) -> None:
        """Our side is done; a peer that goes on sending is stopped after a while."""
        if stream.finished_at is None:
            stream.finished_at = self._loop.time()

    def lingering(self, now: float) -> list[Stream]:
        """Streams that were answered in full, and whose peers have had time to hear it."""
        return [
            stream
            for stream in self.streams.values()
            if stream.finished_at is not None and now - stream.finished_at > self._options.linger_s
        ]

    async def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream from our side."""
        self._wire.reset_stream(stream.id, code)
        await self.forget(stream)

    async def forget(self, stream: Stream) -> None:
        """The stream is over. Its application hears it, its bytes count as done."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._wire.give_back(stream.lane)
        stream.lane.close()
        if stream.pump is not None:
            stream.pump.cancel()
        await stream.asgi.handle(StreamClosed(stream_id=stream.id))
        if not self.streams:
            self._emptied()

    async def forget_all(self) -> None:
        """The connection is over."""
        for stream in list(self.streams.values()):
            await self.forget(stream)


def _does_not_count(fields: dict[bytes, bytes]) -> bool:
    """ksqlDB's Java client, streaming inserts: it writes around its own flow controller."""
    agent = fields.get(b"user-agent", b"")
    return agent.startswith(b"ksqlDB Java Client") and b"content-length" not in fields
