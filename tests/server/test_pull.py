"""The ends of a pull query over real sockets: every one but the proven end is an error.

A query that gives rows for ever (`FLOWING`) and one that works for ever before its first
(`SILENT`) are ended by each who may end them. That the warehouse has stopped is seen in two ways:
the query is gone from LIST QUERIES, and the next query is answered, for which the reader's one
thread must be free.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.frames import Credit
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    DELIMITED,
    JSON,
    Row,
    ask,
    declare,
    header_of,
    insert,
    ksql,
    numbered,
    records,
    until,
)
from tests.streams import Stream

V1_JSON = "application/vnd.ksql.v1+json"
ROWS = 2_000
INTERNAL_ERROR = 2
"""RST_STREAM's code"""
SHORT_MS = 400

FLOWING = "SELECT a.id, b.name FROM {0} a CROSS JOIN {0} b CROSS JOIN {0} c;"
SILENT = """SELECT MAX(a.id + b.id + c.id + d.id)
FROM {0} a CROSS JOIN {0} b CROSS JOIN {0} c CROSS JOIN {0} d;"""


@pytest.fixture(scope="module")
def filled(gateway: GatewayProcess) -> str:
    """A stream of `ROWS` rows, all of which a SELECT sees."""
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, ROWS), ack="queryable", frames="coalesced")
    return name


def pull(peer: Peer, sql: str, accept: str = DELIMITED, **properties: object) -> Stream:
    """A query whose request is whole; two underscores stand for a dot in a property's name."""
    named = {name.replace("__", "."): value for name, value in properties.items()}
    stream = peer.open("POST", "/query-stream", [("accept", accept)])
    stream.send(json.dumps({"sql": sql, "properties": named}).encode(), end=True)
    return stream


def running(peer: Peer) -> dict[str, dict[str, Any]]:
    """The queries of LIST QUERIES by their texts."""
    listed = ksql(peer, "LIST QUERIES;")[0]["queries"]
    return {entry["queryString"] + ";": entry for entry in listed}


def runs(peer: Peer, sql: str) -> str:
    """Wait until the query is listed; its id."""
    until(lambda: sql in running(peer), "the query is listed")
    query_id: str = running(peer)[sql]["id"]
    return query_id


def stopped(peer: Peer, sql: str, table: str) -> None:
    """Wait until the query is gone, and see that the warehouse has time for another."""
    until(lambda: sql not in running(peer), "the query is not listed any more")
    counted = pull(peer, f"SELECT COUNT(*) FROM {table};")
    counted.read_to_end()
    assert records(counted)[1:] == [[ROWS]]


def broken_end(stream: Stream, accept: str) -> dict[str, Any]:
    """The error that a response with rows ends with: its last element, and a reset behind it."""
    stream.peer.read_until(lambda: stream.over, 15.0, "the end of the response")
    assert stream.status == 200
    assert not stream.ended
    assert stream.reset_code == INTERNAL_ERROR
    if accept == DELIMITED:
        assert stream.body.endswith(b"\n")
        elements = [json.loads(line) for line in stream.body.splitlines()]
    else:
        elements = json.loads(stream.body)
    if accept == V1_JSON:
        *rows, last = elements[1:]
        last = last["errorMessage"]
        rows = [row["row"]["columns"] for row in rows]
    else:
        *rows, last = elements[1:]
    assert rows, "it has given rows"
    assert all(isinstance(row, list) for row in rows)
    error: dict[str, Any] = last
    return error


# ── the client leaves ────────────────────────────────────────────────────────────────────────

LEAVING: dict[str, Callable[[Peer, Stream], None]] = {
    "a reset": lambda _, stream: stream.reset(),
    "a closed connection": lambda peer, _: peer.close(),
    "a broken connection": lambda peer, _: peer.abort(),
}


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("template", [FLOWING, SILENT], ids=["flowing", "silent"])
def test_a_client_that_leaves_stops_its_query_at_the_warehouse(
    gateway: GatewayProcess, peer: Peer, filled: str, how: str, template: str
) -> None:
    sql = template.format(filled)
    with gateway.peer() as leaver:
        stream = pull(leaver, sql)
        runs(peer, sql)
        if template == FLOWING:
            stream.read_lines(10)
        LEAVING[how](leaver, stream)
        stopped(peer, sql, filled)


