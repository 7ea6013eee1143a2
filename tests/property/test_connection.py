"""Any frames, in any order and cutting: the connection goes on, or ends as RFC 9113 says.

A real gateway, a bare socket. No exception may escape: the gateway's log stays without complaint.
After the frames comes a PING; either it is acked, or the connection has been closed (by GOAWAY, or
by the deadline of a frame that the bytes left unfinished).
"""

import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import hpack
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.frames import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Frame,
    Kind,
    data_frame,
    encode_frame,
)
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import COLUMNS, ksql

PONG = b"the end?"
CODES = range(14)
"""the codes of RFC 9113 §7"""


class Sender:
    """What a peer must remember to send frames that fit each other."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.last_id = -1

    def next_id(self) -> int:
        """The number of a new stream."""
        self.last_id += 2
        return self.last_id

    def open_id(self, back: int) -> int:
        """The number of a stream that was opened lately, if there is one."""
        return max(1, self.last_id - 2 * back)


Encode = Callable[[Sender], bytes]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a stream S that is impatient with what is not finished."""
    folder = tmp_path_factory.mktemp("fuzzed") / "data"
    impatient = {"HTTP__HEADER_S": 0.2, "HTTP__STREAMS_MAX": 5, "INGEST__ACK": "spooled"}
    with gateway_process(folder, settings=impatient) as running:
        with running.peer() as peer:
            ksql(peer, f"CREATE STREAM s ({COLUMNS}) WITH (kafka_topic='s', value_format='JSON');")
        yield running
        assert running.complaints == []
        assert running.stop() == 0


class Outcome(NamedTuple):
    """How the server took it."""

    frames: list[Frame]
    ponged: bool
    closed: bool

    @property
    def goaway_codes(self) -> list[int]:
        return [
            struct.unpack_from(">II", frame.payload)[1]
            for frame in self.frames
            if frame.kind == Kind.GOAWAY
        ]


def exchange(gateway: GatewayProcess, pieces: list[bytes]) -> Outcome:
    """Send the pieces, then a PING, and read until its ack or the end of the connection."""
    read = bytearray()
    frames: list[Frame] = []
    ponged = closed = False
    with socket.create_connection(gateway.address, timeout=10.0) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in [*pieces, encode_frame(Kind.PING, 0, 0, PONG)]:
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            closed = True
        while not ponged:
            try:
                data = sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                closed = True
                break
            read += data
            while (frame := Frame.decode(read)) is not None:
                del read[: 9 + len(frame.payload)]
                frames.append(frame)
                ponged = ponged or (frame.kind == Kind.PING and frame.payload == PONG)
    return Outcome(frames, ponged, closed)


# ── what a peer may send ─────────────────────────────────────────────────────────────────────

