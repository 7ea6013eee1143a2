"""A connection's inbound half: bytes of the socket → DATA to lanes, all else through h2.

What a peer can make us keep or do is bounded here: by windows, by the overrun limit of a lane, by a
budget of the whole connection, by the limits of frames, headers, resets, control frames and unread
answers. A fault of one stream ends that stream; only a fault of the connection ends the connection.

Source: RFC 9113 §4, §5.1, §6, §8.1.1, §10.5; CVE-2023-44487 (rapid reset), CVE-2025-8671 (resets
that the server is made to send).
"""

from collections.abc import Awaitable, Callable

import h2.events
import h2.exceptions
import structlog
from h2.errors import ErrorCodes

from gateway.http.guards import RateGuard
from gateway.http.h2core import (
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    SETTINGS,
    WINDOW_UPDATE,
    H2Options,
)
from gateway.http.streams import Stream
from gateway.http.table import StreamTable
from gateway.http.watch import Watch
from gateway.http.wire import Wire
from protocol.frames import (
    HEADER_BYTES,
    BadPadding,
    DataChunk,
    FrameTooLong,
    FrameWalk,
    OtherFrame,
)

_log = structlog.get_logger("headrace.http")

WINDOW_UPDATE_BYTES = 4


class Inbound:
    """Takes what the socket brings. ``end`` ends the connection, ``left`` hears a peer's GOAWAY."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        watch: Watch,
        options: H2Options,
        *,
        end: Callable[[ErrorCodes | None], Awaitable[None]],
        left: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._table = table
        self._watch = watch
        self._options = options
        self._end = end
        self._left = left
        self._walk = FrameWalk(frame_limit_bytes=options.frame_limit_bytes)
        self._resets = RateGuard(options.resets_max, options.resets_window_s)
        self._controls = RateGuard(options.control_frames_max, options.control_window_s)
        self._headers_open = False

    async def receive(self, data: bytes, now: float) -> None:
        """Take what one read brought."""
        self._watch.active_at = now
        try:
            arrived = self._walk.feed(data)
        except FrameTooLong:
            await self._end(ErrorCodes.FRAME_SIZE_ERROR)
            return
        except BadPadding:
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        for event in arrived:
            if isinstance(event, DataChunk):
                # Who waited for a window goes before what this will be answered with.
                self._wire.serve()
                await self._receive_data(event)
            else:
                await self._receive_frame(event)
            if self._wire.closed:
                return
        # Once for all the windows that this read has opened.
        self._wire.serve()
        if not (self._walk.waits or self._headers_open):
            self._watch.began_at = None
        elif arrived or self._watch.began_at is None:
            # Something was completed: what is unfinished now began with this read.
            self._watch.began_at = now
        if self._wire.output.overflows:
            self._wire.measure.flood("unread")
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    # ── DATA ──

    async def _receive_data(self, chunk: DataChunk) -> None:
        if self._headers_open:
            # RFC 9113 §6.10: nothing may come between the parts of a header block.
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        stream = self._table.get(chunk.stream_id)
        if stream is None:
            await self._receive_stray(chunk)
            return
        if stream.lane.request_ended:
            await self._fault(stream, ErrorCodes.STREAM_CLOSED)
            return
        stream.received_bytes += len(chunk.payload)
        self._wire.received(stream.lane, chunk.flow_bytes)
        wrong = self._objection(stream)
        if wrong is not None:
            await self._fault(stream, wrong)
            return
        if chunk.flow_bytes > len(chunk.payload):
            stream.lane.done(chunk.flow_bytes - len(chunk.payload))
        if chunk.ended and not self._table.end_request(stream, by_data=True):
            await self._fault(stream, ErrorCodes.PROTOCOL_ERROR)
            return
        await self._deliver(stream, chunk.payload, ended=chunk.ended)

    def _objection(self, stream: Stream) -> ErrorCodes | None:
        """What is wrong with so many bytes on a stream, if anything.

        A lane's overrun is taken, without credit from then on; any other's is an error.
        """
        options, lane = self._options, stream.lane
        if stream.content_length is not None and stream.received_bytes > stream.content_length:
            return ErrorCodes.PROTOCOL_ERROR
        if lane.credit.overrun_bytes and lane.credit.gives:
            if stream.pump is not None:
                return ErrorCodes.FLOW_CONTROL_ERROR
            lane.credit.stop_giving()
        # Once it is answered, an insert stream says itself that too much waits.
        early_max = max(options.overrun_max_bytes, options.stream_window_bytes)
        if not stream.answered and lane.undone_bytes > early_max:
            return ErrorCodes.ENHANCE_YOUR_CALM
        # What is kept without holding its sender back (the start of a long row, a body that is read
        # whole) is the fault of many streams at once: one alone has limits of its own.
        waiting_bytes = self._wire.waiting_bytes - lane.kept_bytes
        if waiting_bytes > options.connection_window_bytes + options.overrun_max_bytes:
            return ErrorCodes.ENHANCE_YOUR_CALM
        return None

    async def _deliver(self, stream: Stream, data: bytes, *, ended: bool) -> None:
        if stream.finished_at is not None:
            stream.lane.done(len(data))
            return
        try:
            stream.lane.receive(data, ended=ended)
        except Exception as fault:  # noqa: BLE001 - whatever a sink has wrong is its stream's only
            _log.error("a stream failed on what it received", exc_info=fault)
            await self._table.reset(stream, ErrorCodes.INTERNAL_ERROR)

    async def _receive_stray(self, chunk: DataChunk) -> None:
        """DATA for a stream that is over, or never was."""
        if chunk.stream_id > self._wire.h2.highest_inbound_stream_id or chunk.stream_id % 2 == 0:
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        self._wire.received_stray(chunk.flow_bytes)

    # ── all other frames ──

    async def _receive_frame(self, frame: OtherFrame) -> None:
        kind = frame.kind
        if kind in (HEADERS, CONTINUATION):
            self._headers_open = not frame.raw[4] & END_HEADERS
        elif kind in (SETTINGS, PING) and self._controls.exceeded(self._watch.active_at):
            self._wire.measure.flood("controls")
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        elif not self._headers_open and await self._is_handled_here(kind, frame.raw):
            return
        try:
            events = self._wire.h2.receive_data(frame.raw)
        except h2.exceptions.ProtocolError:
            self._wire.flush()
            await self._end(None)
            return
        except Exception:  # noqa: BLE001 - h2 lets other errors through on hostile input
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        for event in events:
            await self._handle_event(event)
        self._wire.flush()

    async def _is_handled_here(self, kind: int, raw: bytes) -> bool:
        """WINDOW_UPDATE past h2, and what it would end a connection on that can go on."""
        if kind not in (GOAWAY, WINDOW_UPDATE):
            return False
        payload = raw[HEADER_BYTES:]
        stream_id = int.from_bytes(raw[5:HEADER_BYTES]) & 0x7FFFFFFF
        if kind == GOAWAY and not stream_id and payload[4:8] == bytes(4):
            # The peer opens no more streams; those that are open go on.
            self._left()
            return True
        if kind == WINDOW_UPDATE and len(payload) == WINDOW_UPDATE_BYTES:
            return await self._window_update(stream_id, int.from_bytes(payload))
        return False

    async def _window_update(self, stream_id: int, increment: int) -> bool:
        """Take a WINDOW_UPDATE; False if it is for h2 to say what is wrong."""
        stream = self._table.get(stream_id)
        if stream_id and stream is None:
            return False
        if increment:
            if not self._wire.raise_window(stream_id, increment):
                return False
            if stream is not None and stream.lane.holds:
                self._wire.wait(stream.lane)
            return True
        if stream is not None:
            await self._fault(stream, ErrorCodes.PROTOCOL_ERROR)
            return True
        return False

    async def _handle_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                assert event.stream_id is not None
                assert event.headers is not None
                await self._table.request(event.stream_id, event.headers)
            case h2.events.StreamEnded():
                await self.ended_without_data(event.stream_id)
            case h2.events.StreamReset():
                await self._was_reset(event.stream_id)
            case h2.events.RemoteSettingsChanged():
                self._table.wake()
            case h2.events.ConnectionTerminated():
                await self._end(None)

    async def ended_without_data(self, stream_id: int | None) -> None:
        """HEADERS or trailers with END_STREAM: h2 knows already that the request has ended."""
        stream = self._table.get(stream_id)
        if stream is None or stream.lane.request_ended:
            return
        if self._table.end_request(stream, by_data=False):
            await self._deliver(stream, b"", ended=True)
        else:
            await self._fault(stream, ErrorCodes.PROTOCOL_ERROR)

    # ── peers that reset, or make us reset ──

    async def _was_reset(self, stream_id: int | None) -> None:
        stream = self._table.get(stream_id)
        if stream is not None:
            self._wire.measure.reset_by_peer.inc()
            await self._table.forget(stream)
            await self._count_reset(stream)

    async def _fault(self, stream: Stream, code: ErrorCodes) -> None:
        """The peer did wrong on a stream."""
        await self._table.reset(stream, code)
        await self._count_reset(stream)

    async def _count_reset(self, stream: Stream) -> None:
        """Requests that are dropped before their answer have cost us more than the peer."""
        if not stream.answered and self._resets.exceeded(self._watch.active_at):
            self._wire.measure.flood("resets")
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM)
