"""Our HTTP/2 connection, in the place of Hypercorn's and behind the same interface.

`h2` keeps what is rare and intricate: HPACK, settings, stream states, GOAWAY. DATA is walked in
bulk (`protocol.frames`), goes through lanes, and is flow-controlled here in both directions.

Laws:
1. Nothing that arrives waits for anything that leaves, and one stream waits for no other.
2. Every stream ends in a way that its peer hears: END_STREAM, or RST_STREAM with a code. An
   application that fails after its headers is RST_STREAM(INTERNAL_ERROR), never silence.
3. What a peer can make us keep is bounded: by windows, by the overrun limit of a lane, by the
   limits of frames, headers, resets, control frames and unread answers.
4. A fault of one stream ends that stream; only a fault of the connection ends the connection.

One private part of h2 is touched, ``_expected_content_length`` (`_end_request`): h2 counts a
body's bytes by the DATA frames it sees, and it sees none.

Source: RFC 9113; Hypercorn's ``H2Protocol``, whose place it takes (looked up at call time).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as IOEvent
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    InformationalResponse,
    Request,
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext
from hypercorn.utils import filter_pseudo_headers

from gateway.http.credit import WINDOW_MAX, Credit
from gateway.http.guards import RateGuard
from gateway.http.h2core import (
    CONTINUATION,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    HEADERS,
    PING,
    SETTINGS,
    H2Options,
    goaway,
    new_h2,
    window_update,
)
from gateway.http.lanes import Lane, end_of_stream
from gateway.http.output import Output
from gateway.http.streams import LANE_KEY, BodyPump, Stream
from gateway.http.watch import Due, Ticker, Watch
from protocol.frames import BadPadding, DataChunk, FrameTooLong, FrameWalk, OtherFrame

Headers = list[tuple[bytes, bytes]]

_PING_PAYLOAD = b"headrace"


class Connections:
    """The connections that are open, for a drain."""

    def __init__(self) -> None:
        self._open: set[GatewayH2Protocol] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, connection: "GatewayH2Protocol") -> None:
        """It has greeted its peer."""
        self._open.add(connection)
        self._empty.clear()

    def discard(self, connection: "GatewayH2Protocol") -> None:
        """It is over."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    def start_drain(self) -> None:
        """Tell every peer that its connection will end."""
        for connection in list(self._open):
            connection.start_drain()

    async def until_empty(self) -> None:
        """Wait until every connection is over."""
        await self._empty.wait()


