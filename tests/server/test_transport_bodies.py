"""Request bodies on the wire: every cutting, padding, length and end; resets and stray DATA."""

import struct

import pytest

from tests.frames import END_HEADERS, END_STREAM, Kind, data_frame, encode_frame
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    count,
    header_of,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    open_query,
    query,
    records,
    until,
)
from tests.streams import Stream

NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, CANCEL = 0, 1, 5, 8


def reset_code(peer: Peer, stream: Stream) -> int | None:
    """With what the server resets the stream, which it must do."""
    peer.read_until(lambda: stream.over, what="a reset")
    return stream.reset_code


def assert_lives(peer: Peer, stream_name: str) -> None:
    """The connection serves what it served before."""
    peer.ping()
    assert insert(peer, stream_name, numbered(0, 2), ack="spooled") == acks(0, 2)
    assert peer.goaway is None


def whole(stream_name: str, rows: int = 3) -> bytes:
    """The body of an insert."""
    return arguments_line(stream_name, ack="spooled") + json_lines(numbered(0, rows))


# ── cutting ──────────────────────────────────────────────────────────────────────────────────


def test_a_body_may_be_cut_into_two_frames_at_every_byte(peer: Peer, stream_name: str) -> None:
    body = whole(stream_name)
    streams = []
    for cut in range(1, len(body)):
        stream = peer.open("POST", "/inserts-stream")
        stream.send_frames([body[:cut], body[cut:]], end=True)
        streams.append(stream)
    for stream in streams:
        stream.read_to_end()
        assert records(stream) == acks(0, 3)


def test_a_body_may_come_in_frames_of_one_byte(peer: Peer, stream_name: str) -> None:
    body = whole(stream_name)
    stream = peer.open("POST", "/inserts-stream")
    stream.send_frames([body[at : at + 1] for at in range(len(body))], end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 3)


def test_frames_may_be_cut_into_two_reads_at_every_byte(peer: Peer, stream_name: str) -> None:
    body = whole(stream_name, 1)
    half = len(body) // 2
    frames = data_frame(1, body[:half], padding=3) + data_frame(1, body[half:], end=True)
    for cut in range(len(frames)):
        stream = peer.open("POST", "/inserts-stream")
        number = stream.id.to_bytes(4)
        ours = bytearray(frames)
        ours[5:9] = number
        second = 9 + half + 4
        ours[second + 5 : second + 9] = number
        peer.write_apart([bytes(ours[:cut]), bytes(ours[cut:])])
        stream.read_to_end()
        assert records(stream) == acks(0, 1)


@pytest.mark.parametrize("size", [16_384, 1_000_000])
def test_a_row_of_900_kb_arrives(peer: Peer, stream_name: str, size: int) -> None:
    row = json_lines([{"ID": size, "NAME": "x" * 900_000, "AT": "2024-01-01"}])
    stream = open_inserts(peer, stream_name, ack="queryable")
    stream.send(row, sizes=size, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 1)
    sql = f"SELECT LENGTH(name) FROM {stream_name} WHERE id = {size};"
    assert query(peer, sql).rows == [[900_000]]


def test_rows_of_a_frame_of_16_mib_are_acked_as_they_come(peer: Peer, stream_name: str) -> None:
    stream = peer.open("POST", "/inserts-stream")
    body = whole(stream_name, 2_000)
    peer.write(encode_frame(Kind.DATA, 0, stream.id, b"", length=(1 << 24) - 1))
    for at in range(0, len(body), 50_000):
        peer.write(body[at : at + 50_000])
    stream.read_lines(2_000)
    assert records(stream) == acks(0, 2_000)


def test_rows_of_many_streams_in_one_write_go_each_its_way(peer: Peer, stream_name: str) -> None:
    streams = [peer.open("POST", "/inserts-stream") for _ in range(20)]
    body = whole(stream_name, 5)
    pieces = [body[at : at + 40] for at in range(0, len(body), 40)]
    peer.write(b"".join(data_frame(s.id, piece) for piece in pieces for s in streams))
    for stream in streams:
        stream.end()
    for stream in streams:
        stream.read_to_end()
        assert records(stream) == acks(0, 5)


