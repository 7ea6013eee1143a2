"""A WebSocket client for tests, over HTTP/1.1 by an upgrade or over HTTP/2 by RFC 8441.

Frames are read and written by ``wsproto``; nothing is answered but what a client has to answer.
"""

import base64
import json
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlencode

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from tests.peers import Peer
from tests.streams import Stream

DEADLINE_S = 15.0


def query_path(sql: str, **parameters: Any) -> str:
    """The path of a query's socket; ``properties`` go into the request."""
    document = {"ksql": sql, "streamsProperties": parameters.pop("properties", {})}
    return "/ws/query?" + urlencode({"request": json.dumps(document), **parameters})


class Socket:
    """What both transports have: texts in, a close frame at the end."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed: tuple[int, str] | None = None
        self._frames = Connection(ConnectionType.CLIENT)
        self._unfinished = ""

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                self._unfinished += event.data
                if event.message_finished:
                    self.texts.append(self._unfinished)
                    self._unfinished = ""
            elif isinstance(event, CloseConnection):
                self.closed = (event.code, event.reason or "")

    @property
    def documents(self) -> list[Any]:
        """The messages so far, as JSON."""
        return [json.loads(text) for text in self.texts]

    def text_frame(self, text: str) -> bytes:
        """A message of ours."""
        return self._frames.send(TextMessage(data=text))

    def close_frame(self) -> bytes:
        """A close frame: an answer if the server has closed, else the first."""
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            code, reason = cast("tuple[int, str]", self.closed)
            return self._frames.send(CloseConnection(code=code, reason=reason).response())
        return self._frames.send(CloseConnection(code=1000))


class UpgradedSocket(Socket):
    """Over HTTP/1.1, on a connection of its own. ``address`` is (host, port).

    ``sock`` is connected already, over TLS for example.
    """

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        sock: socket.socket | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.status = 0
        self.rest = b""
        self._socket = sock or socket.create_connection(address, DEADLINE_S)
        key = base64.b64encode(b"0123456789abcdef").decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address[0]}:{address[1]}",
            *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
            f"Sec-WebSocket-Key: {key}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._read_head()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, raw: bytes) -> None:
        """Any bytes."""
        self._socket.sendall(raw)

    def read_texts(self, count: int) -> list[str]:
        """Wait for so many messages in all."""
        while len(self.texts) < count:
            assert self.closed is None, f"closed after {self.texts}: {self.closed}"
            self._read()
        return self.texts

    def read_to_close(self) -> tuple[int, str]:
        """Wait for the server's close frame, answer it, and wait for the end of the connection."""
        while self.closed is None:
            self._read()
        self._socket.sendall(self.close_frame())
        while self._socket.recv(1 << 16):
            pass
        return self.closed

    def read_rest(self) -> bytes:
        """What follows the head of a response that is no upgrade."""
        while data := self._socket.recv(1 << 16):
            self.rest += data
        return self.rest

    def _read(self) -> None:
        data = self._socket.recv(1 << 16)
        assert data, f"the connection ended after {self.texts}"
        self.feed(data)

    def _read_head(self) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            data = self._socket.recv(1 << 16)
            assert data, f"the connection ended within the response's head: {raw!r}"
            raw += data
        head, _, self.rest = raw.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        if self.status == 101:
            self.feed(self.rest)


class StreamSocket(Socket):
    """Over a stream of an HTTP/2 connection (RFC 8441)."""

    def __init__(self, peer: Peer, path: str) -> None:
        super().__init__()
        self._peer = peer
        self._taken = 0
        peer.handshake()
        self.stream: Stream = peer.new_stream()
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
        pseudo += [(":path", path), (":authority", "localhost")]
        peer.write_headers(self.stream.id, [*pseudo, ("sec-websocket-version", "13")])
        self.stream.read_headers()

    def read_to_close(self) -> tuple[int, str]:
        """Wait for the server's close frame."""
        self._peer.read_until(self._closes, what="a close frame")
        assert self.closed is not None
        return self.closed

    def read_texts(self, count: int) -> list[str]:
        """Wait for so many messages in all."""
        self._peer.read_until(lambda: self._take() >= count, what=f"{count} messages")
        return self.texts

    def _take(self) -> int:
        for frame in self.stream.frames[self._taken :]:
            self.feed(frame)
        self._taken = len(self.stream.frames)
        return len(self.texts)

    def _closes(self) -> bool:
        self._take()
        return self.closed is not None
