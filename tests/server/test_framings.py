"""The framings of ``/query-stream`` and ``/query`` over real sockets, HTTP/2 and HTTP/1.1.

Tests that stand for a compatibility vector of the protocol notes (§8) carry its number.
"""

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.http.app import LANE_PATHS
from gateway.seams import QueryKind, SourceKind
from protocol.errors import InternalError as KsqlInternal
from tests.doors import opened_door
from tests.frames import Setting
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.scripted import ScriptedQuery, scripted_app
from tests.server.ksqldb import (
    DELIMITED,
    JSON,
    Reply,
    ask,
    declare,
    header_of,
    insert,
    ksql,
    numbered,
    open_query,
    records,
    unique,
    until,
)
from tests.streams import Stream

V1 = "application/vnd.ksql.v1+json"
INTERNAL_ERROR = 2
"""RFC 9113 §7"""


@pytest.fixture
def http1(gateway: GatewayProcess) -> Iterator[http.client.HTTPConnection]:
    """A connection that speaks HTTP/1.1."""
    with contextlib.closing(http.client.HTTPConnection(*gateway.address, timeout=15)) as opened:
        yield opened


@pytest.fixture(scope="module")
def filled(gateway: GatewayProcess) -> str:
    """A stream of three rows that nobody adds to."""
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 3), ack="queryable")
    return name


@pytest.fixture(scope="module")
def table(gateway: GatewayProcess) -> str:
    """A table of two rows with a key."""
    with gateway.peer() as peer:
        name = unique("T")
        ksql(
            peer,
            f"CREATE TABLE {name} (k STRING PRIMARY KEY, n BIGINT) "
            f"WITH (kafka_topic='{name.lower()}', value_format='JSON');",
        )
        insert(peer, name, [{"K": "a", "N": 1}, {"K": "b", "N": 2}], ack="queryable")
    return name


def accept(kind: str | None) -> list[tuple[str, str]]:
    return [] if kind is None else [("accept", kind)]


def ask_query(
    peer: Peer, sql: str, kind: str | None, path: str = "/query-stream", **properties: str
) -> Reply:
    """One query, its text where the path wants it."""
    if path == "/query":
        document: dict[str, Any] = {"ksql": sql, "streamsProperties": properties}
    else:
        document = {"sql": sql, "properties": properties}
    return ask(peer, "POST", path, document, accept(kind))


def ask_http1(
    http1: http.client.HTTPConnection, sql: str, kind: str | None, path: str = "/query-stream"
) -> http.client.HTTPResponse:
    body = json.dumps({"ksql" if path == "/query" else "sql": sql})
    http1.request("POST", path, body=body, headers=dict(accept(kind)))
    return http1.getresponse()


def schema_of(element: Any) -> str:
    schema: str = element["header"]["schema"]
    return schema


# ── which framing ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["HTTP/2", "HTTP/1.1"])
@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("/query-stream", None, DELIMITED),
        ("/query-stream", "*/*", DELIMITED),
        ("/query-stream", DELIMITED, DELIMITED),
        ("/query-stream", JSON, JSON),
        ("/query-stream", V1, V1),
        ("/query", None, V1),
        ("/query", JSON, V1),
        ("/query", V1, V1),
        ("/query", "*/*", DELIMITED),
        ("/query", DELIMITED, DELIMITED),
    ],
)
def test_accept_decides_the_framing_and_the_content_type(
    peer: Peer,
    http1: http.client.HTTPConnection,
    filled: str,
    version: str,
    path: str,
    kind: str | None,
    expected: str,
) -> None:
    sql = f"SELECT id FROM {filled} ORDER BY id;"
    if version == "HTTP/2":
        reply = ask_query(peer, sql, kind, path)
        content_type, body = reply.headers["content-type"], reply.body
    else:
        response = ask_http1(http1, sql, kind, path)
        assert response.headers["transfer-encoding"] == "chunked"
        content_type, body = str(response.headers["content-type"]), response.read()
    assert content_type == expected
    if expected == DELIMITED:
        assert body.endswith(b"}\n[0]\n[1]\n[2]\n")
    elif expected == JSON:
        assert body.endswith(b"},[0],[1],[2]]")
        assert b"\n" not in body
    else:
        rows = b",\n".join(b'{"row":{"columns":[%d]}}' % n for n in range(3))
        assert body.endswith(b",\n" + rows + b',\n{"finalMessage":"Query Completed"}]')