# ── ends ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("padding", [None, 0, 7, 255])
@pytest.mark.parametrize("apart", [False, True], ids=["with payload", "empty"])
def test_the_end_may_come_with_rows_or_without_padded_or_not(
    peer: Peer, stream_name: str, padding: int | None, apart: bool
) -> None:
    stream = peer.open("POST", "/inserts-stream")
    if apart:
        stream.send_frames([whole(stream_name)], padding=padding)
        stream.send_frames([b""], end=True, padding=padding)
    else:
        stream.send_frames([whole(stream_name)], end=True, padding=padding)
    stream.read_to_end()
    assert records(stream) == acks(0, 3)


def test_trailers_end_a_request(peer: Peer, stream_name: str) -> None:
    stream = peer.open("POST", "/inserts-stream")
    stream.send(whole(stream_name))
    stream.send_trailers([("checksum", "none")])
    stream.read_to_end()
    assert records(stream) == acks(0, 3)


def test_a_request_that_ends_with_its_headers_is_answered_in_json(peer: Peer) -> None:
    reply = ask(peer, "POST", "/inserts-stream")
    assert reply.status == 400
    assert reply.document["error_code"] == 40000


# ── content-length ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/inserts-stream", "/ksql"])
def test_a_body_of_its_announced_length_is_taken(peer: Peer, stream_name: str, path: str) -> None:
    body = whole(stream_name) if path == "/inserts-stream" else b'{"ksql":"SHOW STREAMS;"}'
    stream = peer.open("POST", path, [("content-length", str(len(body)))])
    stream.send(body, sizes=[1, 5, 100], end=True)
    stream.read_to_end()
    assert stream.status == 200


@pytest.mark.parametrize("path", ["/inserts-stream", "/ksql", "/query-stream"])
@pytest.mark.parametrize("announced", [0, 10, 5_000])
def test_a_body_of_another_length_than_announced_is_a_protocol_error_of_its_stream(
    peer: Peer, stream_name: str, path: str, announced: int
) -> None:
    stream = peer.open("POST", path, [("content-length", str(announced))])
    stream.send_frames([whole(stream_name)], end=True)
    assert reset_code(peer, stream) == PROTOCOL_ERROR
    assert_lives(peer, stream_name)


def test_a_body_that_outgrows_its_length_is_stopped_before_its_end(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name, headers=[("content-length", "300")])
    stream.send(json_lines(numbered(0, 10)))
    assert reset_code(peer, stream) == PROTOCOL_ERROR
    assert_lives(peer, stream_name)


def test_trailers_that_end_a_body_too_early_are_a_protocol_error(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name, headers=[("content-length", "3000")])
    stream.send_trailers([("checksum", "none")])
    assert reset_code(peer, stream) == PROTOCOL_ERROR
    assert_lives(peer, stream_name)


def test_headers_that_announce_a_body_and_end_are_a_protocol_error(
    peer: Peer, stream_name: str
) -> None:
    stream = peer.open("POST", "/inserts-stream", [("content-length", "5")], end=True)
    assert reset_code(peer, stream) == PROTOCOL_ERROR
    assert_lives(peer, stream_name)


# ── resets ───────────────────────────────────────────────────────────────────────────────────


