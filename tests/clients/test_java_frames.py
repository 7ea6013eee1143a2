"""The imitation sends what was captured of the real Java client (§6.1 and Appendix A)."""

import socket
import struct
import threading
from collections.abc import Iterator

import hpack
import pytest

from tests.clients.java_imitation import Dialect, JavaClient
from tests.clients.java_records import Breaks
from tests.frames import ACK, PREFACE, Frame, Kind, encode_frame

ENDS_S = 10.0


class Scripted:
    """A server of one connection that records frames and answers requests with an empty 200."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.preface = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the client has gone."""
        self._thread.join(ENDS_S)
        assert not self._thread.is_alive()
        self._listener.close()

    def headers(self, stream_id: int) -> list[tuple[str, str]]:
        """The headers of a request, in their order."""
        decoder = hpack.Decoder()
        for frame in self.frames:
            if frame.kind == Kind.HEADERS:
                assert frame.flags == 0x24
                assert frame.payload[:5] == struct.pack(">IB", 0, 15)
                found = decoder.decode(frame.payload[5:])
                if frame.stream_id == stream_id:
                    return [(str(name), str(value)) for name, value in found]
        raise AssertionError(f"no headers of {stream_id}")

    def data(self, stream_id: int) -> list[tuple[int, bytes]]:
        """Flags and payload of each DATA frame of a request."""
        frames = [f for f in self.frames if f.kind == Kind.DATA and f.stream_id == stream_id]
        return [(frame.flags, frame.payload) for frame in frames]

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(ENDS_S)
            connection.sendall(encode_frame(Kind.SETTINGS, 0, 0))
            connection.sendall(encode_frame(Kind.SETTINGS, ACK, 0))
            read = bytearray()
            while more := connection.recv(1 << 16):
                read += more
                if not self.preface and len(read) >= len(PREFACE):
                    self.preface = bytes(read[: len(PREFACE)])
                    del read[: len(PREFACE)]
                while self.preface and (frame := Frame.decode(read)):
                    del read[: 9 + len(frame.payload)]
                    self.frames.append(frame)
                    self._answer(connection, frame)

    def _answer(self, connection: socket.socket, frame: Frame) -> None:
        if frame.kind == Kind.HEADERS:
            # ":status: 200" is entry 8 of HPACK's static table.
            connection.sendall(encode_frame(Kind.HEADERS, 0x4, frame.stream_id, b"\x88"))
        elif frame.kind == Kind.DATA and frame.flags & 1:
            connection.sendall(encode_frame(Kind.DATA, 0x1, frame.stream_id))


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.join()


def test_a_connection_opens_and_ends_as_the_real_one_does(scripted: Scripted) -> None:
    with JavaClient(scripted.address) as client:
        client.send("GET", "/info", {})
    scripted.join()
    settings, ack, _headers, data, goaway = scripted.frames
    assert scripted.preface == PREFACE
    assert (settings.kind, settings.payload) == (Kind.SETTINGS, struct.pack(">HI", 6, 8192))
    assert (ack.kind, ack.flags) == (Kind.SETTINGS, ACK)
    assert (data.kind, data.payload) == (Kind.DATA, b'{"sessionVariables":{},"properties":{}}')
    assert (goaway.kind, goaway.payload) == (Kind.GOAWAY, struct.pack(">II", 0, 0))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_query_is_the_frames_that_the_real_client_sends(
    scripted: Scripted, dialect: Dialect
) -> None:
    with JavaClient(scripted.address, dialect, headers={"h1": "v1"}) as client:
        client.define("v", "1")
        with pytest.raises(Breaks, match="without a header"):
            client.execute_query("select 1;", {"p": 1})
    scripted.join()
    accept = [("accept", "application/vnd.ksql.v1+json")] if dialect is Dialect.NEW else []
    host, port = scripted.address
    assert scripted.headers(1) == [
        (":method", "POST"),
        (":path", "/query-stream"),
        (":scheme", "http"),
        (":authority", f"{host}:{port}"),
        ("user-agent", dialect.value[0]),
        *accept,
        ("h1", "v1"),
        ("content-length", "92"),
    ]
    body = b'{"sql":"select 1;","properties":{"p":1},"sessionVariables":{"v":"1"},'
    assert scripted.data(1) == [(1, body + b'"requestProperties":{}}')]


def test_rows_are_frames_of_their_own_around_every_window(scripted: Scripted) -> None:
    with JavaClient(scripted.address) as client:
        publisher = client.stream_inserts("s")
        publisher.accept([{"I": 0, "P": "x" * 100_000}, {"I": 1}])
        publisher.complete()
        publisher.wait()
    scripted.join()
    assert "content-length" not in dict(scripted.headers(1))
    (first, arguments), (_, large), (_, small), last = scripted.data(1)
    assert (first, arguments) == (0, b'{"target":"s"}\n')
    assert (len(large), small) == (100_015, b'{"I":1}\n')
    assert last == (1, b"")
