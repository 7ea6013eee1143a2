"""Peers that mean harm: floods, bombs, lies about lengths; memory stays bounded."""

import struct
from collections.abc import Iterator

import hpack
import pytest

from tests.frames import ACK, END_HEADERS, END_STREAM, PREFACE, Kind, Setting, encode_frame
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    declare,
    insert,
    json_lines,
    numbered,
    records,
)
from tests.streams import WriteStalled

FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR = 6, 9, 11, 1
MB = 1_000_000
LONGEST = (1 << 24) - 1


@pytest.fixture(scope="module")
def warm(gateway: GatewayProcess) -> None:
    """What a first batch costs is not what a flood costs."""
    with gateway.peer() as peer:
        name = declare(peer)
        for _ in range(3):
            insert(peer, name, numbered(0, 2_000), ack="queryable")
            for stream in [peer.open("GET", "/nowhere", end=True) for _ in range(900)]:
                stream.read_to_end()


@pytest.fixture(autouse=True)
def bounded(gateway: GatewayProcess, warm: None) -> Iterator[None]:
    """Whatever a test does, the gateway serves others, complains of nothing and stays small."""
    with gateway.peer() as other:
        ask(other, "GET", "/info")
        before = gateway.rss_bytes
        yield
        assert gateway.rss_bytes - before < 5 * MB
        assert ask(other, "GET", "/info").status == 200
    assert gateway.complaints == []


def ended_with(peer: Peer) -> int:
    """The code of the GOAWAY with which the server closes the connection."""
    peer.read_to_close()
    assert peer.goaway is not None
    return peer.goaway.code


def pieces(name: str, value: str) -> bytes:
    """A header, not indexed, not compressed."""
    return hpack.Encoder().encode([(name, value)], huffman=False)


# ── lengths ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Kind.HEADERS, Kind.SETTINGS, Kind.CONTINUATION, 0xFF])
def test_a_frame_that_announces_16_mib_is_refused_from_its_header(peer: Peer, kind: int) -> None:
    peer.handshake()
    peer.write(encode_frame(kind, 0, 1, b"", length=LONGEST))
    assert ended_with(peer) == FRAME_SIZE_ERROR


def test_a_data_frame_of_16_mib_to_a_wrong_path_is_dropped_as_it_comes(peer: Peer) -> None:
    stream = peer.open("POST", "/nowhere")
    stream.send(b"x")
    stream.read_to_end()
    peer.write(encode_frame(Kind.DATA, END_STREAM, stream.id, bytes(LONGEST)))
    peer.ping()


# ── headers ──────────────────────────────────────────────────────────────────────────────────


def test_a_flood_of_continuations_is_cut_off(peer: Peer) -> None:
    peer.handshake()
    peer.write(encode_frame(Kind.HEADERS, 0, 1, b"\x82"))
    peer.write(encode_frame(Kind.CONTINUATION, 0, 1, b"") * 10_000)
    assert ended_with(peer) in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)


def test_headers_of_20_kb_in_one_frame_are_welcome(peer: Peer) -> None:
    assert ask(peer, "GET", "/info", b"", [("x-long", "x" * 20_000)]).status == 200


def test_headers_of_more_than_the_limit_are_refused(peer: Peer) -> None:
    peer.handshake()
    limit = peer.server_settings[Setting.MAX_HEADER_LIST_SIZE]
    block = b"\x82\x86\x84\x41\x01h" + pieces("x-long", "x" * (limit // 2)) * 3
    peer.write(encode_frame(Kind.HEADERS, END_STREAM, 1, block[:60_000]))
    peer.write(encode_frame(Kind.CONTINUATION, END_HEADERS, 1, block[60_000:]))
    assert ended_with(peer) in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)


def test_a_header_bomb_is_not_unpacked(peer: Peer) -> None:
    peer.handshake()
    # 4 kB enter the dynamic table once; each further byte of the block names them again.
    block = b"\x82\x86\x84\x41\x01h" + b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 16_000
    peer.write(encode_frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert ended_with(peer) in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)


def test_headers_that_are_no_hpack_end_the_connection(peer: Peer) -> None:
    peer.handshake()
    peer.write(encode_frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 50))
    assert ended_with(peer) in (PROTOCOL_ERROR, COMPRESSION_ERROR)


# ── control frames ───────────────────────────────────────────────────────────────────────────

SETTINGS = encode_frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", Setting.INITIAL_WINDOW_SIZE, 1))
PING = encode_frame(Kind.PING, 0, 0, bytes(8))


@pytest.mark.parametrize("frame", [SETTINGS, PING], ids=["SETTINGS", "PING"])
def test_a_flood_of_control_frames_is_cut_off(peer: Peer, frame: bytes) -> None:
    peer.handshake()
    peer.write(frame * 1_000)
    peer.ping()
    peer.write(frame * 3_000)
    assert ended_with(peer) == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "frame",
    [
        SETTINGS,
        PING,
        encode_frame(Kind.PING, ACK, 0, bytes(8)),
        encode_frame(Kind.PRIORITY, 0, 1, bytes(5)),
        encode_frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"),
        encode_frame(0x77, 0, 0, bytes(100)),
    ],
    ids=["SETTINGS", "PING", "PING ack", "PRIORITY", "WINDOW_UPDATE", "unknown"],
)
def test_a_flood_from_a_peer_that_never_reads_costs_no_memory(
    gateway: GatewayProcess, frame: bytes
) -> None:
    with gateway.peer(receive_buffer_bytes=4096) as peer:
        try:
            for _ in range(20):
                peer.write(frame * 1_000, deadline_s=2.0)
        except WriteStalled:
            pass


def test_requests_whose_refusals_are_never_read_cost_no_memory(gateway: GatewayProcess) -> None:
    block = b"\x82\x86\x41\x01h\x04\x0d/no/such/path"
    with gateway.peer(receive_buffer_bytes=4096) as peer:
        for first in range(1, 4_001, 400):
            numbers = range(first, first + 400, 2)
            flags = END_HEADERS | END_STREAM
            peer.write(b"".join(encode_frame(Kind.HEADERS, flags, n, block) for n in numbers))
        peer.until_server_has_read()


def test_empty_data_frames_cost_nothing(peer: Peer, stream_name: str) -> None:
    stream = peer.open("POST", "/inserts-stream")
    stream.send(arguments_line(stream_name, ack="spooled"))
    peer.write(encode_frame(Kind.DATA, 0, stream.id) * 50_000)
    stream.send(json_lines(numbered(0, 1)), end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 1)


def test_a_wrong_preface_is_no_http_2(gateway: GatewayProcess) -> None:
    with gateway.peer(preface=PREFACE.replace(b"SM", b"MS")) as peer:
        peer.read_to_close()