def test_rows_before_a_reset_stay_taken_and_the_connection_goes_on(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(json_lines(numbered(0, 100)))
    stream.reset(CANCEL)
    until(lambda: count(peer, stream_name) == 100, "rows of a reset stream")
    assert_lives(peer, stream_name)


def test_a_reset_closes_a_push_query(peer: Peer, stream_name: str) -> None:
    stream = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;")
    query_id = header_of(stream)["queryId"]
    stream.reset(CANCEL)

    def live() -> set[str]:
        return {entry["id"] for entry in ksql(peer, "LIST QUERIES;")[0]["queries"]}

    until(lambda: query_id not in live(), "the end of a query that was reset")


def test_what_is_sent_to_an_answered_request_is_dropped_then_reset_without_blame(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(b"no row\n")
    stream.read_to_end()
    stream.send_frames([json_lines(numbered(0, 10))] * 3)
    peer.read_until(lambda: stream.reset_code is not None, what="the reset")
    assert stream.reset_code == NO_ERROR
    stream.send_frames([json_lines(numbered(0, 10))] * 3, end=True)
    assert_lives(peer, stream_name)


# ── stray DATA ───────────────────────────────────────────────────────────────────────────────


def test_data_after_the_end_of_a_request_resets_its_stream(peer: Peer, stream_name: str) -> None:
    stream = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;")
    header_of(stream)
    stream.send_frames([b"more"])
    assert reset_code(peer, stream) == STREAM_CLOSED
    assert_lives(peer, stream_name)


def test_data_on_a_stream_that_is_over_is_ignored(peer: Peer, stream_name: str) -> None:
    stream = peer.open("GET", "/info", end=True)
    stream.read_to_end()
    stream.send_frames([b"late"] * 3)
    stream.send_frames([b"late"], end=True)
    assert_lives(peer, stream_name)


@pytest.mark.parametrize("stream_id", [0, 2, 101])
@pytest.mark.parametrize("flags", [0, END_STREAM])
def test_data_on_a_stream_that_never_was_ends_the_connection(
    peer: Peer, stream_id: int, flags: int
) -> None:
    ask(peer, "GET", "/info")
    peer.write(encode_frame(Kind.DATA, flags, stream_id, b"stray"))
    peer.read_to_close()
    assert peer.goaway is not None
    assert peer.goaway.code == PROTOCOL_ERROR


@pytest.mark.parametrize("end", [False, True])
def test_data_inside_a_header_block_ends_the_connection(
    peer: Peer, stream_name: str, end: bool
) -> None:
    stream = open_inserts(peer, stream_name)
    peer.write(
        encode_frame(Kind.HEADERS, END_STREAM, stream.id + 2, b"\x82")
        + data_frame(stream.id, json_lines(numbered(0, 1)), end=end)
    )
    peer.read_to_close()
    assert peer.goaway is not None
    assert peer.goaway.code == PROTOCOL_ERROR


@pytest.mark.parametrize("padding", [4, 255])
def test_padding_longer_than_its_frame_ends_the_connection(
    peer: Peer, stream_name: str, padding: int
) -> None:
    stream = open_inserts(peer, stream_name)
    peer.write(encode_frame(Kind.DATA, 0x8, stream.id, bytes([padding]) + b"row"))
    peer.read_to_close()
    assert peer.goaway is not None
    assert peer.goaway.code == PROTOCOL_ERROR


# ── headers that are wrong for one stream only ───────────────────────────────────────────────


def test_a_path_that_is_not_ascii_is_refused_and_the_connection_goes_on(
    peer: Peer, stream_name: str
) -> None:
    neighbour = open_inserts(peer, stream_name, ack="spooled")
    stream = peer.new_stream()
    block = b"\x83\x86\x04\x04/\xc3\xa9x\x41\x01h"
    peer.write(encode_frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream.id, block))
    peer.read_until(lambda: stream.over, what="a refusal")
    assert stream.reset_code == PROTOCOL_ERROR
    neighbour.send(json_lines(numbered(0, 2)), end=True)
    neighbour.read_to_end()
    assert records(neighbour) == acks(0, 2)


@pytest.mark.parametrize("extra", [[], [(":protocol", "websocket")]], ids=["tunnel", "websocket"])
def test_connect_is_refused_and_leaves_nothing_behind(
    gateway: GatewayProcess, extra: list[tuple[str, str]]
) -> None:
    with gateway.peer() as peer:
        stream = peer.new_stream()
        fields = [(":method", "CONNECT"), (":authority", "h:80"), *extra]
        if extra:
            fields += [(":path", "/query-stream"), (":scheme", "http")]
        peer.write_headers(stream.id, fields)
        peer.read_until(lambda: stream.over or peer.closed, what="a refusal")
        assert stream.reset_code is not None or peer.goaway is not None or stream.status >= 400


def test_a_window_update_of_zero_or_past_the_maximum_ends_its_stream_alone(
    peer: Peer, stream_name: str
) -> None:
    for increment, code in ((0, PROTOCOL_ERROR), (2**31 - 1, 3)):
        stream = open_inserts(peer, stream_name)
        frame = encode_frame(Kind.WINDOW_UPDATE, 0, stream.id, struct.pack(">I", increment))
        peer.write(frame)
        assert reset_code(peer, stream) == code
        assert_lives(peer, stream_name)