def test_vector_24_no_matching_accept_header_is_a_404(peer: Peer, filled: str) -> None:
    for path, kind in (("/query-stream", "blahblah"), ("/query", "text/html")):
        reply = ask_query(peer, f"SELECT id FROM {filled};", kind, path)
        assert (reply.status, reply.document["error_code"]) == (404, 40400)
        assert DELIMITED in reply.document["message"]


def test_vector_25_without_accept_a_query_is_delimited(peer: Peer, filled: str) -> None:
    reply = ask_query(peer, f"SELECT id FROM {filled};", None)
    assert [json.loads(line) for line in reply.body.splitlines()][1:] == [[0], [1], [2]]


def test_vector_26_a_query_may_ask_for_delimited(peer: Peer, filled: str) -> None:
    asked, default = (
        ask_query(peer, f"SELECT id FROM {filled} ORDER BY id;", kind) for kind in (DELIMITED, None)
    )
    assert asked.body.splitlines()[1:] == default.body.splitlines()[1:]
    assert asked.headers["content-type"] == default.headers["content-type"] == DELIMITED


def test_vector_27_a_query_may_ask_for_one_json_array(peer: Peer, filled: str) -> None:
    document = ask_query(peer, f"SELECT id FROM {filled};", JSON).document
    assert len(document) == 4
    assert document[0]["columnNames"] == ["ID"]


@pytest.mark.parametrize("path", ["/query-stream", "/query"])
def test_vector_65_anything_is_delimited_on_both_paths_and_both_versions(
    peer: Peer, http1: http.client.HTTPConnection, filled: str, path: str
) -> None:
    sql = f"SELECT id, name FROM {filled} WHERE id = 1;"
    over_2 = ask_query(peer, sql, "*/*", path).body
    over_1 = ask_http1(http1, sql, "*/*", path).read()
    for body in (over_2, over_1):
        assert body.endswith(b'}\n[1,"row 1"]\n')


# ── v1+json ──────────────────────────────────────────────────────────────────────────────────


def test_vector_66_a_push_query_with_a_limit_says_that_it_was_reached(
    peer: Peer, filled: str
) -> None:
    sql = f"SELECT id FROM {filled} EMIT CHANGES LIMIT 2;"
    reply = ask_query(peer, sql, V1, "/query", **{"auto.offset.reset": "earliest"})
    lines = reply.body.split(b"\n")
    assert len(lines) == 4
    assert schema_of(json.loads(lines[0][1:-1])) == "`ID` BIGINT"
    assert lines[1:3] == [b'{"row":{"columns":[0]}},', b'{"row":{"columns":[1]}},']
    assert lines[3] == b'{"finalMessage":"Limit Reached"}]'


def test_vector_67_a_pull_query_of_a_stream_says_that_it_completed(peer: Peer, filled: str) -> None:
    reply = ask_query(peer, f"SELECT * FROM {filled} WHERE id = 2;", V1)
    header, row, last = reply.document
    assert schema_of(header).startswith("`ID` BIGINT, `NAME` STRING, `SMALL` INTEGER")
    assert row["row"]["columns"][:2] == [2, "row 2"]
    assert last == {"finalMessage": "Query Completed"}


