"""An HTTP/2 client of bare sockets, for tests that need to be slow, rude or wrong on purpose.

It owns: frames out as ordered, frames in as they come, the bookkeeping of the windows that *we*
gave. It never knows what the frames carry (see `tests.server.ksqldb`), has no thread and reads only
when told to: what the test does not read stays in the kernel's buffers and in the server.

Laws:
1. Nothing is sent that the test did not order, but for what `answers` and `credit` allow: the acks
   of SETTINGS and PING, and WINDOW_UPDATEs for what was read.
2. Every wait has a deadline, and says at its end what it waited for and what there was.
3. What the server may never do (more DATA than our windows allow, frames larger than we take, DATA
   after END_STREAM, frames of streams that were never opened) raises `Violation` where it is read.

`Stream.send` is polite: it keeps to the server's windows and reads while it waits for them.
`Stream.send_frames` and `Peer.write` are not: they send what they are given, as ksqlDB's Java
client does with its rows (raw DATA frames of any size, uncounted). Source: RFC 9113 §4, §5.2, §6.
"""

import contextlib
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import hpack

from tests.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    PRIORITY,
    Credit,
    Frame,
    Kind,
    Setting,
    encode_frame,
)
from tests.streams import (
    DEADLINE_S,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    Headers,
    Stalled,
    Stream,
    Violation,
    WriteStalled,
)
from tests.tcp import connected, unread_bytes


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server's GOAWAY."""

    last_stream_id: int
    code: int
    debug: bytes


