"""Subscribers of push queries in a process of their own, as cheap as Python reads them.

    python -m tests.bench.push_reader --port P --target NAME --rows N --subscribers N …

Says ``ready`` on a line once every query has answered with its header; ends, with one JSON line,
when each has its rows. Subscriber ``k`` asks for the rows whose ID leaves ``k`` modulo
``--statements``. DATA is walked in bulk, counted and checksummed as it comes. What it was is
checked after the clock has stopped: one subscriber of each statement holds the rows' own numbers in
order, all others of the statement the same bytes.

Windows are as wide as they get, and a client then owes no WINDOW_UPDATE. With ``--credits`` they
are HTTP/2's own 65,535 bytes, and one for the stream and one for the connection go back for each
DATA frame, as the simplest clients do.
"""

import argparse
import json
import select
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hpack
import orjson

from protocol.frames import DataChunk, FrameWalk, OtherFrame
from tests.frames import ACK, END_HEADERS, PREFACE, Kind, Setting, data_frame, encode_frame
from tests.tcp import connected

LIMIT_S = 60.0
READ_BYTES = 1 << 18
FRAME_LIMIT_BYTES = 1 << 16
WINDOW_BYTES = 2**30
COLUMNS = "ID, USERNAME, KIND"


class ReadingFailed(Exception):
    """The server did not do its part; the text says which."""


@dataclass(eq=False)
class Subscriber:
    """One query: what has come of it, and when."""

    statement: int
    wanted: int
    is_kept: bool
    headed: bool = False
    rows: int = 0
    checksum: int = 0
    kept: list[bytes] = field(default_factory=list)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """times, and how many rows there were then"""

    def take(self, payload: bytes, now: float) -> None:
        """What one read brought."""
        if not self.headed:
            head, newline, payload = payload.partition(b"\n")
            if not newline or b'"queryId"' not in head:
                raise ReadingFailed(f"no header: {head[:300]!r}")
            self.headed = True
        if payload:
            self.rows += payload.count(b"\n")
            self.checksum = zlib.crc32(payload, self.checksum)
            self.arrivals.append((now, self.rows))
            if self.is_kept:
                self.kept.append(payload)


class Connection:
    """Subscribers that share a socket."""

    def __init__(self, port: int, *, credits: bool) -> None:
        self.sock = connected(("127.0.0.1", port), None, LIMIT_S)
        self.subscribers: dict[int, Subscriber] = {}
        self._credits = credits
        self._walk = FrameWalk(frame_limit_bytes=FRAME_LIMIT_BYTES, expects_preface=False)
        self._encoder = hpack.Encoder()
        self._headers = hpack.Decoder()
        opening = encode_frame(Kind.SETTINGS, 0, 0)
        if not credits:
            window = Setting.INITIAL_WINDOW_SIZE.to_bytes(2) + WINDOW_BYTES.to_bytes(4)
            opening = encode_frame(Kind.SETTINGS, 0, 0, window)
            opening += encode_frame(Kind.WINDOW_UPDATE, 0, 0, WINDOW_BYTES.to_bytes(4))
        self.sock.sendall(PREFACE + opening)

    def subscribe(self, subscriber: Subscriber, body: bytes) -> None:
        """Send a query."""
        stream_id = 2 * len(self.subscribers) + 1
        self.subscribers[stream_id] = subscriber
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/query-stream")]
        block = self._encoder.encode([*pseudo, (":authority", "localhost")])
        head = encode_frame(Kind.HEADERS, END_HEADERS, stream_id, block)
        self.sock.sendall(head + data_frame(stream_id, body, end=True))

    def read(self) -> None:
        """One read of the socket."""
        received = self.sock.recv(READ_BYTES)
        now = time.monotonic()
        if not received:
            raise ReadingFailed("the server closed the connection")
        answer: list[bytes] = []
        for event in self._walk.feed(received):
            if isinstance(event, OtherFrame):
                self._take_frame(event, answer)
            elif event.ended:
                raise ReadingFailed(f"a query ended: {event.payload[-500:]!r}")
            else:
                self.subscribers[event.stream_id].take(event.payload, now)
                if self._credits:
                    answer.append(credit(event))
        if answer:
            self.sock.sendall(b"".join(answer))

    def _take_frame(self, event: OtherFrame, answer: list[bytes]) -> None:
        flags, payload = event.raw[4], event.raw[9:]
        match event.kind:
            case Kind.HEADERS:
                headers: dict[str, str] = dict(self._headers.decode(payload))  # type: ignore[arg-type]
                status = headers[":status"]
                if status != "200":
                    raise ReadingFailed(f"a query was answered with {status}")
            case Kind.SETTINGS | Kind.PING if not flags & ACK:
                kept = payload if event.kind == Kind.PING else b""
                answer.append(encode_frame(event.kind, ACK, 0, kept))
            case Kind.RST_STREAM | Kind.GOAWAY:
                raise ReadingFailed(f"the server sent frame type {event.kind}: {payload!r}")