class GatewayH2Protocol:
    """One connection. Subclassed with ``options`` and ``connections`` by `protocol_class`."""

    options: ClassVar[H2Options] = H2Options()
    connections: ClassVar[Connections]

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        connection_state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[IOEvent], Awaitable[None]],
    ) -> None:
        options = self.options
        self.app = app
        self.config = config
        self.context = context
        self.task_group = task_group
        self.connection_state = connection_state
        self.ssl = ssl
        self.client = client
        self.server = server
        self.send = send
        self.closed = False
        self.draining = False
        self.streams: dict[int, Stream] = {}
        self.output = Output(_writer_of(send), self._output_drained)
        self._loop = asyncio.get_running_loop()
        self._h2 = new_h2(options)
        self._walk = FrameWalk(frame_limit_bytes=options.frame_limit_bytes)
        self._credit = Credit(options.connection_window_bytes)
        self._resets = RateGuard(options.resets_max, options.resets_window_s)
        self._controls = RateGuard(options.control_frames_max, options.control_window_s)
        now = self._loop.time()
        self._watch = Watch(options, active_at=now, began_at=now)
        self._ticker = Ticker(self._watch.period_s, self._tick)
        self._headers_open = False
        self._served = 0
        self._due: set[asyncio.Task[None]] = set()

    # ── what Hypercorn calls ──

    @property
    def idle(self) -> bool:
        """Whether no stream is open."""
        return not self.streams

    async def initiate(self, headers: Headers | None = None, settings: bytes | None = None) -> None:
        """Greet the peer; after an upgrade from HTTP/1.1 its request is stream 1."""
        if settings is not None:
            self._h2.initiate_upgrade_connection(settings)
        else:
            self._h2.initiate_connection()
        self.connections.add(self)
        increment = self.options.connection_window_bytes - DEFAULT_WINDOW_BYTES
        if increment > 0:
            self._h2.increment_flow_control_window(increment)
        self._flush_h2()
        # Our own deadlines watch the connection from here on, not Hypercorn's idle timer.
        await self.send(Updated(idle=False))
        self._ticker.start()
        if headers is not None:
            await self._open_stream(1, headers)
            self.streams[1].request_ended = True
            self.streams[1].lane.receive(b"", ended=True)

    async def handle(self, event: IOEvent) -> None:
        """Bytes from the socket, or its end."""
        if isinstance(event, RawData):
            if not self.closed:
                await self._receive(event.data)
        elif isinstance(event, Closed):
            await self._close_streams()

    async def stream_send(self, event: StreamEvent) -> None:
        """What an application sends, through its ASGI stream."""
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        if isinstance(event, Response | InformationalResponse):
            self._send_headers(stream, event)
        elif isinstance(event, Body | Data):
            stream.lane.write([event.data])
            await self._until(stream, lambda: stream.lane.has_room)
        elif isinstance(event, EndBody | EndData):
            stream.lane.end()
            await self._until(stream, lambda: stream.lane.ended)
        elif isinstance(event, Trailers):
            await self._until(stream, lambda: stream.lane.is_empty)
            self._send_trailers(stream, event)
        elif isinstance(event, StreamClosed):
            await self._application_done(stream)

    # ── inbound ──

    async def _receive(self, data: bytes) -> None:
        self._watch.active_at = self._loop.time()
        try:
            arrived = self._walk.feed(data)
        except FrameTooLong:
            await self._end_connection(ErrorCodes.FRAME_SIZE_ERROR)
            return
        except BadPadding:
            await self._end_connection(ErrorCodes.PROTOCOL_ERROR)
            return
        for event in arrived:
            if isinstance(event, DataChunk):
                await self._receive_data(event)
            else:
                await self._receive_frame(event)
            if self.closed:
                return
        if not (self._walk.waits or self._headers_open):
            self._watch.began_at = None
        elif arrived or self._watch.began_at is None:
            # Something was completed: what is unfinished now began with this read.
            self._watch.began_at = self._watch.active_at
        if self.output.overflows:
            await self._end_connection(ErrorCodes.ENHANCE_YOUR_CALM)

    async def _receive_data(self, chunk: DataChunk) -> None:
        stream = self.streams.get(chunk.stream_id)
        if stream is None:
            await self._receive_stray(chunk)
            return
        if stream.request_ended:
            await self._reset(stream, ErrorCodes.STREAM_CLOSED)
            return
        stream.received_bytes += len(chunk.payload)
        lane = stream.lane
        lane.received(chunk.flow_bytes)
        if lane.credit.gives:
            self._credit.received(chunk.flow_bytes)
        if not self._tolerates(stream):
            await self._reset(stream, ErrorCodes.FLOW_CONTROL_ERROR)
            return
        if chunk.flow_bytes > len(chunk.payload):
            lane.done(chunk.flow_bytes - len(chunk.payload))
        if chunk.ended and not await self._end_request(stream):
            return
        if stream.finished_at is not None:
            lane.done(len(chunk.payload))
            return
        lane.receive(chunk.payload, ended=chunk.ended)
        if lane.early_bytes > self.options.overrun_max_bytes:
            await self._reset(stream, ErrorCodes.ENHANCE_YOUR_CALM)

    def _tolerates(self, stream: Stream) -> bool:
        """A lane's overrun is taken, without credit from then on; any other's is an error."""
        if not stream.lane.credit.overrun_bytes or not stream.lane.credit.gives:
            return True
        if stream.pump is not None:
            return False
        stream.lane.credit.stop_giving()
        return True

    async def _receive_stray(self, chunk: DataChunk) -> None:
        """DATA for a stream that is over, or never was."""
        if chunk.stream_id > self._h2.highest_inbound_stream_id or chunk.stream_id % 2 == 0:
            await self._end_connection(ErrorCodes.PROTOCOL_ERROR)
            return
        self._credit.received(chunk.flow_bytes)
        self._give_connection_credit(chunk.flow_bytes)

    async def _end_request(self, stream: Stream) -> bool:
        """The peer's side is done; False if its body was not as long as it had said."""
        stream.request_ended = True
        if stream.content_length not in (None, stream.received_bytes):
            await self._reset(stream, ErrorCodes.PROTOCOL_ERROR)
            return False
        state = self._h2.streams.get(stream.id)
        if state is not None:
            state._expected_content_length = None
            self._h2.receive_data(end_of_stream(stream.id))
        return True

    async def _receive_frame(self, frame: OtherFrame) -> None:
        if self._is_too_much(frame):
            await self._end_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        try:
            events = self._h2.receive_data(frame.raw)
        except h2.exceptions.ProtocolError:
            self._flush_h2()
            await self._end_connection(None)
            return
        except Exception:  # noqa: BLE001 - h2 lets other errors through on hostile input
            await self._end_connection(ErrorCodes.PROTOCOL_ERROR)
            return
        for event in events:
            await self._handle_event(event)
        self._flush_h2()

    def _is_too_much(self, frame: OtherFrame) -> bool:
        if frame.kind in (HEADERS, CONTINUATION):
            self._headers_open = not frame.raw[4] & END_HEADERS
        if frame.kind in (SETTINGS, PING):
            return self._controls.exceeded(self._watch.active_at)
        return False

    async def _handle_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                await self._request(event)
            case h2.events.StreamEnded():
                await self._ended_without_data(event.stream_id)
            case h2.events.StreamReset():
                await self._peer_reset(event.stream_id)
            case h2.events.WindowUpdated():
                self._window_opened(event.stream_id)
            case h2.events.RemoteSettingsChanged():
                self._window_opened(0)
            case h2.events.ConnectionTerminated():
                await self._end_connection(None)

    async def _request(self, event: h2.events.RequestReceived) -> None:
        stream_id, headers = event.stream_id, event.headers
        assert stream_id is not None
        assert headers is not None
        if len(self.streams) >= self.options.streams_max or self.closed:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        await self._open_stream(stream_id, headers)

    async def _ended_without_data(self, stream_id: int | None) -> None:
        """HEADERS or trailers with END_STREAM: h2 knows already that the request has ended."""
        stream = self.streams.get(stream_id or 0)
        if stream is not None and not stream.request_ended:
            stream.request_ended = True
            if stream.finished_at is None:
                stream.lane.receive(b"", ended=True)

    async def _peer_reset(self, stream_id: int | None) -> None:
        stream = self.streams.get(stream_id or 0)
        if stream is None:
            return
        unanswered = not stream.answered
        await self._forget(stream)
        if unanswered and self._resets.exceeded(self._watch.active_at):
            await self._end_connection(ErrorCodes.ENHANCE_YOUR_CALM)

    def _window_opened(self, stream_id: int | None) -> None:
        if stream_id:
            stream = self.streams.get(stream_id)
            if stream is not None:
                stream.lane.window_opened()
            return
        for stream in list(self.streams.values()):
            stream.lane.window_opened()

    # ── streams ──

    async def _open_stream(self, stream_id: int, headers: Headers) -> None:
        fields = dict(headers)
        method = fields.get(b":method", b"").decode("ascii", "replace").upper()
        raw_path = fields.get(b":path", b"/")
        rides = method == "POST" and raw_path.partition(b"?")[0] in self.options.lane_paths
        window = self.options.stream_window_bytes
        lane = Lane(self, stream_id, Credit(window, gives=not (rides and _does_not_count(fields))))
        length = fields.get(b"content-length", b"")
        make = WSStream if method == "CONNECT" else HTTPStream
        asgi = make(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            stream_id,
        )
        stream = Stream(lane, asgi, int(length) if length.isdigit() else None)
        self.streams[stream_id] = stream
        state = dict(self.connection_state)
        if rides:
            state[LANE_KEY] = lane
        else:
            stream.pump = BodyPump(stream)
            lane.attach(stream.pump)
        self._served += 1
        if self._served % 64 == 0:
            self._h2.forget_closed_streams()
        await asgi.handle(
            Request(
                stream_id=stream_id,
                headers=filter_pseudo_headers(headers),
                http_version="2",
                method=method,
                raw_path=raw_path,
                state=ConnectionState(state),
            )
        )
        await self.context.mark_request()

    async def _application_done(self, stream: Stream) -> None:
        """The application has returned: its response is whole, or the peer must hear it is not."""
        if stream.pump is not None:
            stream.pump.cancel()
        if not stream.lane.ended:
            await self._reset(stream, ErrorCodes.INTERNAL_ERROR)
        elif stream.request_ended:
            await self._forget(stream)
        else:
            # The peer may not have heard yet; what it still sends is dropped for a while.
            stream.finished_at = self._loop.time()
            stream.lane.done(stream.lane.undone_bytes)

    async def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        # What is over already, for both sides, needs no reset.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.reset_stream(stream.id, code)
        self._flush_h2()
        await self._forget(stream)

    async def _forget(self, stream: Stream) -> None:
        """The stream is over. Its application hears it, its bytes count as done."""
        if self.streams.pop(stream.id, None) is None:
            return
        undone = stream.lane.undone_bytes if stream.lane.credit.gives else 0
        stream.lane.close()
        stream.output_moved.set()
        if undone:
            self._give_connection_credit(undone)
        if stream.pump is not None:
            stream.pump.cancel()
        await stream.asgi.handle(StreamClosed(stream_id=stream.id))
        if self.draining and not self.streams:
            self._finish_drain()

    # ── outbound ──

    @property
    def outbound_frame_max(self) -> int:
        """The longest DATA payload that the peer takes."""
        return self._h2.max_outbound_frame_size

    def outbound_window(self, stream_id: int) -> int:
        """Bytes that may be sent on a stream now."""
        state = self._h2.streams.get(stream_id)
        if state is None or self.closed:
            return 0
        return min(state.outbound_flow_control_window, self._h2.outbound_flow_control_window)

    def spend_window(self, stream_id: int, size_bytes: int) -> None:
        """Bytes were sent on a stream."""
        self._h2.streams[stream_id].outbound_flow_control_window -= size_bytes
        self._h2.outbound_flow_control_window -= size_bytes

    def end_stream(self, stream_id: int) -> None:
        """Say that our side is done."""
        try:
            self._h2.end_stream(stream_id)
        except h2.exceptions.ProtocolError:
            return
        self._flush_h2()
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.output_moved.set()

    def give_credit(self, lane: Lane, flow_bytes: int) -> None:
        """Bytes of a lane are done with."""
        if not lane.credit.gives:
            return
        increment = lane.credit.done(flow_bytes)
        stream = self.streams.get(lane.stream_id)
        if increment and stream is not None and not stream.request_ended:
            self._write_window_update(lane.stream_id, increment)
        self._give_connection_credit(flow_bytes)

    def _give_connection_credit(self, flow_bytes: int) -> None:
        increment = self._credit.done(flow_bytes)
        if increment:
            self._write_window_update(0, increment)

    def _write_window_update(self, stream_id: int, increment: int) -> None:
        self.output.write([window_update(stream_id, increment)])

    def _send_headers(self, stream: Stream, event: Response | InformationalResponse) -> None:
        headers = [(b":status", b"%d" % event.status_code), *event.headers]
        try:
            self._h2.send_headers(stream.id, headers + self.config.response_headers("h2"))
        except h2.exceptions.ProtocolError:
            return
        self._flush_h2()
        if isinstance(event, Response):
            stream.answered = True
            stream.lane.open()

    def _send_trailers(self, stream: Stream, event: Trailers) -> None:
        try:
            self._h2.send_headers(stream.id, event.headers, end_stream=True)
        except h2.exceptions.ProtocolError:
            return
        stream.lane.ended = True
        self._flush_h2()

    async def _until(self, stream: Stream, done: Callable[[], bool]) -> None:
        """Wait for the peer's window or the socket; a stream that is over waits for nothing."""
        while not done() and not stream.lane.closed:
            stream.output_moved.clear()
            await stream.output_moved.wait()

    def _flush_h2(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self.output.write([data])

    def _output_drained(self) -> None:
        self._window_opened(0)

    # ── deadlines ──

    def _tick(self) -> None:
        now = self._loop.time()
        owes = any(stream.lane.owes() for stream in self.streams.values())
        match self._watch.due(now, streams=len(self.streams), owes=owes):
            case Due.CLOSE:
                self._spawn(self._end_connection(ErrorCodes.NO_ERROR))
            case Due.PING:
                self._h2.ping(_PING_PAYLOAD)
                self._flush_h2()
        for stream in list(self.streams.values()):
            finished_at = stream.finished_at
            if finished_at is not None and now - finished_at > self.options.linger_s:
                self._spawn(self._reset(stream, ErrorCodes.NO_ERROR))

    # ── the end ──

    def start_drain(self) -> None:
        """Announce the end: no new streams after those on their way; open ones finish."""
        if self.closed or self.draining:
            return
        self.draining = True
        self._write_goaway(WINDOW_MAX, ErrorCodes.NO_ERROR)
        if not self.streams:
            self._finish_drain()

    def _finish_drain(self) -> None:
        if not self.closed:
            self._spawn(self._end_connection(ErrorCodes.NO_ERROR))

    def _write_goaway(self, last_stream_id: int, code: ErrorCodes) -> None:
        self.output.write([goaway(last_stream_id, code)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a timer found due; the reference keeps it alive until it is done."""
        task = self._loop.create_task(work)
        self._due.add(task)
        task.add_done_callback(self._due.discard)

    async def _end_connection(self, code: ErrorCodes | None) -> None:
        """GOAWAY with ``code`` (None: h2 has written it, or the peer has said it), then close."""
        if self.closed:
            return
        if code is not None:
            self._write_goaway(self._h2.highest_inbound_stream_id, code)
        transport = self.output.close()
        await self._close_streams()
        await self._hang_up(transport)

    async def _hang_up(self, transport: asyncio.WriteTransport) -> None:
        """Close the socket; a peer that does not read does not keep it open."""
        closing = self._loop.call_later(self.options.linger_s, transport.abort)
        try:
            await self.send(Closed())
        finally:
            closing.cancel()

    async def _close_streams(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.connections.discard(self)
        self._ticker.stop()
        self.output.close()
        for stream in list(self.streams.values()):
            await self._forget(stream)


def protocol_class(options: H2Options, connections: Connections) -> type[GatewayH2Protocol]:
    """The class to put in the place of Hypercorn's, with these limits, listed there."""
    return type(
        "GatewayH2Protocol", (GatewayH2Protocol,), {"options": options, "connections": connections}
    )


def _does_not_count(fields: dict[bytes, bytes]) -> bool:
    """ksqlDB's Java client, streaming inserts: it writes around its own flow controller."""
    agent = fields.get(b"user-agent", b"")
    return agent.startswith(b"ksqlDB Java Client") and b"content-length" not in fields


def _writer_of(send: Callable[[IOEvent], Awaitable[None]]) -> asyncio.StreamWriter:
    """The socket's writer: Hypercorn hands its own method over, whose owner has it.

    Writing past `send` saves a lock and a task switch per write; Hypercorn writes nothing itself
    once the connection speaks HTTP/2.
    """
    writer = getattr(getattr(send, "__self__", None), "writer", None)
    assert isinstance(writer, asyncio.StreamWriter), "Hypercorn's TCPServer has changed"
    return writer
