"""A server that does what a test tells it, on a real socket, with h2 on its side.

It exists for what a well-behaved gateway never does: acks out of order, resets, windows that stay
shut, a GOAWAY between two rows.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from gateway.client.connection import _H2


@dataclass
class Exchange:
    """One request as the script sees it."""

    peer: "Peer"
    stream_id: int
    headers: dict[str, str]
    body: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    give_credit: bool = True
    """whether what `read` returns goes back to the client as window"""
    received_bytes: int = 0
    reset_code: int | None = None
    _rest: bytes = b""

    async def read(self) -> bytes | None:
        """The next piece of the body; None at its end or after a reset."""
        data = await self.body.get()
        if data and self.give_credit:
            self.credit(len(data))
        return data

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the body, without their newlines, up to its end."""
        while True:
            while b"\n" not in self._rest:
                data = await self.read()
                if data is None:
                    return
                self._rest += data
            line, self._rest = self._rest.split(b"\n", 1)
            yield line

    async def line(self) -> bytes:
        async for line in self.lines():
            return line
        raise AssertionError("the body ended")

    def credit(self, size: int) -> None:
        self.peer.h2.acknowledge_received_data(size, self.stream_id)
        self.peer.flush()

    def respond(
        self, status: int = 200, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """Send headers; with a body, the body and the end too."""
        given = [(":status", str(status)), *(headers or {}).items()]
        self.peer.h2.send_headers(self.stream_id, given)
        if body is not None:
            self.peer.h2.send_data(self.stream_id, body, end_stream=True)
        self.peer.flush()

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes in frames of the size that the client takes."""
        limit = self.peer.h2.max_outbound_frame_size
        for start in range(0, len(data), limit):
            last = start + limit >= len(data)
            piece = data[start : start + limit]
            self.peer.h2.send_data(self.stream_id, piece, end_stream=end and last)
        self.peer.flush()

    def end(self) -> None:
        self.peer.h2.end_stream(self.stream_id)
        self.peer.flush()

    def reset(self, code: int) -> None:
        self.peer.h2.reset_stream(self.stream_id, code)
        self.peer.flush()

    @property
    def client_window(self) -> int:
        """How much the client would take now on this stream."""
        return self.peer.h2.local_flow_control_window(self.stream_id)


Script = Callable[[Exchange], Awaitable[None]]


class Peer(asyncio.Protocol):
    """One accepted connection; runs the script once for each request."""

    def __init__(self, server: "ScriptedServer") -> None:
        self.server = server
        self.h2 = _H2(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.exchanges: dict[int, Exchange] = {}
        self.pong_received = asyncio.Event()
        self.ping_received = asyncio.Event()
        self._deaf = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.server.peers.append(self)
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values=self.server.settings
        )
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        for event in self.h2.receive_data(data):
            self._on(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for exchange in self.exchanges.values():
            exchange.body.put_nowait(None)

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def goaway(self, last_stream_id: int) -> None:
        self.h2.close_connection(last_stream_id=last_stream_id)
        self.flush()
        # h2 would serve no stream after its own GOAWAY; the protocol lets a server finish them.
        self.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN

    def ping(self) -> None:
        self.h2.ping(b"12345678")
        self.flush()

    def go_deaf(self) -> None:
        """Take what comes and answer nothing any more, as a machine that vanished."""
        self._deaf = True

    def drop(self) -> None:
        """End the TCP connection without a word."""
        assert self._transport is not None
        self._transport.abort()

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(stream_id)):
                headers: Any = dict(event.headers or [])
                exchange = Exchange(self, stream_id, headers)
                self.exchanges[stream_id] = exchange
                self.server.run(exchange)
            case h2.events.DataReceived(stream_id=int(stream_id), data=bytes(data)):
                exchange = self.exchanges[stream_id]
                exchange.received_bytes += len(data)
                exchange.body.put_nowait(data)
            case h2.events.StreamEnded(stream_id=int(stream_id)):
                self.exchanges[stream_id].body.put_nowait(None)
            case h2.events.StreamReset(stream_id=int(stream_id)):
                self.exchanges[stream_id].reset_code = int(event.error_code or 0)
                self.exchanges[stream_id].body.put_nowait(None)
            case h2.events.PingReceived():
                self.ping_received.set()
            case h2.events.PingAckReceived():
                self.pong_received.set()


class ScriptedServer:
    """Listens on a free port; every request runs ``script``."""

    def __init__(self, script: Script, settings: dict[int, int]) -> None:
        self.script = script
        self.settings: Any = settings
        self.peers: list[Peer] = []
        self.url = ""
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, exchange: Exchange) -> None:
        async def play() -> None:
            try:
                await self.script(exchange)
            except BaseException:
                # The client must not wait for what will never come; `finish` raises the cause.
                exchange.peer.drop()
                raise

        self._tasks.append(asyncio.create_task(play()))

    async def finish(self) -> None:
        """Let the scripts end, and raise what they raised."""
        async with asyncio.timeout(5):
            await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def scripted(
    script: Script, *, tls: ssl.SSLContext | None = None, **settings: int
) -> AsyncIterator[ScriptedServer]:
    """A server with these HTTP/2 settings (``initial_window_size=100``), up for the block."""
    codes = {h2.settings.SettingCodes[name.upper()]: value for name, value in settings.items()}
    server = ScriptedServer(script, {int(code): value for code, value in codes.items()})
    listener = await asyncio.get_running_loop().create_server(
        lambda: Peer(server), "127.0.0.1", 0, ssl=tls
    )
    server.url = (
        f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    )
    try:
        yield server
        await server.finish()
    finally:
        for task in server._tasks:
            task.cancel()
        for peer in server.peers:
            peer.drop()
        listener.close()
        await listener.wait_closed()
