"""A load client that costs next to nothing: raw HTTP/2 frames over one blocking socket.

    python -m tests.bench.load --port 8088 --target T --file rows.ndjson

All DATA frames are built before the clock starts; while it runs, frame headers are read and
newlines counted, nothing else. Windows are respected. After the clock has stopped every ack is
checked: number, order, level of the asked-for status. Prints one JSON line.
"""

import argparse
import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import hpack
import orjson

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 4
FRAME_HEADER_BYTES = 9
DEFAULT_WINDOW_BYTES = 65_535
HUGE_WINDOW_BYTES = 2**31 - 1
STREAM = 1
ARGUMENTS = '{"target":"%s","properties":{"headrace.ack":"%s","headrace.frames":"coalesced"}}\n'


class LoadFailed(Exception):
    """The server did not do its part; the text says which."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113 §4.1)."""
    header = struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
    return header + struct.pack(">I", stream_id) + payload


def data_frames(body: bytes, frame_bytes: int) -> bytes:
    """``body`` in DATA frames of ``frame_bytes`` (the last may be shorter), then the end."""
    cuts = range(0, len(body), frame_bytes)
    frames = [frame(DATA, 0, STREAM, body[at : at + frame_bytes]) for at in cuts]
    return b"".join([*frames, frame(DATA, END_STREAM, STREAM)])


@dataclass
class RawInsert:
    """One connection with one `/inserts-stream` on it."""

    sock: socket.socket
    connection_credit: int = DEFAULT_WINDOW_BYTES
    stream_credit: int = DEFAULT_WINDOW_BYTES
    settled: bool = False
    status: str = ""
    ended: bool = False
    acked: int = 0
    ack_bytes: list[bytes] = field(default_factory=list)
    _unread: bytes = b""
    _headers: hpack.Decoder = field(default_factory=hpack.Decoder)

    def open(self, path: str, arguments: bytes) -> None:
        """Preface, settings, request headers and the arguments line; returns after the 200."""
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, HUGE_WINDOW_BYTES)
        grant = struct.pack(">I", HUGE_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
        self.sock.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, grant)
        )
        while not self.settled:
            self.read()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path)]
        block = hpack.Encoder().encode([*pseudo, (":authority", "localhost")])
        self.sock.sendall(
            frame(HEADERS, END_HEADERS, STREAM, block) + frame(DATA, 0, STREAM, arguments)
        )
        self.connection_credit -= len(arguments)
        self.stream_credit -= len(arguments)
        while not self.status:
            self.read()
        if self.status != "200":
            while not self.ended:
                self.read()
            raise LoadFailed(f"status {self.status}: {b''.join(self.ack_bytes)[:500]!r}")

    def read(self) -> None:
        """One read of the socket, and what its frames mean."""
        received = self.sock.recv(1 << 18)
        if not received:
            raise LoadFailed("the server closed the connection")
        buffer = self._unread + received
        at = 0
        while len(buffer) - at >= FRAME_HEADER_BYTES:
            size = int.from_bytes(buffer[at : at + 3], "big")
            end = at + FRAME_HEADER_BYTES + size
            if end > len(buffer):
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream_id = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._take(kind, flags, stream_id, buffer[at + FRAME_HEADER_BYTES : end])
            at = end
        self._unread = buffer[at:]

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == DATA:
            self.ack_bytes.append(payload)
            self.acked += payload.count(b"\n")
            self.ended = bool(flags & END_STREAM)
        elif kind == WINDOW_UPDATE:
            increment = int.from_bytes(payload, "big")
            if stream_id:
                self.stream_credit += increment
            else:
                self.connection_credit += increment
        elif kind == HEADERS:
            headers: dict[str, str] = dict(self._headers.decode(payload))  # type: ignore[arg-type]
            self.status = self.status or headers[":status"]
            self.ended = bool(flags & END_STREAM)
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self.sock.sendall(frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY):
            raise LoadFailed(f"the server sent frame type {kind}: {payload!r}")

    def _settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW_SIZE:
                self.stream_credit += value - DEFAULT_WINDOW_BYTES
        self.settled = True
        self.sock.sendall(frame(SETTINGS, ACK, 0))

    def run(self, frames: bytes, body_bytes: int, frame_bytes: int, deadline_s: float) -> None:
        """Send the frames as far as the windows allow, and read until the answer has ended.

        Credit is what was granted in all, so whole frames below it are what may have left.
        """
        view, sent = memoryview(frames), 0
        stride = frame_bytes + FRAME_HEADER_BYTES
        while not self.ended:
            credit = min(self.connection_credit, self.stream_credit)
            allowed = len(frames) if credit >= body_bytes else credit // frame_bytes * stride
            writing = [self.sock] if sent < allowed else []
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise LoadFailed(
                    f"time is up: {self.acked} acks, {sent} of {len(frames)} bytes sent, "
                    f"{allowed} allowed (credit in all: {self.stream_credit} for the "
                    f"stream, {self.connection_credit} for the connection)"
                )
            readable, writable, _ = select.select([self.sock], writing, [], left_s)
            if readable:
                self.read()
            if writable:
                sent += self.sock.send(view[sent : min(allowed, sent + (1 << 20))])

    def check(self, rows: int) -> None:
        """Every row acked once, in order; an error line is shown as it is."""
        for seq, line in enumerate(b"".join(self.ack_bytes).splitlines()):
            ack = orjson.loads(line)
            if ack.get("seq") != seq or ack.get("status") != "ok":
                raise LoadFailed(f"expected the ack of row {seq}, got {line[:500]!r}")
        if self.acked != rows:
            raise LoadFailed(f"{self.acked} acks for {rows} rows")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--path", default="/inserts-stream")
    parser.add_argument("--ack", default="committed")
    parser.add_argument("--frame-bytes", type=int, default=16_384)
    parser.add_argument("--limit-s", type=float, default=120.0)
    options = parser.parse_args()
    body = options.file.read_bytes()
    rows = body.count(b"\n")
    frames = data_frames(body, options.frame_bytes)
    with socket.create_connection(("127.0.0.1", options.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        insert = RawInsert(sock)
        insert.open(options.path, (ARGUMENTS % (options.target, options.ack)).encode())
        sock.setblocking(False)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        insert.run(frames, len(body), options.frame_bytes, time.monotonic() + options.limit_s)
        seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    insert.check(rows)
    sys.stdout.write(json.dumps({"rows": rows, "seconds": seconds, "cpu_s": cpu_s}) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LoadFailed as failed:
        sys.exit(f"load failed: {failed}")