def test_a_client_that_leaves_without_having_read_stops_its_query_too(
    gateway: GatewayProcess, peer: Peer, filled: str
) -> None:
    sql = FLOWING.format(filled)
    with gateway.peer(credit=Credit.WITHHELD) as sleeper:
        stream = pull(sleeper, sql)
        header_of(stream)
        until(lambda: running(peer)[sql]["rowsDelivered"] > 0, "rows wait for the client")
        sleeper.abort()
        stopped(peer, sql, filled)


# ── somebody ends it ─────────────────────────────────────────────────────────────────────────


def closes(peer: Peer, query_id: str) -> None:
    reply = ask(peer, "POST", "/close-query", {"queryId": query_id})
    assert (reply.status, reply.document) == (200, {})


def terminates(peer: Peer, query_id: str) -> None:
    (entity,) = ksql(peer, f"TERMINATE {query_id};")
    assert (entity["@type"], entity["wasTerminated"]) == ("terminate_query", True)


def terminates_all(peer: Peer, query_id: str) -> None:
    assert query_id in {entry["id"] for entry in running(peer).values()}
    (entity,) = ksql(peer, "TERMINATE ALL;")
    assert entity["wasTerminated"] is True


ENDING = [closes, terminates, terminates_all]


@pytest.mark.parametrize("end", ENDING)
@pytest.mark.parametrize("accept", [DELIMITED, JSON, V1_JSON])
def test_a_query_that_is_closed_amid_its_rows_ends_with_an_error(
    gateway: GatewayProcess,
    peer: Peer,
    filled: str,
    accept: str,
    end: Callable[[Peer, str], None],
) -> None:
    sql = FLOWING.format(filled)
    with gateway.peer() as reader:
        stream = pull(reader, sql, accept)
        reader.read_until(lambda: len(stream.body) > 10_000, what="rows")
        end(peer, runs(peer, sql))
        error = broken_end(stream, accept)
    assert error["error_code"] == 40000
    assert error["message"] == "The query was closed before its result was complete"
    stopped(peer, sql, filled)


@pytest.mark.parametrize("end", ENDING)
def test_a_query_that_is_closed_before_its_first_row_is_a_status(
    gateway: GatewayProcess, peer: Peer, filled: str, end: Callable[[Peer, str], None]
) -> None:
    sql = SILENT.format(filled)
    with gateway.peer() as reader:
        stream = pull(reader, sql)
        end(peer, runs(peer, sql))
        document = json.loads(stream.read_to_end())
    assert (stream.status, document["error_code"]) == (400, 40000)
    assert document["message"] == "The query was closed before its result was complete"
    stopped(peer, sql, filled)


def test_a_query_that_is_over_cannot_be_closed(peer: Peer, filled: str) -> None:
    stream = pull(peer, f"SELECT id FROM {filled} LIMIT 1;")
    query_id = header_of(stream)["queryId"]
    stream.read_to_end()
    reply = ask(peer, "POST", "/close-query", {"queryId": query_id})
    assert (reply.status, reply.document["message"]) == (400, f"No query with id {query_id}")


def test_a_running_pull_query_is_listed_with_its_kind_and_its_progress(
    gateway: GatewayProcess, peer: Peer, filled: str
) -> None:
    sql = FLOWING.format(filled)
    with gateway.peer(credit=Credit.WITHHELD) as reader:
        query_id = header_of(pull(reader, sql))["queryId"]
        until(lambda: running(peer)[sql]["rowsDelivered"] > 0, "rows were delivered")
        entry = running(peer)[sql]
        assert (entry["id"], entry["queryType"], entry["state"]) == (query_id, "PULL", "RUNNING")
        (plan,) = ksql(peer, f"EXPLAIN {query_id};")
        assert plan["queryDescription"]["queryType"] == "PULL"
        assert plan["queryDescription"]["statementText"] + ";" == sql
    stopped(peer, sql, filled)


