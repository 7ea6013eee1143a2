"""One HTTP/2 connection, by prior knowledge (RFC 9113 §3.3) or ALPN, many streams on it.

Owns: the socket, h2's state, both flow controls, whose turn it is to send, the peer's pulse.
Must never know: what the bytes of a stream mean.

How it is kept cheap: rows wait in a stream's outbox and leave in frames as large as the server
takes (up to `TURN_BYTES`), because h2 costs about 10 µs a frame however small; all that one read
of the socket causes is written in one go.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from gateway.client.address import Address, refusal_of
from gateway.client.errors import (
    ClientError,
    ConnectionLost,
    GoneAway,
    StreamReset,
    TlsFailed,
)
from gateway.client.pulse import Pulse
from gateway.client.stream import Response, Stream

STREAM_WINDOW_BYTES = 1024 * 1024
"""What the server may have on its way to one stream that is not taken yet."""

CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024
"""The same for all streams together."""

TURN_BYTES = 64 * 1024
"""How much a stream sends before it is another stream's turn."""

SOCKET_BUFFER_BYTES = 256 * 1024
"""Sending stops while more than this waits for the socket."""

CLOSE_GRACE_S = 2.0
"""How long `Connection.close` waits for the goodbye to leave before it drops the socket."""


class _H2(h2.connection.H2Connection):
    """h2, but a GOAWAY leaves the streams that run alone.

    RFC 9113 §6.8 lets a server finish them after it; h2 would refuse every frame from then on.
    """

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]