def credit(chunk: DataChunk) -> bytes:
    """A WINDOW_UPDATE for the stream and one for the connection, for each frame of a read."""
    each, more = divmod(chunk.flow_bytes, chunk.frames or 1)
    sizes = [each + more, *[each] * (chunk.frames - 1)]
    return b"".join(
        encode_frame(Kind.WINDOW_UPDATE, 0, stream_id, size.to_bytes(4))
        for size in sizes
        for stream_id in (chunk.stream_id, 0)
    )


def subscribed(options: argparse.Namespace) -> list[Connection]:
    """All queries, each answered by its header.

    The first of each statement is waited for: whoever asks later finds the statement compiled.
    """
    connections = [
        Connection(options.port, credits=options.credits) for _ in range(options.connections)
    ]
    properties = {"headrace.frames": "coalesced"} if options.coalesced else {}
    for number in range(options.subscribers):
        if number == options.statements:
            read_until(connections, lambda subscriber: subscriber.headed)
        statement = number % options.statements
        where = f" WHERE ID % {options.statements} = {statement}" if options.statements > 1 else ""
        sql = f"SELECT {COLUMNS} FROM {options.target}{where} EMIT CHANGES;"
        wanted = len(range(statement, options.rows, options.statements))
        subscriber = Subscriber(statement, wanted, is_kept=number < options.statements)
        body = json.dumps({"sql": sql, "properties": properties}).encode()
        connections[number % len(connections)].subscribe(subscriber, body)
    read_until(connections, lambda subscriber: subscriber.headed)
    return connections


def read_until(connections: list[Connection], has: Callable[[Subscriber], bool]) -> None:
    """Read until every subscriber has what it waits for."""
    by_number = {connection.sock.fileno(): connection for connection in connections}
    deadline_s = time.monotonic() + LIMIT_S
    left = all_of(connections)
    with select.epoll() as poller:
        for number in by_number:
            poller.register(number, select.EPOLLIN)
        while left := [subscriber for subscriber in left if not has(subscriber)]:
            if time.monotonic() > deadline_s:
                said = [(s.statement, s.rows, s.wanted) for s in left[:5]]
                raise ReadingFailed(f"{len(left)} wait for a header or rows: {said}")
            for number, _ in poller.poll(1.0):
                by_number[number].read()


def all_of(connections: list[Connection]) -> list[Subscriber]:
    return [s for connection in connections for s in connection.subscribers.values()]


def check(connections: list[Connection], statements: int) -> None:
    """Each row once, in order, and the same for all subscribers of a statement."""
    checksums: dict[int, int] = {}
    subscribers = all_of(connections)
    for subscriber in subscribers:
        if subscriber.is_kept:
            lines = b"".join(subscriber.kept).splitlines()
            found = [orjson.loads(line)[0] for line in lines]
            first = subscriber.statement
            if found != [first + statements * n for n in range(subscriber.wanted)]:
                raise ReadingFailed(f"statement {first} gave other rows, or in another order")
            checksums[first] = subscriber.checksum
    for subscriber in subscribers:
        if (subscriber.rows, subscriber.checksum) != (
            subscriber.wanted,
            checksums[subscriber.statement],
        ):
            raise ReadingFailed(f"two subscribers of statement {subscriber.statement} differ")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.push_reader")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--rows", type=int, required=True, help="that will be inserted")
    parser.add_argument("--subscribers", type=int, required=True)
    parser.add_argument("--statements", type=int, default=1)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--coalesced", action="store_true")
    parser.add_argument("--credits", action="store_true")
    parser.add_argument("--arrivals", action="store_true", help="tell when each row came")
    options = parser.parse_args()
    connections = subscribed(options)
    say("ready")
    cpu_s = time.process_time()
    read_until(connections, lambda subscriber: subscriber.rows >= subscriber.wanted)
    cpu_s, ended_at = time.process_time() - cpu_s, time.monotonic()
    check(connections, options.statements)
    subscribers = all_of(connections)
    result: dict[str, Any] = {
        "rows": sum(s.rows for s in subscribers),
        "cpu_s": cpu_s,
        "ended_at": ended_at,
    }
    if options.arrivals:
        result["arrivals"] = [s.arrivals for s in subscribers]
    say(json.dumps(result))


if __name__ == "__main__":
    try:
        main()
    except ReadingFailed as failed:
        sys.exit(f"reading failed: {failed}")