class Peer:
    """One connection. ``address`` is (host, port).

    ``settings`` go out with the preface; INITIAL_WINDOW_SIZE and MAX_FRAME_SIZE among them bind the
    server. ``connection_window_bytes`` above 65,535 is opened by a WINDOW_UPDATE. A small
    ``receive_buffer_bytes`` makes TCP push back early. ``preface`` replaces the whole opening.
    ``sock`` is connected already, after an upgrade from HTTP/1.1 for example.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        settings: Mapping[int, int] | None = None,
        connection_window_bytes: int = DEFAULT_WINDOW,
        credit: Credit = Credit.GIVEN,
        answers: bool = True,
        receive_buffer_bytes: int | None = None,
        preface: bytes | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self.credit = credit
        self.answers = answers
        """whether SETTINGS and PING are acked"""
        self.settings = dict(settings or {})
        self.streams: dict[int, Stream] = {}
        self.server_settings: dict[int, int] = {}
        self.has_server_settings = False
        self.settings_acks = 0
        self.pings: list[bytes] = []
        self.ping_times_s: list[float] = []
        """when each PING was read, on the monotonic clock"""
        self.credit_given: Counter[int] = Counter()
        """bytes of the server's WINDOW_UPDATEs by stream; 0 is the connection"""
        self.pongs: list[bytes] = []
        self.goaway: GoAway | None = None
        self.closed = False
        """whether the server has closed the connection, or broken it"""
        self.send_window = DEFAULT_WINDOW
        self.receive_window = connection_window_bytes
        self.recent: deque[str] = deque(maxlen=40)
        """the last frames read, for messages"""
        self._next_id = 1
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._read = bytearray()
        self._socket = sock or connected(address, receive_buffer_bytes, DEADLINE_S)
        self.write(self._opening() if preface is None else preface)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── the connection ──

    @property
    def address(self) -> tuple[str, int]:
        """Our own end."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def server_frame_max(self) -> int:
        """The largest frame that the server takes."""
        return self.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME)

    @property
    def initial_window(self) -> int:
        """The window that we give each new stream."""
        return self.settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)

    def handshake(self) -> None:
        """Wait for the server's SETTINGS and its ack of ours, as the Java client does."""
        self.read_until(
            lambda: self.has_server_settings and self.settings_acks > 0, what="SETTINGS"
        )

    def close(self) -> None:
        """Close the socket, in good order for TCP and without a word for HTTP/2."""
        self._socket.close()

    def abort(self) -> None:
        """Break the connection by a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def half_close(self) -> None:
        """Send no more, but go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    # ── frames out ──

    def open(self, method: str, path: str, headers: Headers = (), *, end: bool = False) -> Stream:
        """Send a request's headers; ``end`` puts END_STREAM on them."""
        stream = self.new_stream()
        host, port = self._socket.getpeername()[:2]
        pseudo = [(":method", method), (":path", path), (":scheme", "http")]
        pseudo.append((":authority", f"{host}:{port}"))
        self.write_headers(stream.id, [*pseudo, *headers], end=end)
        return stream

    def new_stream(self) -> Stream:
        """The next stream, of which nothing has been sent."""
        opened_with = self.server_settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        stream = Stream(self, self._next_id, opened_with, self.initial_window, self.credit)
        self.streams[stream.id] = stream
        self._next_id += 2
        return stream

    def write_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """One HEADERS frame; the headers may be any."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        block = self._encoder.encode(list(headers))
        self.write(encode_frame(Kind.HEADERS, flags, stream_id, block))

    def write(self, raw: bytes, *, deadline_s: float = DEADLINE_S) -> None:
        """Send any bytes. Raises `WriteStalled` if the server does not take them in time."""
        deadline = time.monotonic() + deadline_s
        sent = 0
        while sent < len(raw):
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                sent += self._socket.send(raw[sent : sent + (1 << 20)])
            except TimeoutError:
                raise WriteStalled(sent) from None
            except (BrokenPipeError, ConnectionResetError):
                # What the server said before it hung up is worth more than our EPIPE.
                self.closed = True
                return

    def write_apart(self, pieces: Iterable[bytes]) -> None:
        """Send each piece so that the server reads it on its own."""
        for piece in pieces:
            self.write(piece)
            self.until_server_has_read()

    def until_server_has_read(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until all we sent has left the server's receive buffer (Linux, IPv4)."""
        deadline = time.monotonic() + deadline_s
        while not self.closed and unread_bytes(self._socket):
            if time.monotonic() > deadline:
                raise WriteStalled(-1)

    def ping(self, payload: bytes = b"headrace") -> None:
        """Send a PING and wait for its ack: the server's connection is alive."""
        before = len(self.pongs)
        self.write(encode_frame(Kind.PING, 0, 0, payload))
        self.read_until(lambda: payload in self.pongs[before:], what="the ack of a PING")

    def send_goaway(self, code: int = 0) -> None:
        """Announce that we open no more streams, as the Java client does on close."""
        self.write(encode_frame(Kind.GOAWAY, 0, 0, struct.pack(">II", 0, code)))

    def open_window(self, size_bytes: int) -> None:
        """WINDOW_UPDATE for the connection."""
        self.receive_window += size_bytes
        self.write(encode_frame(Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", size_bytes)))

    def change_initial_window(self, size_bytes: int) -> None:
        """New SETTINGS, and a wait for their ack; open streams are changed by the difference."""
        change = size_bytes - self.initial_window
        before = self.settings_acks
        self.settings[Setting.INITIAL_WINDOW_SIZE] = size_bytes
        if change > 0:
            self._shift_receive_windows(change)
        pair = struct.pack(">HI", Setting.INITIAL_WINDOW_SIZE, size_bytes)
        self.write(encode_frame(Kind.SETTINGS, 0, 0, pair))
        self.read_until(lambda: self.settings_acks > before, what="the ack of SETTINGS")
        if change < 0:
            self._shift_receive_windows(change)

    # ── frames in ──

    def read_until(
        self, holds: Callable[[], bool], deadline_s: float = DEADLINE_S, what: str = ""
    ) -> None:
        """Read frames until it holds. Raises `Stalled`, `Violation`."""
        deadline = time.monotonic() + deadline_s
        while not holds():
            if self._next_frame() or self._receive(deadline):
                continue
            why = "the connection closed" if self.closed else f"{deadline_s} s went by"
            raise Stalled(f"waited for {what or holds}, but {why}; {self._state()}")

    def read_for(self, duration_s: float) -> None:
        """Read whatever comes for a while, or until the connection closes."""
        deadline = time.monotonic() + duration_s
        while self._next_frame() or self._receive(deadline):
            pass

    def read_to_close(self, deadline_s: float = DEADLINE_S) -> None:
        """Read until the server closes the connection."""
        self.read_for(deadline_s)
        if not self.closed:
            raise Stalled(f"the connection stayed open for {deadline_s} s; {self._state()}")

    def buffered_bytes(self) -> int:
        """Bytes that the kernel holds for us and that were not read."""
        with contextlib.suppress(BlockingIOError):
            self._socket.setblocking(False)
            return len(self._socket.recv(1 << 26, socket.MSG_PEEK))
        return 0

    # ── inside ──

    def _opening(self) -> bytes:
        pairs = b"".join(struct.pack(">HI", code, value) for code, value in self.settings.items())
        opening = PREFACE + encode_frame(Kind.SETTINGS, 0, 0, pairs)
        if self.receive_window > DEFAULT_WINDOW:
            more = struct.pack(">I", self.receive_window - DEFAULT_WINDOW)
            opening += encode_frame(Kind.WINDOW_UPDATE, 0, 0, more)
        return opening

    def _receive(self, deadline: float) -> bool:
        """Read bytes from the socket; False at the deadline and at the end."""
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return False
        except ConnectionResetError:
            data = b""
        self.closed = self.closed or not data
        self._read += data
        return bool(data)

    def _next_frame(self) -> Frame | None:
        frame = Frame.decode(self._read)
        if frame is None:
            return None
        del self._read[: 9 + len(frame.payload)]
        self.recent.append(str(frame))
        if len(frame.payload) > self.settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME):
            raise Violation(f"a frame larger than we take: {frame}")
        self._handle(frame)
        return frame

    def _handle(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.DATA:
                self._on_data(frame)
            case Kind.HEADERS:
                self._on_headers(frame)
            case Kind.RST_STREAM:
                self._stream_of(frame).reset_code = struct.unpack(">I", frame.payload)[0]
            case Kind.SETTINGS:
                self._on_settings(frame)
            case Kind.PING:
                self._on_ping(frame)
            case Kind.GOAWAY:
                last, code = struct.unpack_from(">II", frame.payload)
                self.goaway = GoAway(last & 0x7FFFFFFF, code, frame.payload[8:])
            case Kind.WINDOW_UPDATE:
                self._on_window_update(frame)
            case _:
                raise Violation(f"no server sends this to us: {frame}")

    def _on_data(self, frame: Frame) -> None:
        stream = self._stream_of(frame)
        if stream.ended or stream.headers is None:
            raise Violation(f"DATA before the headers or after the end: {frame}")
        size = len(frame.payload)
        stream.receive_window -= size
        self.receive_window -= size
        if stream.receive_window < 0 or self.receive_window < 0:
            raise Violation(f"DATA beyond the window ({stream.receive_window}): {frame}")
        stream.take(frame.content())
        stream.ended = bool(frame.flags & END_STREAM)
        if not size:
            return
        if Credit.CONNECTION in stream.credit:
            self.open_window(size)
        if Credit.STREAM in stream.credit and not stream.over:
            stream.open_window(size)

    def _on_headers(self, frame: Frame) -> None:
        stream = self._stream_of(frame)
        block = frame.content()[5 if frame.flags & PRIORITY else 0 :]
        if not frame.flags & END_HEADERS:
            raise Violation(f"headers in several frames are not understood here: {frame}")
        headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        if stream.ended:
            raise Violation(f"headers after the end: {frame}")
        if stream.headers is not None:
            stream.trailers = headers
        elif headers.get(":status", "").startswith("1"):
            stream.informational.append(headers)
        else:
            stream.headers = headers
        stream.ended = bool(frame.flags & END_STREAM)

    def _on_settings(self, frame: Frame) -> None:
        if frame.flags & ACK:
            self.settings_acks += 1
            return
        self.has_server_settings = True
        before = self.server_settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        self.server_settings.update(struct.iter_unpack(">HI", frame.payload))
        after = self.server_settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        for stream in self.streams.values():
            stream.send_window += after - before
        if self.answers:
            self.write(encode_frame(Kind.SETTINGS, ACK, 0))

    def _on_ping(self, frame: Frame) -> None:
        if frame.flags & ACK:
            self.pongs.append(frame.payload)
            return
        self.pings.append(frame.payload)
        self.ping_times_s.append(time.monotonic())
        if self.answers:
            self.write(encode_frame(Kind.PING, ACK, 0, frame.payload))

    def _on_window_update(self, frame: Frame) -> None:
        more = struct.unpack(">I", frame.payload)[0] & 0x7FFFFFFF
        self.credit_given[frame.stream_id] += more
        if frame.stream_id == 0:
            self.send_window += more
            window = self.send_window
        else:
            stream = self._stream_of(frame)
            stream.send_window += more
            window = stream.send_window
        if more == 0 or window > 0x7FFFFFFF:
            raise Violation(f"a window of {window} by {frame}")

    def _stream_of(self, frame: Frame) -> Stream:
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            raise Violation(f"a stream that was never opened: {frame}")
        return stream

    def _shift_receive_windows(self, change: int) -> None:
        for stream in self.streams.values():
            stream.receive_window += change

    def _state(self) -> str:
        recent = " | ".join(self.recent)
        return f"goaway {self.goaway}; last frames: {recent or 'none'}"