def test_a_pull_query_of_a_table_has_its_key_marked_and_no_final_message(
    peer: Peer, table: str
) -> None:
    reply = ask_query(peer, f"SELECT *, n + 1 AS more FROM {table} ORDER BY n;", V1)
    header, *rows = reply.document
    assert schema_of(header).startswith("`K` STRING KEY, `N` BIGINT, `more` ")
    assert [element["row"]["columns"] for element in rows] == [["a", 1, 2], ["b", 2, 3]]
    empty = ask_query(peer, f"SELECT k FROM {table} WHERE n > 5;", V1)
    assert empty.body.endswith(b'"schema":"`K` STRING KEY"}}]')
    assert b"\n" not in empty.body


def test_a_push_query_of_a_table_marks_no_key(peer: Peer, table: str) -> None:
    sql = f"SELECT k, n FROM {table} EMIT CHANGES LIMIT 2;"
    document = ask_query(peer, sql, V1, **{"auto.offset.reset": "earliest"}).document
    assert schema_of(document[0]) == "`K` STRING, `N` BIGINT"
    assert document[-1] == {"finalMessage": "Limit Reached"}


def test_an_undeclared_datasource_has_no_final_message(peer: Peer, filled: str) -> None:
    sql = f"""SELECT COUNT(*) AS "n" FROM "{filled.lower()}";"""
    assert ask_query(peer, sql, V1).body.endswith(b',\n{"row":{"columns":[3]}}]')


def test_the_header_of_an_idle_push_query_is_a_whole_line_at_once(
    peer: Peer, http1: http.client.HTTPConnection, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    stream = open_query(peer, sql, headers=accept(V1))
    (line,) = stream.read_lines(1)
    assert schema_of(json.loads(line[1:-1])) == "`ID` BIGINT"
    assert len(stream.frames) == 1
    line_1 = ask_http1(http1, sql, JSON, "/query").readline()
    assert schema_of(json.loads(line_1[1:-2])) == "`ID` BIGINT"


def test_rows_of_a_push_query_are_whole_lines_at_once(
    peer: Peer, http1: http.client.HTTPConnection, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    stream = open_query(peer, sql, headers=accept(V1))
    stream.read_lines(1)
    over_1 = ask_http1(http1, sql, V1)
    over_1.readline()
    for number in range(2):
        insert(peer, stream_name, numbered(number, number + 1))
        expected = b'{"row":{"columns":[%d]}},' % number
        assert stream.read_lines(number + 2)[-1] == expected
        assert over_1.readline() == expected + b"\n"


def test_a_query_that_is_closed_says_that_it_completed(peer: Peer, stream_name: str) -> None:
    stream = open_query(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;", headers=accept(V1))
    (line,) = stream.read_lines(1)
    query_id = json.loads(line[1:-1])["header"]["queryId"]
    assert ask(peer, "POST", "/close-query", {"queryId": query_id}).status == 200
    stream.read_to_end()
    assert json.loads(stream.body)[1:] == [{"finalMessage": "Query Completed"}]


def test_a_limit_of_nothing_ends_at_once(peer: Peer, filled: str) -> None:
    document = ask_query(peer, f"SELECT id FROM {filled} EMIT CHANGES LIMIT 0;", V1).document
    assert document[1:] == [{"finalMessage": "Limit Reached"}]


def test_rows_are_packed_in_both_json_framings(peer: Peer) -> None:
    name = declare(peer)
    insert(peer, name, numbered(0, 5000), ack="queryable")
    for kind in (JSON, V1):
        stream = open_query(peer, f"SELECT id FROM {name};", headers=accept(kind))
        stream.read_to_end()
        assert len(json.loads(stream.body)) >= 5001
        assert len([frame for frame in stream.frames if frame]) < 100


# ── /query's own body ────────────────────────────────────────────────────────────────────────


def test_query_takes_ksqldb_s_older_body(peer: Peer, filled: str) -> None:
    document = {
        "ksql": "SELECT id FROM ${s} EMIT CHANGES LIMIT 1;",
        "streamsProperties": {"auto.offset.reset": "earliest"},
        "sessionVariables": {"s": filled},
        "requestProperties": {"request.ksql.internal.request": False},
        "commandSequenceNumber": 3,
        "unknown": [],
    }
    reply = ask(peer, "POST", "/query", document, accept(JSON))
    assert [element.get("row") for element in reply.document] == [None, {"columns": [0]}, None]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 40000),
        (b"[]", 40000),
        (b'{"ksql":[]}', 40000),
        (b"{}", 40001),
        (b'{"sql":"SELECT 1;"}', 40001),
        (b'{"ksql":"PRINT t;"}', 40001),
        (b'{"ksql":"LIST STREAMS;"}', 40001),
        (b'{"ksql":"SELECT 1; SELECT 2;"}', 40001),
    ],
)
def test_what_query_cannot_serve_is_a_400_in_json(
    peer: Peer, http1: http.client.HTTPConnection, body: bytes, code: int
) -> None:
    reply = ask(peer, "POST", "/query", body)
    assert (reply.status, reply.document["error_code"]) == (400, code)
    http1.request("POST", "/query", body=body)
    response = http1.getresponse()
    assert (response.status, json.loads(response.read())["error_code"]) == (400, code)