class Connection(asyncio.Protocol):
    """A connection to ``address``. Make it with `gateway.client.connecting.connect`."""

    def __init__(self, address: Address, dead_after_s: float) -> None:
        self.authority = address.authority
        self._scheme = address.scheme
        self._h2 = _H2(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._senders: deque[Stream] = deque()
        self._socket_full = False
        self._pump_due = False
        self._lost: ConnectionLost | TlsFailed | None = None
        self._leaving: GoneAway | None = None
        self._slot_freed = asyncio.Event()
        self._ready = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._dead_after_s = dead_after_s
        self._pulse = Pulse(dead_after_s, self._ping, self._found_dead)
        self._handlers: dict[type[h2.events.Event], Callable[[Any], None]] = {
            h2.events.ResponseReceived: self._on_response,
            h2.events.DataReceived: self._on_data,
            h2.events.StreamEnded: self._on_end,
            h2.events.StreamReset: self._on_reset,
            h2.events.RemoteSettingsChanged: self._on_settings,
            h2.events.ConnectionTerminated: self._on_goaway,
        }

    @property
    def made(self) -> bool:
        """Whether there is, or was, a socket."""
        return self._transport is not None

    @property
    def usable(self) -> bool:
        """Whether new requests may be made on it."""
        return self._lost is None and self._leaving is None

    @property
    def leaving(self) -> bool:
        """Whether the server has said that it goes away."""
        return self._leaving is not None

    @property
    def closed(self) -> bool:
        """Whether its socket is gone."""
        return self._closed.is_set()

    async def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = ()
    ) -> Stream:
        """Open a stream and send its headers; waits while the server allows no more streams.

        Raises `ConnectionLost`, or `GoneAway` where the server is leaving.
        """
        while True:
            self._check_usable()
            limit = self._h2.remote_settings.max_concurrent_streams
            if self._h2.open_outbound_streams < limit:
                break
            self._slot_freed.clear()
            await self._slot_freed.wait()
        stream = Stream(self, self._h2.get_next_available_stream_id())
        self._streams[stream.stream_id] = stream
        pseudo = [
            (":method", method),
            (":scheme", self._scheme),
            (":authority", self.authority),
            (":path", path),
        ]
        self._h2.send_headers(stream.stream_id, [*pseudo, *headers])
        self._flush()
        return stream

    async def close(self) -> None:
        """Say goodbye (GOAWAY) and close; what runs fails with `ConnectionLost`."""
        if self._lost is None:
            self._h2.close_connection()
            self._flush()
            self._lose(ConnectionLost("the connection was closed by this side"))
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self._closed.wait()
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
            await self._closed.wait()

    # ── the socket ───────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        session = self._transport.get_extra_info("ssl_object")
        if session is not None and (why := refusal_of(session)) is not None:
            self._lose(TlsFailed(f"https://{self.authority} cannot be used: {why}"))
            return
        self._transport.set_write_buffer_limits(high=SOCKET_BUFFER_BYTES)
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                codes.MAX_FRAME_SIZE: self._h2.max_inbound_frame_size,
            },
        )
        self._h2.initiate_connection()
        opened = CONNECTION_WINDOW_BYTES - self._h2.inbound_flow_control_window
        self._h2.increment_flow_control_window(opened)
        self._flush()
        self._pulse.start()

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        self._pulse.heard()
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as exc:
            self._flush()
            self._lose(ConnectionLost(f"{self.authority} does not speak HTTP/2 properly: {exc}"))
            return
        for event in events:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)
        self._pump()
        self._close_if_left()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f": {exc}" if exc is not None else " by the server"
        self._lose(ConnectionLost(f"the connection to {self.authority} was closed{reason}"))
        self._pulse.stop()
        self._closed.set()

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._pump()

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _on_response(self, event: h2.events.ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is not None:
            headers = dict(cast("list[tuple[str, str]]", event.headers))
            stream.arrived_response(Response(int(headers.pop(":status")), headers))

    def _on_data(self, event: h2.events.DataReceived) -> None:
        stream_id, flow_bytes = event.stream_id or 0, event.flow_controlled_length or 0
        stream = self._streams.get(stream_id)
        if stream is not None and event.data:
            stream.arrived_data(event.data, flow_bytes)
        elif flow_bytes:
            # Nobody will take these bytes, but they were charged to the connection's window.
            self._h2.acknowledge_received_data(flow_bytes, stream_id)

    def _on_end(self, event: h2.events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is not None:
            stream.arrived_end()
            self._drop_if_done(stream)

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        stream = self._streams.pop(event.stream_id or 0, None)
        if stream is not None:
            # A reset after the whole answer only says: send no more (RFC 9113 §8.1).
            stream.sent_end = True
            if not stream.received_end:
                stream.fail(StreamReset(int(event.error_code or 0)))
            self._slot_freed.set()

    def _on_settings(self, _event: h2.events.RemoteSettingsChanged) -> None:
        self._slot_freed.set()
        if not self._ready.done():
            self._ready.set_result(None)

    def _on_goaway(self, event: h2.events.ConnectionTerminated) -> None:
        detail = (event.additional_data or b"").decode(errors="replace")
        code = int(event.error_code or 0)
        text = f"{self.authority} is going away (HTTP/2 error code {code}) {detail}".rstrip()
        self._leaving = GoneAway(text)
        unseen = [s for i, s in self._streams.items() if i > (event.last_stream_id or 0)]
        for stream in unseen:
            del self._streams[stream.stream_id]
            stream.fail(GoneAway(text))
        self._slot_freed.set()

    # ── what leaves ──────────────────────────────────────────────────────────────────────────

    def wants_to_send(self, stream: Stream) -> None:
        """A stream's outbox has something or is at its end.

        Small pieces of one turn of the event loop leave together; a whole turn's worth leaves now.
        """
        if stream not in self._senders:
            self._senders.append(stream)
        if len(stream.outbox) >= TURN_BYTES:
            self._pump()
        elif not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def taken(self, stream_id: int, flow_bytes: int) -> None:
        """Credit for received bytes goes back; h2 decides when it is worth a frame."""
        if self._lost is None:
            self._h2.acknowledge_received_data(flow_bytes, stream_id)
            self._flush()

    def forget(self, stream: Stream) -> None:
        """Drop a stream, with RST_STREAM where the server still counts on it (RFC 9113 §8.1)."""
        if self._streams.pop(stream.stream_id, None) is None or self._lost is not None:
            return
        codes = h2.errors.ErrorCodes
        code = codes.NO_ERROR if stream.received_end else codes.CANCEL
        self._h2.reset_stream(stream.stream_id, code)
        self._slot_freed.set()
        self._flush()
        self._close_if_left()

    def _pump(self) -> None:
        """Let every stream that has something send, a turn each, until nothing more can leave."""
        self._pump_due = False
        waiting: list[Stream] = []
        while self._senders and not self._socket_full and self._lost is None:
            stream = self._senders.popleft()
            if self._send_turn(stream):
                self._senders.append(stream)
            elif stream.outbox:
                waiting.append(stream)
            self._flush()
        self._senders.extend(waiting)
        self._flush()

    def _send_turn(self, stream: Stream) -> bool:
        """Send up to `TURN_BYTES` of one stream; True if it could go on at once."""
        if stream.stream_id not in self._streams or stream.sent_end:
            return False
        outbox, stream_id = stream.outbox, stream.stream_id
        window = self._h2.local_flow_control_window(stream_id)
        quota = min(window, TURN_BYTES, len(outbox))
        frame_limit = self._h2.max_outbound_frame_size
        while quota > 0:
            size = min(quota, frame_limit)
            self._h2.send_data(stream_id, bytes(outbox[:size]))
            del outbox[:size]
            quota -= size
        stream.made_room()
        if stream.ending and not outbox:
            self._h2.end_stream(stream_id)
            stream.sent_end = True
            self._drop_if_done(stream)
            return False
        return bool(outbox) and self._h2.local_flow_control_window(stream_id) > 0

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # ── the pulse ────────────────────────────────────────────────────────────────────────────

    def _ping(self) -> None:
        if self._lost is None:
            self._h2.ping(b"headrace")
            self._flush()

    def _found_dead(self) -> None:
        said = f"{self.authority} has said nothing for {self._dead_after_s:g} s, not even to a PING"
        self._lose(ConnectionLost(said))
        if self._transport is not None:
            # What waits in the socket must not reach it when it comes back.
            self._transport.abort()

    # ── endings ──────────────────────────────────────────────────────────────────────────────

    def _drop_if_done(self, stream: Stream) -> None:
        if stream.sent_end and stream.received_end:
            self._streams.pop(stream.stream_id, None)
            self._slot_freed.set()

    def _close_if_left(self) -> None:
        """After a GOAWAY the last stream that ends closes the connection."""
        if self._leaving is not None and not self._streams and self._lost is None:
            self._lose(self._leaving)

    def _lose(self, reason: ConnectionLost | TlsFailed) -> None:
        if self._lost is None:
            self._lost = reason
        for stream in self._streams.values():
            stream.fail(ConnectionLost(str(self._lost)))
        self._streams.clear()
        self._senders.clear()
        self._slot_freed.set()
        if not self._ready.done():
            self._ready.set_exception(self._lost)
            # Whoever made it may have been cancelled: then nobody asks.
            self._ready.exception()
        if self._transport is not None:
            self._transport.close()

    def _check_usable(self) -> None:
        failure: ClientError | None = self._lost or self._leaving
        if failure is not None:
            raise type(failure)(str(failure))

    async def wait_ready(self) -> None:
        """Until the server's SETTINGS are there: then it does speak HTTP/2."""
        await self._ready
