"""Our HTTP/2 connection, in the place of Hypercorn's and behind the same interface.

`h2` keeps what is rare and intricate: HPACK, settings, stream states. DATA is walked in bulk
(`protocol.frames`), goes through lanes, and is flow-controlled by us in both directions. This is
the shell: what Hypercorn calls, what applications send, deadlines, drain and the end. `inbound`
has what arrives, `table` the streams, `wire` what leaves.

Law: nothing that arrives waits for anything that leaves, and one stream waits for no other.

Source: RFC 9113; Hypercorn's ``H2Protocol``, whose place it takes (looked up at call time).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, ClassVar

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
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext

from gateway.http.credit import WINDOW_MAX
from gateway.http.h2core import DEFAULT_WINDOW_BYTES, H2Options
from gateway.http.inbound import Inbound
from gateway.http.measures import ConnectionMeasure
from gateway.http.streams import Stream
from gateway.http.table import StreamTable
from gateway.http.watch import Due, Ticker, Watch
from gateway.http.wire import Headers, Wire


class Connections:
    """The connections that are open, for a drain; ``measure`` counts for all of them."""

    def __init__(self, measure: ConnectionMeasure | None = None) -> None:
        self.measure = measure or ConnectionMeasure()
        self._open: set[GatewayH2Protocol] = set()
        self.draining = False
        """a drain has begun: whoever connects now is told at once"""
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, connection: "GatewayH2Protocol") -> None:
        """It has greeted its peer."""
        self.measure.connections.inc()
        self._open.add(connection)
        self._empty.clear()

    def discard(self, connection: "GatewayH2Protocol") -> None:
        """It is over."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def streams(self) -> int:
        """Streams that are open on all of them."""
        return sum(connection.streams for connection in self._open)

    def start_drain(self) -> None:
        """Tell every peer that its connection will end."""
        self.draining = True
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
        def make_asgi(
            make: type[HTTPStream] | type[WSStream], stream_id: int
        ) -> HTTPStream | WSStream:
            ends = (ssl, client, server)
            return make(app, config, context, task_group, *ends, self.stream_send, stream_id)

        options = _options_for(app, self.options)
        self._config = config
        self._send = send
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._watch = Watch(options, active_at=now, began_at=now)
        self._ticker = Ticker(self._watch.period_s, self._tick)
        measure = self.connections.measure
        self._wire = Wire(options, _writer_of(send), self._output_drained, measure)
        self._table = StreamTable(
            self._wire, options, connection_state, make_asgi, self._finish_drain
        )
        self._inbound = Inbound(
            self._wire, self._table, self._watch, options, end=self._end, left=self._peer_leaves
        )
        self._draining = False
        self._due: set[asyncio.Task[None]] = set()

    # ── what Hypercorn calls ──

    @property
    def idle(self) -> bool:
        """Whether no stream is open."""
        return not self._table

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._table)

    async def initiate(self, headers: Headers | None = None, settings: bytes | None = None) -> None:
        """Greet the peer; after an upgrade from HTTP/1.1 its request is stream 1."""
        self.connections.add(self)
        # Our own deadlines watch the connection from here on, not Hypercorn's idle timer.
        await self._send(Updated(idle=False))
        try:
            if settings is None:
                self._wire.h2.initiate_connection()
            else:
                self._wire.h2.initiate_upgrade_connection(settings)
        except Exception:  # noqa: BLE001 - of h2, hyperframe or base64: HTTP2-Settings held none
            await self._end(ErrorCodes.PROTOCOL_ERROR)
            return
        increment = self.options.connection_window_bytes - DEFAULT_WINDOW_BYTES
        if increment > 0:
            self._wire.h2.increment_flow_control_window(increment)
        self._wire.flush()
        if self.connections.draining:
            # It gets its answer, which is a refusal, and is over then: nobody waits for its idling.
            self._draining = True
            self._wire.say_goaway(ErrorCodes.NO_ERROR, WINDOW_MAX)
        self._ticker.start()
        if headers is not None:
            await self._table.request(1, headers)
            await self._inbound.ended_without_data(1)

    async def handle(self, event: IOEvent) -> None:
        """Bytes from the socket, or its end."""
        if isinstance(event, RawData):
            if not self._wire.closed:
                await self._inbound.receive(event.data, self._loop.time())
                self._wire.output.flush()
        elif isinstance(event, Closed):
            await self._close_streams()

    async def stream_send(self, event: StreamEvent) -> None:
        """What an application sends, through its ASGI stream."""
        stream = self._table.get(event.stream_id)
        if stream is None:
            # It is over, and its application has not heard so yet: one that does nothing but
            # send would keep all others from their turn.
            await asyncio.sleep(0)
            return
        lane = stream.lane
        match event:
            case Response() | InformationalResponse():
                self._send_headers(stream, event)
            case Body() | Data():
                lane.write([event.data])
                await self._until(stream, lambda: lane.has_room)
            case EndBody() | EndData():
                lane.end()
                await self._until(stream, lambda: lane.ended)
                # Not every ASGI stream of Hypercorn's says that it is closed, too.
                self._table.finish(stream)
            case Trailers():
                await self._until(stream, lambda: lane.is_empty)
                if self._wire.send_headers(stream.id, event.headers, end=True):
                    lane.ended = True
            case StreamClosed():
                await self._table.application_done(stream)

    def _send_headers(self, stream: Stream, event: Response | InformationalResponse) -> None:
        headers = [(b":status", b"%d" % event.status_code), *event.headers]
        headers += self._config.response_headers("h2")
        if self._wire.send_headers(stream.id, headers) and isinstance(event, Response):
            stream.answered = True
            stream.lane.open()

    async def _until(self, stream: Stream, done: Callable[[], bool]) -> None:
        """Wait for the peer's window or the socket; a stream that is over waits for nothing."""
        while not done() and not stream.lane.closed:
            stream.output_moved.clear()
            await stream.output_moved.wait()

    def _output_drained(self) -> None:
        self._table.wake()

    # ── deadlines ──

    def _tick(self) -> None:
        now = self._loop.time()
        match self._watch.due(now, streams=len(self._table), owes=self._table.owes):
            case Due.CLOSE:
                self._spawn(self._end(ErrorCodes.NO_ERROR))
            case Due.PING:
                self._wire.ping()
        for stream in self._table.lingering(now):
            self._spawn(self._table.reset(stream, ErrorCodes.NO_ERROR))

    # ── the end ──

    def start_drain(self) -> None:
        """Announce the end: no new streams after those on their way; open ones finish."""
        if self._wire.closed or self._draining:
            return
        self._draining = True
        self._wire.say_goaway(ErrorCodes.NO_ERROR, WINDOW_MAX)
        self._finish_drain()

    def _peer_leaves(self) -> None:
        """The peer's GOAWAY: open streams finish."""
        self._draining = True
        self._finish_drain()

    def _finish_drain(self) -> None:
        if self._draining and not self._table and not self._wire.closed:
            self._spawn(self._end(ErrorCodes.NO_ERROR))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a timer found due; the reference keeps it alive until it is done."""
        task = self._loop.create_task(work)
        self._due.add(task)
        task.add_done_callback(self._due.discard)

    async def _end(self, code: ErrorCodes | None) -> None:
        """GOAWAY with ``code`` (None: h2 has written it, or the peer has said it), then close."""
        if self._wire.closed:
            return
        if code is not None:
            self._wire.say_goaway(code)
        transport = self._wire.output.close()
        await self._close_streams()
        await self._hang_up(transport)

    async def _hang_up(self, transport: asyncio.WriteTransport) -> None:
        """Close the socket; a peer that does not read does not keep it open."""
        closing = self._loop.call_later(self.options.linger_s, transport.abort)
        try:
            await self._send(Closed())
        finally:
            closing.cancel()

    async def _close_streams(self) -> None:
        if self._wire.closed:
            return
        self._wire.closed = True
        self.connections.discard(self)
        self._ticker.stop()
        self._wire.output.close()
        await self._table.forget_all()


def _options_for(app: AppWrapper, options: H2Options) -> H2Options:
    """Connections of every port are of this class, and only the front door attaches to lanes.

    On another port a body for a path of the same name would wait in its lane for ever.
    """
    rides = getattr(getattr(app, "app", None), "rides_lanes", True)
    return options if rides else replace(options, lane_paths=())


def protocol_class(options: H2Options, connections: Connections) -> type[GatewayH2Protocol]:
    """The class to put in the place of Hypercorn's, with these limits, listed there."""
    return type(
        "GatewayH2Protocol", (GatewayH2Protocol,), {"options": options, "connections": connections}
    )


def _writer_of(send: Callable[[IOEvent], Awaitable[None]]) -> asyncio.StreamWriter:
    """The socket's writer: Hypercorn hands its own method over, whose owner has it.

    Writing past `send` saves a lock and a task switch per write; Hypercorn writes nothing itself
    once the connection speaks HTTP/2.
    """
    writer = getattr(getattr(send, "__self__", None), "writer", None)
    assert isinstance(writer, asyncio.StreamWriter), "Hypercorn's TCPServer has changed"
    return writer