stream_ids = st.sampled_from([0, 1, 3, 5, 2, 99, 2**31 - 1])
backs = st.integers(0, 2)
paths = st.sampled_from(
    [
        *("/inserts-stream", "/inserts-stream", "/query-stream", "/ksql", "/info", "/nowhere"),
        *("/insert-stream?x=1", "/%zz", "//[", "/\u00e9", "http://[/", "x", "*", ""),
    ]
)
methods = st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "CONNECT", "x", ""])
extra_fields = st.lists(
    st.sampled_from(
        [
            ("content-length", "30"),
            ("content-length", "0"),
            ("content-length", "-1"),
            ("content-length", "many"),
            ("user-agent", "ksqlDB Java Client v1"),
            ("accept", "application/json"),
            ("accept", "image/png"),
            ("content-type", "multipart/form-data; boundary="),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("connection", "close"),
            ("host", "elsewhere"),
            ("cookie", "a=b; =; ;"),
            ("range", "bytes=0-0"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
            (":path", "/again"),
            ("Upper", "case"),
            ("x", "\x00"),
        ]
    ),
    max_size=3,
)
bodies = st.one_of(
    st.sampled_from(
        [
            b'{"target":"s"}\n',
            b'{"target":"s"}\n{"ID":1,"AT":"2024-01-01"}\n',
            b'{"ID":2,"AT":"2024-01-01"}\n',
            b'{"ID":3,',
            b"no json\n",
            b'{"sql":"SELECT * FROM s EMIT CHANGES;"}',
            b'{"ksql":"SHOW STREAMS;"}',
        ]
    ),
    st.binary(max_size=40),
)
flags = st.integers(0, 255)


GOOD_FIELDS = {":method": "POST", ":path": "/inserts-stream", ":scheme": "http", ":authority": "h"}


@st.composite
def requests(draw: st.DrawFn) -> Encode:
    """HEADERS of a new stream, well-formed as frames; what they say may be anything."""
    fields = dict(GOOD_FIELDS) | {":path": draw(paths), ":method": draw(methods)}
    extra = draw(extra_fields)
    flag = draw(st.sampled_from([END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM]))
    return lambda sender: encode_frame(
        Kind.HEADERS, flag, sender.next_id(), sender.encoder.encode([*fields.items(), *extra])
    )


@st.composite
def inserts(draw: st.DrawFn) -> Encode:
    """A good beginning of an insert, so that much of what follows meets an open stream."""
    target, body = draw(st.sampled_from([b"s", b"nowhere"])), draw(bodies)

    def encode(sender: Sender) -> bytes:
        number = sender.next_id()
        block = sender.encoder.encode(list(GOOD_FIELDS.items()))
        head = encode_frame(Kind.HEADERS, END_HEADERS, number, block)
        arguments = b'{"target":"' + target + b'"}\n'
        return head + data_frame(number, arguments) + data_frame(number, body)

    return encode


@st.composite
def broken_headers(draw: st.DrawFn) -> Encode:
    """HEADERS with something missing, open, twice or on a number of no new stream."""
    fields = list(GOOD_FIELDS.items())
    del fields[draw(st.integers(0, 3))]
    number, flag = draw(stream_ids), draw(st.sampled_from([0, END_STREAM, END_HEADERS]))
    return lambda sender: encode_frame(Kind.HEADERS, flag, number, sender.encoder.encode(fields))


@st.composite
def of_a_stream(draw: st.DrawFn) -> Encode:
    """DATA, RST_STREAM, WINDOW_UPDATE or trailers on a stream that was opened."""
    back, body, end = draw(backs), draw(bodies), draw(st.booleans())
    padding = draw(st.one_of(st.none(), st.none(), st.integers(0, 40)))
    number = struct.pack(">I", draw(st.sampled_from([0, 1, 8, 65_535, 2**31 - 1])))
    kind = draw(st.sampled_from([Kind.DATA, Kind.DATA, Kind.RST_STREAM, Kind.WINDOW_UPDATE, 1]))

    def encode(sender: Sender) -> bytes:
        stream_id = sender.open_id(back)
        if kind == Kind.DATA:
            return data_frame(stream_id, body, end=end, padding=padding)
        if kind == Kind.HEADERS:
            block = sender.encoder.encode([("checksum", "none")])
            return encode_frame(kind, END_HEADERS | END_STREAM, stream_id, block)
        return encode_frame(kind, 0, stream_id, number)

    return encode


def fixed(frames: st.SearchStrategy[bytes]) -> st.SearchStrategy[Encode]:
    """Frames that fit anywhere, or nowhere."""
    return frames.map(lambda raw: lambda _: raw)


some_settings = st.sampled_from(
    [
        *((1, 0), (1, 100), (2, 0), (3, 0), (4, 0), (4, 10), (4, 2**31 - 1), (5, 16_384), (6, 1)),
        *((8, 0), (0x99, 2**32 - 1), (1, 2**32 - 1), (5, 2**24 - 1)),
    ]
).map(lambda pair: encode_frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", *pair)))
acks = st.sampled_from([encode_frame(Kind.SETTINGS, 1, 0), encode_frame(Kind.PING, 1, 0, bytes(8))])
windows = st.integers(1, 10_000).map(
    lambda more: encode_frame(Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", more))
)
wrong_settings = st.builds(
    lambda code, value: encode_frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", code, value)),
    st.integers(0, 9),
    st.integers(0, 2**32 - 1),
)
goaways = st.builds(
    lambda code: encode_frame(Kind.GOAWAY, 0, 0, struct.pack(">II", 0, code)), st.integers(0, 3)
)
any_frames = st.builds(
    encode_frame, st.integers(0, 12), st.integers(0, 255), stream_ids, st.binary(max_size=30)
)
lies = st.builds(
    lambda kind, number, payload, length: encode_frame(kind, 0, number, payload, length=length),
    st.integers(0, 10),
    stream_ids,
    st.binary(max_size=10),
    st.sampled_from([0, 3, 9, 20, 70_000, 2**24 - 1]),
)
fitting = st.one_of(
    inserts(), inserts(), requests(), of_a_stream(), fixed(some_settings), fixed(acks | windows)
)
wrong = st.one_of(
    broken_headers(),
    fixed(wrong_settings),
    fixed(goaways),
    fixed(any_frames),
    fixed(lies),
    fixed(st.binary(max_size=40)),
)
sequences = st.builds(
    lambda fits, wrongs, more: [*fits, *wrongs, *more],
    st.lists(fitting, max_size=12),
    st.lists(wrong, max_size=1),
    st.lists(fitting, max_size=3),
)
openings = st.sampled_from([PREFACE + encode_frame(Kind.SETTINGS, 0, 0)] * 9 + [PREFACE])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(openings, sequences, st.data())
def test_whatever_comes_the_connection_goes_on_or_ends_and_nothing_escapes(
    gateway: GatewayProcess, opening: bytes, sequence: list[Encode], drawn: st.DataObject
) -> None:
    sender = Sender()
    raw = opening + b"".join(encode(sender) for encode in sequence)
    cuts = sorted(drawn.draw(st.lists(st.integers(0, len(raw)), max_size=3)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    outcome = exchange(gateway, pieces)
    answers = sum(frame.kind == Kind.HEADERS for frame in outcome.frames)
    event(f"ponged: {outcome.ponged}, answers: {min(answers, 3)}, goaway: {outcome.goaway_codes}")
    assert outcome.ponged or outcome.closed
    assert all(code in CODES for code in outcome.goaway_codes)
    assert gateway.complaints == []


# ── one fault, one code ──────────────────────────────────────────────────────────────────────

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
FAULTS: dict[str, tuple[bytes, set[int]]] = {
    "DATA on stream 0": (data_frame(0, b"x"), {PROTOCOL_ERROR}),
    "DATA on an even stream": (data_frame(2, b"x"), {PROTOCOL_ERROR}),
    "DATA on an idle stream": (data_frame(99, b"x"), {PROTOCOL_ERROR}),
    "HEADERS on stream 0": (encode_frame(1, END_HEADERS, 0, b"\x82"), {PROTOCOL_ERROR}),
    "HEADERS on an even stream": (encode_frame(1, END_HEADERS, 2, b"\x82"), {PROTOCOL_ERROR}),
    "RST_STREAM of 3 bytes": (encode_frame(3, 0, 1, bytes(3)), {FRAME_SIZE_ERROR}),
    "SETTINGS on a stream": (encode_frame(4, 0, 1), {PROTOCOL_ERROR}),
    "SETTINGS of 5 bytes": (encode_frame(4, 0, 0, bytes(5)), {FRAME_SIZE_ERROR}),
    "a window over 2^31-1 by SETTINGS": (
        encode_frame(4, 0, 0, struct.pack(">HI", 4, 2**31)),
        {FLOW_CONTROL_ERROR},
    ),
    "a frame size under 16384": (
        encode_frame(4, 0, 0, struct.pack(">HI", 5, 100)),
        {PROTOCOL_ERROR},
    ),
    "PUSH_PROMISE": (encode_frame(5, END_HEADERS, 1, b"\0\0\0\2\x82"), {PROTOCOL_ERROR}),
    "PING of 7 bytes": (encode_frame(6, 0, 0, bytes(7)), {FRAME_SIZE_ERROR}),
    "PING on a stream": (encode_frame(6, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    "WINDOW_UPDATE of 3 bytes": (encode_frame(8, 0, 0, bytes(3)), {FRAME_SIZE_ERROR}),
    "WINDOW_UPDATE of 0": (encode_frame(8, 0, 0, bytes(4)), {PROTOCOL_ERROR}),
    "WINDOW_UPDATE past 2^31-1": (
        encode_frame(8, 0, 0, struct.pack(">I", 2**31 - 1)),
        {FLOW_CONTROL_ERROR},
    ),
    "CONTINUATION of nothing": (encode_frame(9, END_HEADERS, 1, b"\x82"), {PROTOCOL_ERROR}),
    "a frame amid headers": (
        encode_frame(1, 0, 21, b"\x82") + encode_frame(6, 0, 0, bytes(8)),
        {PROTOCOL_ERROR},
    ),
    "a GOAWAY amid headers": (
        encode_frame(1, 0, 21, b"\x82") + encode_frame(7, 0, 0, bytes(8)),
        {PROTOCOL_ERROR},
    ),
    "a long HEADERS frame": (encode_frame(1, 0, 21, b"", length=1 << 20), {FRAME_SIZE_ERROR}),
}


@pytest.mark.parametrize(("fault", "codes"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_connection_ends_it_with_its_code(
    gateway: GatewayProcess, fault: bytes, codes: set[int]
) -> None:
    block = hpack.Encoder().encode(list(GOOD_FIELDS.items()))
    opening = PREFACE + encode_frame(Kind.SETTINGS, 0, 0)
    opening += encode_frame(Kind.HEADERS, END_HEADERS, 1, block)
    outcome = exchange(gateway, [opening + data_frame(1, b'{"target":"s"}\n'), fault])
    assert outcome.closed
    assert not outcome.ponged
    assert set(outcome.goaway_codes) <= codes
    assert outcome.goaway_codes, "the connection was closed without a GOAWAY"
    assert gateway.complaints == []
