"""Insert streams over real sockets: headers, acks, framing, and what an ack promises."""

import json

import pytest

from tests.frames import Setting, data_frame
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    JSON,
    Row,
    acks,
    arguments_line,
    ask,
    count,
    declare,
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


@pytest.mark.parametrize("path", ["/inserts-stream", "/insert-stream"])
def test_headers_come_after_the_arguments_line_before_any_row(
    peer: Peer, stream_name: str, path: str
) -> None:
    stream = open_inserts(peer, stream_name, path=path)
    assert stream.status == 200
    assert stream.frames == []
    assert not stream.ended
    stream.end()
    assert stream.read_to_end() == b""


def test_acks_come_in_order_while_the_request_is_still_open(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    for number in range(3):
        stream.send(json_lines(numbered(number, number + 1)))
        stream.read_lines(number + 1)
    assert records(stream) == acks(0, 3)
    assert not stream.ended
    stream.end()
    stream.read_to_end()
    assert records(stream) == acks(0, 3)


def test_each_ack_is_a_data_frame_of_its_own(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(json_lines(numbered(0, 50)), end=True)
    stream.read_to_end()
    frames = [frame for frame in stream.frames if frame]
    assert [json.loads(frame) for frame in frames] == acks(0, 50)
    assert all(frame.endswith(b"\n") and frame.count(b"\n") == 1 for frame in frames)


def test_acks_are_packed_on_request(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name, frames="coalesced", ack="spooled")
    stream.send(json_lines(numbered(0, 500)), end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 500)
    assert len(stream.frames) < 50


def test_with_accept_json_the_acks_are_one_valid_array(peer: Peer, stream_name: str) -> None:
    rows: list[Row] = [{"ID": 1, "AT": "2024-01-01"}, {"ID": "no", "AT": "2024-01-01"}]
    body = arguments_line(stream_name) + json_lines(rows)
    document = ask(peer, "POST", "/inserts-stream", body, [("accept", JSON)]).document
    assert document[0] == {"status": "ok", "seq": 0}
    assert (document[1]["@type"], document[1]["seq"]) == ("InsertError", 1)


def test_with_accept_json_no_rows_are_an_empty_array(peer: Peer, stream_name: str) -> None:
    body = arguments_line(stream_name)
    assert ask(peer, "POST", "/inserts-stream", body, [("accept", JSON)]).document == []


def test_an_insert_stream_cannot_be_had_as_something_else(peer: Peer, stream_name: str) -> None:
    body = arguments_line(stream_name)
    reply = ask(peer, "POST", "/inserts-stream", body, [("accept", "text/html")])
    assert (reply.status, reply.document["error_code"]) == (404, 40400)


def test_the_arguments_line_and_rows_may_come_in_one_frame(peer: Peer, stream_name: str) -> None:
    assert insert(peer, stream_name, numbered(0, 3)) == acks(0, 3)


def test_a_last_row_without_a_newline_counts(peer: Peer, stream_name: str) -> None:
    raw = json_lines(numbered(0, 2)).removesuffix(b"\n")
    assert insert(peer, stream_name, raw, ack="queryable") == acks(0, 2)
    assert count(peer, stream_name) == 2


def test_arguments_without_a_newline_are_read_at_the_end(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "POST", "/inserts-stream", arguments_line(stream_name).strip())
    assert (reply.status, reply.body) == (200, b"")


def test_lines_may_end_in_carriage_return_and_newline(peer: Peer, stream_name: str) -> None:
    body = (arguments_line(stream_name) + json_lines(numbered(0, 2))).replace(b"\n", b"\r\n")
    stream = peer.open("POST", "/inserts-stream")
    stream.send(body, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 2)


def test_names_in_other_spellings_are_the_same_columns(peer: Peer, stream_name: str) -> None:
    rows = b'{"id":1,"Name":"x","AT":"2024-01-01"}\n{"`ID`":2,"\\"NAME\\"":"y","at":"2024-01-02"}\n'
    assert insert(peer, stream_name.lower(), rows, ack="queryable") == acks(0, 2)
    result = query(peer, f"SELECT ID, NAME FROM {stream_name} ORDER BY ID;")
    assert result.rows == [[1, "x"], [2, "y"]]


def test_unknown_columns_are_ignored_and_absent_ones_are_null(peer: Peer, stream_name: str) -> None:
    rows = b'{"ID":1,"NO_SUCH":[1],"AT":"2024-01-01"}\n'
    assert insert(peer, stream_name, rows, ack="queryable") == acks(0, 1)
    assert query(peer, f"SELECT ID, NAME, PRICE FROM {stream_name};").rows == [[1, None, None]]


def test_every_type_comes_back_as_it_was_sent(peer: Peer) -> None:
    columns = """big BIGINT, small INTEGER, text STRING, yes BOOLEAN, real DOUBLE,
    money DECIMAL(20, 4), raw BYTES, day DATE, hour TIME, at TIMESTAMP, other TIMESTAMP,
    list ARRAY<STRING>, dict MAP<STRING, BIGINT>, nest STRUCT<a INTEGER, b STRING>"""
    name = declare(peer, columns)
    row = {
        "BIG": 2**63 - 1,
        "SMALL": -(2**31),
        "TEXT": 'ä "\\ \u2028 \U0001f600',
        "YES": False,
        "REAL": 0.1,
        "MONEY": "1234567890123456.7890",
        "RAW": "-_8=",
        "DAY": "2020-02-29",
        "HOUR": "23:59:58",
        "AT": "2024-01-01T00:00:00.123Z",
        "OTHER": "1969-12-31T23:59:59.999",
        "LIST": ["a", "b"],
        "DICT": {"k": 1, "K": None},
        "NEST": {"a": 1, "B": None},
    }
    assert insert(peer, name, [row], ack="queryable") == acks(0, 1)
    stored = row | {
        "MONEY": 1234567890123456.7890,
        "RAW": "+/8=",
        "AT": "2024-01-01T00:00:00.123",
        "NEST": {"A": 1, "B": None},
    }
    stream = open_query(peer, f"SELECT * FROM {name};")
    header = header_of(stream)
    assert b",1234567890123456.7890," in stream.read_to_end()
    assert dict(zip(header["columnNames"], records(stream)[1], strict=True)) == stored
    assert header["columnTypes"][5] == "DECIMAL(20, 4)"
    assert header["columnTypes"][-1] == "STRUCT<`A` INTEGER, `B` STRING>"


def test_a_row_without_a_declared_time_is_stamped_on_arrival(peer: Peer) -> None:
    name = declare(peer, "id BIGINT", timestamp=None)
    assert insert(peer, name, b'{"ID":7}\n', ack="queryable") == acks(0, 1)
    sql = f'SELECT "ID" FROM "{name.lower()}" WHERE __time > TIMESTAMP \'2024-01-01 00:00:00\';'
    assert query(peer, sql).rows == [[7]]


@pytest.mark.parametrize("sizes", [[1], [7, 1, 64, 3], [1000, 1, 16_384], [65_000]])
def test_seq_is_dense_however_the_bytes_are_cut(
    peer: Peer, stream_name: str, sizes: list[int]
) -> None:
    rows = 100 if sizes == [1] else 2000
    stream = open_inserts(peer, stream_name, ack="queryable")
    stream.send(json_lines(numbered(0, rows)), sizes=sizes, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, rows)
    result = query(peer, f"SELECT COUNT(*), COUNT(DISTINCT ID), MAX(ID) FROM {stream_name};")
    assert result.rows == [[rows, rows, rows - 1]]


def test_bytes_may_arrive_one_by_one(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    rows = json_lines(numbered(0, 2))
    raw = data_frame(stream.id, rows[:50]) + data_frame(stream.id, rows[50:], end=True)
    peer.write_apart(raw[at : at + 1] for at in range(len(raw)))
    stream.read_to_end()
    assert records(stream) == acks(0, 2)


def test_a_shut_window_holds_the_acks_back_and_an_opened_one_lets_them_go(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with gateway.peer(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as slow:
        stream = open_inserts(slow, stream_name, ack="queryable")
        stream.send(json_lines(numbered(0, 100)), end=True)
        until(lambda: count(peer, stream_name) == 100, "the rows are committed")
        slow.ping()
        assert stream.body == b""
        stream.open_window(30)
        slow.read_until(lambda: len(stream.body) == 30, what="as much as the window takes")
        stream.open_window(1 << 16)
        stream.read_to_end()
        assert records(stream) == acks(0, 100)


def test_padding_is_no_part_of_the_rows(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    for row in numbered(0, 3):
        stream.send_frames([json_lines([row])], padding=255)
    stream.send_frames([b""], padding=0, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 3)


def test_trailers_end_a_request(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(json_lines(numbered(0, 2)))
    stream.send_trailers([("x-checksum", "1")])
    stream.read_to_end()
    assert records(stream) == acks(0, 2)


def test_many_streams_share_one_connection(peer: Peer, stream_name: str) -> None:
    streams = [open_inserts(peer, stream_name) for _ in range(50)]
    for turn in range(4):
        for number, stream in enumerate(streams):
            first = number * 100 + turn * 5
            stream.send(json_lines(numbered(first, first + 5)))
    for stream in reversed(streams):
        stream.end()
    for stream in streams:
        stream.read_to_end()
        assert records(stream) == acks(0, 20)
    stored = query(peer, f"SELECT COUNT(*), COUNT(DISTINCT ID) FROM {stream_name};")
    assert stored.rows == [[1000, 1000]]


def test_a_client_that_leaves_loses_no_acked_row(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with gateway.peer() as leaver:
        stream = open_inserts(leaver, stream_name)
        stream.send(json_lines(numbered(0, 10)))
        stream.read_lines(10)
        leaver.abort()
    assert count(peer, stream_name) == 10


def test_a_reset_stream_leaves_its_neighbours_alone(peer: Peer, stream_name: str) -> None:
    first, second = (open_inserts(peer, stream_name) for _ in range(2))
    first.send(json_lines(numbered(0, 1)))
    first.reset()
    second.send(json_lines(numbered(1, 3)), end=True)
    second.read_to_end()
    assert records(second) == acks(0, 2)


def test_queryable_means_that_a_select_sees_the_row_now(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name, ack="queryable")
    for number in range(5):
        stream.send(json_lines(numbered(number, number + 1)))
        stream.read_lines(number + 1)
        assert count(peer, stream_name) == number + 1
    stream.end()
    stream.read_to_end()


def test_an_unknown_ack_level_is_refused_by_name(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "POST", "/inserts-stream", arguments_line(stream_name, ack="soon"))
    assert (reply.status, reply.document["error_code"]) == (400, 40000)
    assert "'soon'" in reply.document["message"]


def test_a_datasource_is_a_target_without_being_declared(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 2), ack="queryable")
    ksql(peer, f"DROP STREAM {stream_name};")
    datasource = stream_name.lower()
    rows = b'{"__time":"2024-01-01T00:00:00Z","ID":5,"name":"found"}\n'
    assert insert(peer, datasource, rows, ack="queryable") == acks(0, 1)
    result = query(peer, f'SELECT ID, NAME FROM "{datasource}" ORDER BY ID;')
    assert result.rows == [[0, "row 0"], [1, "row 1"], [5, "found"]]