def test_a_body_over_the_limit_is_refused_by_query_too(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        stream = peer.open("POST", "/query", [("content-length", str(11 << 20))])
        stream.read_to_end()
        assert (stream.status, json.loads(stream.body)["error_code"]) == (413, 41300)


# ── a query that breaks ──────────────────────────────────────────────────────────────────────

BREAKS = ScriptedQuery(
    chunks=[b"[0]\n[1]\n", b"[2]\n"], error=KsqlInternal("java.lang.RuntimeException: Failure")
)


def elements_of(stream: Stream, kind: str) -> list[Any]:
    if kind == DELIMITED:
        assert stream.body.endswith(b"\n")
        return records(stream)
    # In v1+json the line is whole: after a reset the Java client reads no unfinished one.
    assert stream.body.endswith(b"}\n]" if kind == V1 else b"}]")
    found: list[Any] = json.loads(stream.body)
    return found


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/query-stream", DELIMITED), ("/query-stream", JSON), ("/query-stream", V1), ("/query", V1)],
)
@pytest.mark.parametrize("query_kind", [QueryKind.PUSH, QueryKind.PULL])
@pytest.mark.parametrize("source_kind", [SourceKind.STREAM, SourceKind.TABLE])
def test_vector_11_an_error_among_rows_is_the_last_element_and_then_a_reset(
    path: str, kind: str, query_kind: QueryKind, source_kind: SourceKind
) -> None:
    query = replace(BREAKS, kind=query_kind, source_kind=source_kind)
    with opened_door(scripted_app(query), lane_paths=LANE_PATHS) as door, door.peer() as peer:
        stream = peer.open("POST", path, accept(kind))
        stream.send(b'{"sql":"SELECT 1;","ksql":"SELECT 1;"}', end=True)
        peer.read_until(lambda: stream.over, what="the end")
        assert (stream.status, stream.reset_code) == (200, INTERNAL_ERROR)
        _, *rows, error = elements_of(stream, kind)
        values = [row["row"]["columns"] for row in rows] if kind == V1 else rows
        assert values == [[0], [1], [2]]
        error = error["errorMessage"] if kind == V1 else error
        assert error == {
            "@type": "generic_error",
            "error_code": 50000,
            "message": "java.lang.RuntimeException: Failure",
        }
        assert query.closed, "the query is gone"
        peer.ping()


@pytest.mark.parametrize("kind", [DELIMITED, JSON, V1])
def test_over_http1_an_error_among_rows_ends_the_body_well(kind: str) -> None:
    with opened_door(scripted_app(BREAKS)) as door:
        http1 = http.client.HTTPConnection(*door.address, timeout=15)
        with contextlib.closing(http1):
            body = ask_http1(http1, "SELECT 1;", kind).read()
            if kind == DELIMITED:
                assert json.loads(body.splitlines()[-1])["error_code"] == 50000
            else:
                assert len(json.loads(body)) == 5
            assert ask_http1(http1, "SELECT 1;", kind).read() == body, "the connection goes on"


