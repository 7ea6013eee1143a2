"""The campaign's own client: one HTTP/2 connection (prior knowledge) with one request on it.

Owns: the socket, h2's state, the waits for windows and bytes. It shares no code with the gateway
or its client, so that a fault which both have is still seen. It must never know what rows mean.

Laws:
1. A connection that is gone, at whatever moment, is `Lost`; a status other than 200 is `Refused`.
2. Every wait ends: by what was waited for, by `Lost`, or by its deadline, which is `Lost` too.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

CONNECT_S = 5.0
REPLY_S = 30.0
WINDOW_BYTES = 4 << 20
READ_BYTES = 64 << 10

Address = tuple[str, int]


class Lost(Exception):
    """The connection is gone, was never made, or says nothing any more."""


class Refused(Exception):
    """A status other than 200, with what ksqlDB's error body holds."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status} with code {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Exchange:
    """A request under way: one task may send while another receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._headers: Mapping[str, str] | None = None
        self._inbox = bytearray()
        self._ended = False
        self._lost: str | None = None
        self._changed = asyncio.Event()
        self._id = 1
        self._pump: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: Address, method: str, path: str, *, end: bool = False) -> Self:
        """Connect and send a request's headers. Raises `Lost`."""
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError) as error:
            raise Lost(f"cannot connect: {error!r}") from error
        made = cls(reader, writer)
        made._begin(f"{address[0]}:{address[1]}", method, path, end=end)
        return made

    # ── what goes out ──

    async def send(self, raw: bytes, *, end: bool = False) -> None:
        """Send within the server's windows. Bytes after the end of its response are dropped."""
        rest = memoryview(raw)
        while rest and not self._ended:
            self._check()
            room = self._h2.local_flow_control_window(self._id)
            size = min(len(rest), room, self._h2.max_outbound_frame_size)
            if size:
                self._h2.send_data(self._id, bytes(rest[:size]))
                rest = rest[size:]
                self._flush()
            else:
                await self._change(None)
        if end and not self._ended:
            self._check()
            self._h2.end_stream(self._id)
            self._flush()
        with contextlib.suppress(OSError):
            # A peer that went away is told by the reading side, with what it said before.
            await self._writer.drain()

    # ── what comes back ──

    async def response(self) -> Mapping[str, str]:
        """The headers of a 200. Raises `Refused` for any other status, `Lost`."""
        while self._headers is None:
            self._check()
            await self._change(REPLY_S)
        if self._headers[":status"] != "200":
            raise _refused(int(self._headers[":status"]), await self.body())
        return self._headers

    async def receive(self, within_s: float | None = None) -> bytes:
        """Bytes of the response, at least one; empty at its end. Raises `Lost`."""
        while not self._inbox:
            if self._ended:
                return b""
            self._check()
            await self._change(within_s)
        data = bytes(self._inbox)
        self._inbox.clear()
        return data

    async def body(self) -> bytes:
        """The whole response."""
        parts: list[bytes] = []
        while data := await self.receive(REPLY_S):
            parts.append(data)
        return b"".join(parts)

    def abort(self) -> None:
        """Break the connection without a word, as a client that dies."""
        self._lose("given up by this side")
        self._writer.transport.abort()
        if self._pump is not None:
            self._pump.cancel()

    # ── inside ──

    def _begin(self, authority: str, method: str, path: str, *, end: bool) -> None:
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={codes.INITIAL_WINDOW_SIZE: WINDOW_BYTES, codes.ENABLE_PUSH: 0},
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        pseudo = [(":method", method), (":scheme", "http"), (":authority", authority)]
        headers = [*pseudo, (":path", path), ("user-agent", "crash-campaign")]
        self._h2.send_headers(self._id, headers, end_stream=end)
        self._flush()
        self._pump = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(READ_BYTES):
                for event in self._h2.receive_data(data):
                    self._take(event)
                self._flush()
                self._changed.set()
            self._lose("closed by the gateway")
        except (OSError, h2.exceptions.ProtocolError) as error:
            self._lose(repr(error))

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._headers = {str(name): str(text) for name, text in event.headers or ()}
        elif isinstance(event, h2.events.DataReceived):
            self._inbox += event.data or b""
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, self._id)
        elif isinstance(event, h2.events.StreamEnded):
            self._ended = True
        elif isinstance(event, h2.events.StreamReset) and not self._ended:
            self._lose(f"reset with {event.error_code}")
        elif isinstance(event, h2.events.ConnectionTerminated) and not event.last_stream_id:
            self._lose("the gateway goes away and never saw the request")

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._changed.set()

    def _check(self) -> None:
        if self._lost is not None:
            raise Lost(self._lost)

    async def _change(self, within_s: float | None) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            raise Lost(f"not a byte within {within_s} s") from None


@contextlib.asynccontextmanager
async def exchange(address: Address, method: str, path: str, body: bytes = b"") -> Any:
    """A request whose body is whole, given up at the end of the block."""
    made = await Exchange.open(address, method, path, end=not body)
    try:
        if body:
            await made.send(body, end=True)
        yield made
    finally:
        made.abort()


async def ask(address: Address, method: str, path: str, document: object = None) -> Any:
    """One request with a JSON reply. Raises `Refused`, `Lost`."""
    body = b"" if document is None else json.dumps(document).encode()
    async with exchange(address, method, path, body) as made:
        await made.response()
        return json.loads(await made.body())


def _refused(status: int, body: bytes) -> Refused:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return Refused(status, 0, body[:200].decode(errors="replace"))
    code = document.get("error_code")
    return Refused(status, code if isinstance(code, int) else 0, str(document.get("message")))
