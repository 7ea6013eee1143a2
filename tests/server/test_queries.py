"""Query streams over real sockets: pull and push, their headers, rows, ends and refusals."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    DELIMITED,
    JSON,
    Row,
    arguments_line,
    ask,
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
from tests.streams import Stream

AT = "2024-05-06T07:08:09.010"


def rows_of(values: Sequence[tuple[int, str | None, float | None]]) -> list[Row]:
    return [{"ID": n, "NAME": name, "PRICE": price, "AT": AT} for n, name, price in values]


def close(peer: Peer, query_id: str) -> tuple[int, Any]:
    reply = ask(peer, "POST", "/close-query", {"queryId": query_id})
    return reply.status, reply.document


def live_ids(peer: Peer) -> set[str]:
    return {entry["id"] for entry in ksql(peer, "LIST QUERIES;")[0]["queries"]}


# ── pull ─────────────────────────────────────────────────────────────────────────────────────


def test_a_pull_query_gives_a_header_and_the_rows(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, rows_of([(1, "a", 1.5), (2, None, None)]), ack="queryable")
    stream = open_query(peer, f"SELECT * FROM {stream_name} ORDER BY id;")
    stream.read_to_end()
    header, *rows = records(stream)
    assert list(header) == ["queryId", "columnNames", "columnTypes"]
    assert header["queryId"].startswith("query_")
    assert header["columnNames"] == ["ID", "NAME", "SMALL", "OK", "PRICE", "AMOUNT", "AT"]
    assert header["columnTypes"] == [
        *("BIGINT", "STRING", "INTEGER", "BOOLEAN", "DOUBLE", "DECIMAL(6, 2)", "TIMESTAMP"),
    ]
    assert rows == [[1, "a", None, None, 1.5, None, AT], [2, None, None, None, None, None, AT]]
    assert stream.headers is not None
    assert stream.headers["content-type"] == DELIMITED


def test_each_row_is_a_data_frame_of_its_own(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 20), ack="queryable")
    stream = open_query(peer, f"SELECT id FROM {stream_name};")
    stream.read_to_end()
    assert [frame.count(b"\n") for frame in stream.frames if frame] == [1] * 21


def test_a_pull_query_aggregates(peer: Peer, stream_name: str) -> None:
    values = [(1, "a", 1.0), (2, "a", 2.0), (3, "b", None), (4, None, 5.0)]
    insert(peer, stream_name, rows_of(values), ack="queryable")
    sql = f"""SELECT name, COUNT(*) AS n, SUM(price) AS total, MAX(id) FROM {stream_name}
    WHERE id < 4 GROUP BY name HAVING COUNT(*) > 0 ORDER BY n DESC LIMIT 5;"""
    result = query(peer, sql)
    assert result.rows == [["a", 2, 3.0, 2], ["b", 1, None, 3]]
    assert result.header["columnNames"][1:3] == ["n", "total"]
    assert result.header["columnTypes"][1] == "BIGINT"


def test_a_pull_query_knows_the_time(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, rows_of([(1, "a", 1.5)]), ack="queryable")
    sql = f"""SELECT TIME_FLOOR(at, 'PT1H'), FLOOR(at TO DAY) FROM {stream_name}
    WHERE at >= TIMESTAMP '2024-05-06 00:00:00' AND at < TIMESTAMP '2024-05-07 00:00:00';"""
    ((hour, day),) = query(peer, sql).rows
    assert (hour[:19], day[:19]) == ("2024-05-06T07:00:00", "2024-05-06T00:00:00")


def test_a_large_pull_result_arrives_whole(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 20_000), ack="queryable", frames="coalesced")
    result = query(peer, f"SELECT id, name FROM {stream_name} ORDER BY id;")
    assert result.rows == [[n, f"row {n}"] for n in range(20_000)]


def test_a_declared_stream_without_a_datasource_has_a_header_and_no_rows(
    peer: Peer, stream_name: str
) -> None:
    result = query(peer, f"SELECT id, name FROM {stream_name};")
    assert result.header["columnNames"] == ["ID", "NAME"]
    assert result.header["columnTypes"] == ["BIGINT", "STRING"]
    assert result.rows == []


def test_with_accept_json_a_pull_result_is_one_valid_array(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 3), ack="queryable")
    sql = f"SELECT id FROM {stream_name} ORDER BY id;"
    reply = ask(peer, "POST", "/query-stream", {"sql": sql}, [("accept", JSON)])
    assert reply.headers["content-type"] == JSON
    assert b"\n" not in reply.body
    assert reply.document[0]["columnNames"] == ["ID"]
    assert reply.document[1:] == [[0], [1], [2]]


def test_session_variables_are_put_into_the_text(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 3), ack="queryable")
    document = {
        "sql": "SELECT id FROM ${s} WHERE name = '${n}';",
        "sessionVariables": {"s": stream_name, "n": "row 2"},
    }
    lines = ask(peer, "POST", "/query-stream", document).body.splitlines()
    assert json.loads(lines[1]) == [2]


REFUSED = {
    "a syntax error": ("SELECTT * FROM {};", "line 1:1: Syntax Error\nUnknown statement 'SELECTT'"),
    "an error in the middle": ("SELECT FROM WHERE {};", ""),
    "an unknown source": ("SELECT * FROM no_such_source;", "no_such_source"),
    "an unknown push source": ("SELECT * FROM no_such_source EMIT CHANGES;", "NO_SUCH_SOURCE"),
    "an unknown column": ("SELECT no_such_column FROM {};", "no_such_column"),
    "an unknown push column": ("SELECT no_such FROM {} EMIT CHANGES;", "NO_SUCH"),
    "two statements": (
        "SELECT * FROM {}; SELECT * FROM {};",
        "Expected exactly one KSQL statement; found 2 instead",
    ),
    "no statement": ("", ""),
    "a definition": ("CREATE STREAM x (a INT);", "Neither a query nor a print statement"),
    "a drop": ("DROP STREAM {};", "Neither a query nor a print statement"),
    "an unknown function": ("SELECT no_such_function(id) FROM {};", "NO_SUCH_FUNCTION"),
    "an unknown push function": ("SELECT nope(id) FROM {} EMIT CHANGES;", "NOPE"),
    "an aggregate in a push query": ("SELECT COUNT(*) FROM {} EMIT CHANGES;", "COUNT"),
    "a GROUP BY in a push query": ("SELECT id FROM {} GROUP BY id EMIT CHANGES;", "GROUP BY"),
    "a file": ("SELECT * FROM read_csv('/etc/passwd');", "read_csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_query_that_cannot_run_is_a_status_that_says_why(
    peer: Peer, stream_name: str, case: str
) -> None:
    template, expected = REFUSED[case]
    insert(peer, stream_name, numbered(0, 1), ack="queryable")
    sql = template.replace("{}", stream_name)
    reply = ask(peer, "POST", "/query-stream", {"sql": sql})
    assert reply.status == 400, reply.body
    assert reply.headers["content-type"] == JSON
    assert (reply.document["@type"], reply.document["error_code"]) == ("statement_error", 40001)
    assert expected.lower() in reply.document["message"].lower()
    assert b"Traceback" not in reply.body


def test_nothing_acceptable_is_a_404(peer: Peer, stream_name: str) -> None:
    sql = f"SELECT * FROM {stream_name};"
    reply = ask(peer, "POST", "/query-stream", {"sql": sql}, [("accept", "blahblah")])
    assert (reply.status, reply.document["error_code"]) == (404, 40400)


# ── push ─────────────────────────────────────────────────────────────────────────────────────


def test_the_header_of_a_push_query_comes_at_once_from_an_idle_source(
    peer: Peer, stream_name: str
) -> None:
    stream = open_query(peer, f"SELECT id, at FROM {stream_name} EMIT CHANGES;")
    header = header_of(stream)
    assert header["queryId"].startswith(f"transient_{stream_name}_")
    assert header["columnNames"] == ["ID", "AT"]
    assert header["columnTypes"] == ["BIGINT", "TIMESTAMP"]
    assert not stream.ended
    assert header["queryId"] in live_ids(peer)


def test_a_push_query_gives_rows_as_they_are_inserted(peer: Peer, stream_name: str) -> None:
    push = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;")
    header_of(push)
    inserts = open_inserts(peer, stream_name)
    for number in range(3):
        inserts.send(json_lines(numbered(number, number + 1)))
        push.read_lines(number + 2)
    assert [row[:2] for row in records(push)[1:]] == [[n, f"row {n}"] for n in range(3)]
    assert not push.ended


def test_a_push_query_filters_projects_and_ends_at_its_limit(peer: Peer, stream_name: str) -> None:
    sql = f"""SELECT UCASE(name) AS loud, id * 2 AS twice, price IS NULL FROM {stream_name}
    WHERE id >= 2 AND name LIKE 'row%' EMIT CHANGES LIMIT 3;"""
    push = open_query(peer, sql)
    header = header_of(push)
    insert(peer, stream_name, numbered(0, 10))
    push.read_to_end()
    rows = records(push)[1:]
    assert header["columnNames"][:2] == ["LOUD", "TWICE"]
    assert [row[:2] for row in rows] == [["ROW 2", 4], ["ROW 3", 6], ["ROW 4", 8]]
    assert [row[2] for row in rows] == [False] * 3
    assert header["queryId"] not in live_ids(peer)


def test_latest_gives_later_rows_only_and_earliest_all_of_them(
    peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 3))
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES"
    early = open_query(peer, f"{sql} LIMIT 5;", offset="earliest")
    late = open_query(peer, f"{sql} LIMIT 2;", offset="latest")
    default = open_query(peer, f"{sql} LIMIT 2;")
    for stream in (early, late, default):
        header_of(stream)
    insert(peer, stream_name, numbered(3, 5))
    for stream, expected in ((early, range(5)), (late, range(3, 5)), (default, range(3, 5))):
        stream.read_to_end()
        assert records(stream)[1:] == [[n] for n in expected]


def test_an_offset_of_another_word_is_refused(peer: Peer, stream_name: str) -> None:
    stream = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;", offset="yesterday")
    stream.read_to_end()
    assert (stream.status, json.loads(stream.body)["error_code"]) == (400, 40000)


def test_nulls_and_every_type_reach_a_push_query(peer: Peer) -> None:
    name = declare(peer, "a BIGINT, b DECIMAL(6, 2), c BOOLEAN, d ARRAY<STRING>, at TIMESTAMP")
    push = open_query(peer, f"SELECT * FROM {name} EMIT CHANGES LIMIT 2;")
    header_of(push)
    rows: list[Row] = [
        {"A": 2**63 - 1, "B": "10.50", "C": True, "D": ["x", "y"], "AT": AT},
        {"AT": AT},
    ]
    insert(peer, name, rows)
    push.read_to_end()
    assert records(push)[1] == [2**63 - 1, 10.5, True, ["x", "y"], AT]
    assert b",10.50," in push.body
    assert records(push)[2] == [None, None, None, None, AT]


def test_with_accept_json_a_push_result_is_one_valid_array(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 3))
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES LIMIT 3;"
    push = open_query(peer, sql, offset="earliest", headers=[("accept", JSON)])
    document = json.loads(push.read_to_end())
    assert document[1:] == [[0], [1], [2]]
    endless = open_query(
        peer, sql.replace(" LIMIT 3", ""), offset="earliest", headers=[("accept", JSON)]
    )
    peer.read_until(lambda: endless.body.endswith(b"[2]"), what="the header and three rows")
    query_id = json.loads(endless.body + b"]")[0]["queryId"]
    assert close(peer, query_id) == (200, {})
    assert json.loads(endless.read_to_end())[1:] == [[0], [1], [2]]


def test_closing_a_query_ends_its_stream_well_and_only_once(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    push = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;")
    query_id = header_of(push)["queryId"]
    with gateway.peer() as other:
        assert close(other, query_id) == (200, {})
    push.read_to_end()
    assert len(records(push)) == 1
    status, document = close(peer, query_id)
    assert (status, document["error_code"]) == (400, 40000)
    assert document["message"] == f"No query with id {query_id}"


def test_terminate_ends_a_push_query_too(peer: Peer, stream_name: str) -> None:
    push = open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;")
    query_id = header_of(push)["queryId"]
    (entity,) = ksql(peer, f"TERMINATE {query_id};")
    assert (entity["@type"], entity["wasTerminated"]) == ("terminate_query", True)
    push.read_to_end()


@pytest.mark.parametrize("body", [{"foo": "bar"}, {"queryId": None}, {"queryId": {}}, []])
def test_a_close_without_an_id_is_refused(peer: Peer, body: object) -> None:
    reply = ask(peer, "POST", "/close-query", body)
    assert (reply.status, reply.document["error_code"]) == (400, 40000)


def test_a_reset_or_a_disconnect_ends_the_query(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with gateway.peer() as leaver, gateway.peer() as breaker:
        sql = f"SELECT * FROM {stream_name} EMIT CHANGES;"
        reset = open_query(peer, sql)
        gone = [reset, open_query(leaver, sql), open_query(breaker, sql)]
        ids = {header_of(stream)["queryId"] for stream in gone}
        assert ids <= live_ids(peer)
        reset.reset()
        leaver.close()
        breaker.abort()
        until(lambda: not ids & live_ids(peer), "queries of clients that left are gone")


def test_many_subscribers_get_every_row_once_in_one_order(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    pushes: list[Stream] = []
    for number in range(12):
        sql = f"SELECT id FROM {stream_name} WHERE id % 3 = {number % 3} EMIT CHANGES LIMIT 100;"
        pushes.append(open_query(peer, sql))
        header_of(pushes[-1])
    insert(peer, stream_name, numbered(0, 300))
    for number, push in enumerate(pushes):
        push.read_to_end()
        assert records(push)[1:] == [[n] for n in range(number % 3, 300, 3)]


def test_a_push_query_on_a_table_of_another_case_finds_it(peer: Peer, stream_name: str) -> None:
    push = open_query(peer, f"select `ID` from {stream_name.lower()} emit changes limit 1;")
    header_of(push)
    stream = peer.open("POST", "/inserts-stream")
    stream.send(arguments_line(stream_name.lower()) + json_lines(numbered(4, 5)), end=True)
    push.read_to_end()
    assert records(push)[1:] == [[4]]