def test_the_error_waits_for_a_reader_with_a_shut_window() -> None:
    app = scripted_app(replace(BREAKS))
    with (
        opened_door(app, lane_paths=LANE_PATHS) as door,
        door.peer(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as slow,
    ):
        stream = open_query(slow, "SELECT 1;", headers=accept(V1))
        stream.read_headers()
        for _ in range(3):
            slow.ping()
        assert not stream.over
        stream.open_window(1 << 16)
        slow.read_until(lambda: stream.over, what="the end")
        assert json.loads(stream.body)[-1]["errorMessage"]["error_code"] == 50000
        assert stream.reset_code == INTERNAL_ERROR


def test_a_broken_query_whose_reader_left_leaves_nothing_behind() -> None:
    query = replace(BREAKS)
    app = scripted_app(query)
    with opened_door(app, lane_paths=LANE_PATHS) as door, door.peer() as other:
        other.ping()
        before = door.tasks()
        with door.peer(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as slow:
            open_query(slow, "SELECT 1;", headers=accept(V1)).read_headers()
        until(lambda: door.tasks() <= before, "the request is over")
        assert query.closed


@pytest.mark.parametrize("kind", [DELIMITED, JSON, V1])
def test_a_pull_query_that_breaks_before_its_first_row_is_a_status(kind: str) -> None:
    query = replace(BREAKS, chunks=[], kind=QueryKind.PULL)
    with opened_door(scripted_app(query), lane_paths=LANE_PATHS) as door, door.peer() as peer:
        reply = ask_query(peer, "SELECT 1;", kind)
        assert (reply.status, reply.document["error_code"]) == (500, 50000)
        assert reply.headers["content-type"] == JSON
        until(lambda: query.closed > 0, "the query is closed")


@pytest.mark.parametrize("path", ["/query-stream", "/query"])
def test_vector_14_a_fault_inside_is_a_500_that_says_nothing_of_it(path: str) -> None:
    app = scripted_app(RuntimeError("a secret"))
    with opened_door(app, lane_paths=LANE_PATHS) as door, door.peer() as peer:
        reply = ask_query(peer, "SELECT 1;", None, path)
        assert (reply.status, reply.document["error_code"]) == (500, 50000)
        assert reply.document["message"].startswith(
            "The server encountered an internal error when processing the query."
        )
        assert b"secret" not in reply.body


def test_a_client_that_leaves_over_http1_ends_its_query(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    leaver = http.client.HTTPConnection(*gateway.address, timeout=15)
    response = ask_http1(leaver, f"SELECT * FROM {stream_name} EMIT CHANGES;", JSON, "/query")
    query_id = json.loads(response.readline()[1:-2])["header"]["queryId"]

    def lives() -> bool:
        return query_id in {q["id"] for q in ksql(peer, "LIST QUERIES;")[0]["queries"]}

    assert lives()
    response.close()
    leaver.close()
    until(lambda: not lives(), "the query has gone with its client")


def test_vector_13_a_query_that_cannot_be_read_is_a_400(peer: Peer, filled: str) -> None:
    for sql in (f"SELECT * FROM {filled} WHERE;", f"SELECT FROM {filled} EMIT CHANGES;"):
        for kind in (DELIMITED, V1):
            reply = ask_query(peer, sql, kind)
            assert (reply.status, reply.document["error_code"]) == (400, 40001)


def test_vector_69_a_push_query_in_delimited_ends_without_a_word(peer: Peer, filled: str) -> None:
    stream = open_query(peer, f"SELECT id FROM {filled} EMIT CHANGES;", offset="earliest")
    query_id = header_of(stream)["queryId"]
    stream.read_lines(4)
    assert ask(peer, "POST", "/close-query", {"queryId": query_id}).status == 200
    stream.read_to_end()
    assert records(stream)[1:] == [[0], [1], [2]]