# ── limits ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("accept", [DELIMITED, JSON, V1_JSON])
def test_a_query_that_takes_too_long_amid_its_rows_ends_with_an_error(
    gateway: GatewayProcess, peer: Peer, filled: str, accept: str
) -> None:
    sql = FLOWING.format(filled)
    with gateway.peer() as reader:
        stream = pull(reader, sql, accept, headrace__query__timeout_ms=SHORT_MS)
        error = broken_end(stream, accept)
    assert error["error_code"] == 50000
    assert f"longer than {SHORT_MS} ms" in error["message"]
    stopped(peer, sql, filled)


def test_a_reader_that_stalls_does_not_stop_the_clock(
    gateway: GatewayProcess, peer: Peer, filled: str
) -> None:
    sql = FLOWING.format(filled)
    with gateway.peer(credit=Credit.WITHHELD) as sleeper:
        stream = pull(sleeper, sql, headrace__query__timeout_ms=SHORT_MS)
        header_of(stream)
        stopped(peer, sql, filled)
        sleeper.credit = stream.credit = Credit.GIVEN
        sleeper.open_window(1 << 20)
        stream.open_window(1 << 20)
        error = broken_end(stream, DELIMITED)
    assert f"longer than {SHORT_MS} ms" in error["message"]


def test_a_query_that_takes_too_long_before_its_first_row_is_a_status(
    peer: Peer, filled: str
) -> None:
    sql = SILENT.format(filled)
    reply = pull(peer, sql, headrace__query__timeout_ms=SHORT_MS)
    document = json.loads(reply.read_to_end())
    assert (reply.status, document["error_code"]) == (500, 50000)
    assert "headrace.query.timeout_ms" in document["message"]
    stopped(peer, sql, filled)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that allows few rows and few queries."""
    settings = {"QUERY__PULL_ROWS_MAX": 1000, "QUERY__PULL_QUERIES_MAX": 2}
    folder = tmp_path_factory.mktemp("narrow") / "data"
    with gateway_process(folder, settings=settings) as running_there:
        yield running_there
        assert running_there.complaints == []


@pytest.fixture(scope="module")
def held(narrow: GatewayProcess) -> str:
    """A stream of `ROWS` rows there."""
    with narrow.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, ROWS), ack="queryable", frames="coalesced")
    return name


@pytest.mark.parametrize("accept", [DELIMITED, JSON, V1_JSON])
def test_one_row_more_than_allowed_is_an_error_behind_some_rows(
    narrow: GatewayProcess, held: str, accept: str
) -> None:
    sql = f"SELECT id FROM {held} WHERE id <= 1000;"
    with narrow.peer() as peer:
        error = broken_end(pull(peer, sql, accept), accept)
        until(lambda: sql not in running(peer), "the query is over")
    assert error["error_code"] == 40000
    assert "more than 1000 rows" in error["message"]
    assert "query.pull_rows_max" in error["message"]


def test_as_many_rows_as_allowed_are_a_whole_result(narrow: GatewayProcess, held: str) -> None:
    with narrow.peer() as peer:
        stream = pull(peer, f"SELECT id FROM {held} WHERE id < 1000 ORDER BY id;")
        stream.read_to_end()
    assert records(stream)[1:] == [[n] for n in range(1000)]


def test_more_queries_than_allowed_are_refused_until_one_is_over(
    narrow: GatewayProcess, held: str
) -> None:
    sql = SILENT.format(held)
    with narrow.peer() as peer, narrow.peer() as other:
        first, second = pull(other, sql), pull(other, sql.replace("MAX", "MIN"))
        until(lambda: len(running(peer)) == 2, "two run")
        third = pull(peer, f"SELECT COUNT(*) FROM {held};")
        refusal = json.loads(third.read_to_end())
        assert (third.status, refusal["error_code"]) == (429, 42900)
        assert "query.pull_queries_max" in refusal["message"]
        first.reset()
        second.reset()
        until(lambda: not running(peer), "both are gone")
        again = pull(peer, f"SELECT COUNT(*) FROM {held};")
        again.read_to_end()
    assert records(again)[1:] == [[ROWS]]


def test_a_big_result_passes_through_in_bounded_memory(
    gateway: GatewayProcess, peer: Peer, filled: str
) -> None:
    sql = f"SELECT a.* FROM {filled} a CROSS JOIN (SELECT id FROM {filled} LIMIT 100) b;"
    pull(peer, sql, headrace__frames="coalesced").read_to_end(60.0)
    before_bytes = gateway.peak_rss_bytes
    stream = pull(peer, sql, headrace__frames="coalesced")
    stream.read_to_end(60.0)
    assert stream.body.count(b"\n") == 1 + 100 * ROWS
    assert gateway.peak_rss_bytes - before_bytes < 20 << 20, "of a result of more than 10 MB"


# ── what a request may ask for ───────────────────────────────────────────────────────────────


def test_a_key_of_the_context_that_is_not_known_is_refused_with_those_that_are(
    peer: Peer, filled: str
) -> None:
    reply = pull(peer, f"SELECT id FROM {filled};", druid__sqlOuterLimit=1)
    document = json.loads(reply.read_to_end())
    assert (reply.status, document["error_code"]) == (400, 40000)
    assert "'druid.sqlOuterLimit' is not known" in document["message"]
    assert "druid.priority" in document["message"]
    assert "druid.useCache" in document["message"]


@pytest.mark.parametrize("engine", ["native", "task", "TASK"])
def test_either_engine_gives_all_rows(peer: Peer, filled: str, engine: str) -> None:
    sql = f"SELECT id, at FROM {filled} WHERE id < 300 ORDER BY id;"
    stream = pull(peer, sql, headrace__engine=engine, druid__useCache="false")
    stream.read_to_end()
    assert records(stream)[1:] == [[n, "2024-02-29T12:00:00.000"] for n in range(300)]


def test_another_engine_is_refused(peer: Peer, filled: str) -> None:
    reply = pull(peer, f"SELECT id FROM {filled};", headrace__engine="steam")
    document = json.loads(reply.read_to_end())
    assert (reply.status, document["error_code"]) == (400, 40000)
    assert document["message"].startswith("Property 'headrace.engine' must be one of native, task")


def test_a_declared_type_is_shown_whatever_it_is_stored_as(peer: Peer) -> None:
    name = declare(
        peer,
        "a BOOLEAN, b TIMESTAMP, c TIME, d DECIMAL(6, 2), e ARRAY<STRING>, f MAP<STRING, BIGINT>, "
        "at BIGINT",
    )
    rows: list[Row] = [
        {
            "A": True,
            "B": "1969-12-31T23:59:59.999",
            "C": "07:08",
            "D": "10.50",
            "E": ["x", None],
            "F": {"k": 1},
            "AT": 1_700_000_000_001,
        },
        {"A": False, "B": "0001-01-01T00:00:00", "C": "23:59:58", "AT": 1},
        {"AT": 1_700_000_000_002},
    ]
    insert(peer, name, rows, ack="queryable")
    stream = pull(peer, f"SELECT * FROM {name} ORDER BY at DESC;")
    stream.read_to_end()
    empty, full, early = records(stream)[1:]
    assert empty == [None] * 6 + [1_700_000_000_002]
    assert full[:3] == [True, "1969-12-31T23:59:59.999", "07:08"]
    assert full[3:] == [10.5, ["x", None], {"k": 1}, 1_700_000_000_001]
    assert early == [False, "0001-01-01T00:00:00.000", "23:59:58", None, None, None, 1]
    assert b",10.50," in stream.body


@pytest.mark.parametrize("name", ["headrace.engine", "headrace.ack", "druid.priority"])
def test_a_client_that_asks_first_hears_that_a_property_is_known(peer: Peer, name: str) -> None:
    assert ask(peer, "GET", f"/is_valid_property/{name}").document is True


@pytest.mark.parametrize("name", ["headrace.nope", "druid.sqlOuterLimit", "druid."])
def test_a_client_that_asks_first_hears_that_a_property_is_not_known(peer: Peer, name: str) -> None:
    reply = ask(peer, "GET", f"/is_valid_property/{name}")
    assert (reply.status, reply.document["error_code"]) == (400, 40000)
    assert f"'{name}'" in reply.document["message"]
