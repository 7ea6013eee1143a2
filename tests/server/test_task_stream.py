"""``HEADRACE_TASKS``: what becomes of batches, over real sockets, on the embedded warehouse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ingest.task_log import COLUMNS
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.push_streams import parsed, push, read_rows, read_token, refusal, rows_of, tokens_of
from tests.server.ksqldb import ask, declare, insert, ksql, numbered, open_query, records, until
from tests.streams import Stream

NAMES = [column.name for column in COLUMNS]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, to be started anew."""
    with gateway_process(tmp_path / "data") as running:
        yield running
        assert running.complaints == []


def tasks(peer: Peer, where: str, columns: str = "*", **options: Any) -> Stream:
    """A push query on the stream of tasks; what follows FROM is ``where``."""
    return push(peer, f"SELECT {columns} FROM headrace_tasks {where};", **options)


def named(rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def test_a_push_query_sees_the_whole_life_of_a_batch(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with gateway.peer() as watcher:
        stream = tasks(watcher, f"WHERE TARGET = '{stream_name}' EMIT CHANGES")
        read_token(stream)
        assert parsed(stream)[0]["columnNames"] == NAMES
        assert len(insert(peer, stream_name, numbered(0, 7))) == 7
        rows = named(read_rows(stream, 4))
    assert [row["STATE"] for row in rows] == ["SEALED", "SUBMITTING", "RUNNING", "COMMITTED"]
    assert {(row["ATTEMPT"], row["TARGET"]) for row in rows} == {(1, stream_name)}
    assert len({(row["BATCH"], row["TASK_ID"], row["BYTES"]) for row in rows}) == 1
    assert rows[0]["BATCH"] == rows[0]["TASK_ID"]
    assert rows[0]["BYTES"] > 7 * 20
    last = rows[-1]
    assert (last["ROWS_IN"], last["ROWS_OUT"]) == (7, 7)
    assert last["DURATION_MS"] >= 0
    assert last["ERROR_CODE"] is None
    times = [row["CHANGED_AT"] for row in rows]
    assert times == sorted(times)


def test_filters_projections_functions_and_limit_are_those_of_any_push_query(
    peer: Peer, stream_name: str
) -> None:
    for number in range(3):
        insert(peer, stream_name, numbered(number, number + 1))
    where = f"WHERE TARGET = '{stream_name}' AND STATE LIKE 'COMM%' EMIT CHANGES LIMIT 2"
    columns = "LCASE(STATE) AS s, ROWS_OUT * 10, BYTES, ROWTIME"
    stream = tasks(peer, where, columns, auto_offset_reset="earliest")
    stream.read_to_end()
    rows = rows_of(stream)
    assert [row[:2] for row in rows] == [["committed", 10]] * 2
    assert all(row[2] > 0 and row[3] > 1_700_000_000_000 for row in rows)
    assert parsed(stream)[0]["columnNames"] == ["S", "KSQL_COL_1", "BYTES", "ROWTIME"]


def test_a_bad_row_is_seen_as_cutting_and_the_next_attempt(peer: Peer, stream_name: str) -> None:
    """What the row check lets through and the warehouse does not take."""
    insert(peer, stream_name, numbered(0, 1))
    ksql(peer, f"DROP STREAM {stream_name};")
    ksql(
        peer,
        f"CREATE STREAM {stream_name} (id STRING, at TIMESTAMP) "
        f"WITH (kafka_topic='{stream_name.lower()}', timestamp='at');",
    )
    at = "2024-02-29T12:00:00"
    rows = [{"ID": "1", "AT": at}, {"ID": "no number", "AT": at}, {"ID": "3", "AT": at}]
    insert(peer, stream_name, rows, on_error="continue")
    where = f"WHERE TARGET = '{stream_name}' EMIT CHANGES"
    stream = tasks(peer, where, auto_offset_reset="earliest")

    def is_split() -> bool:
        states = [row["STATE"] for row in named(rows_of(stream))]
        return "SPLIT" in states or states.count("COMMITTED") > 1

    stream.peer.read_until(is_split, 20.0, "the batch was cut")
    told = named(rows_of(stream))
    cutting = next(row for row in told if row["STATE"] == "CUTTING")
    assert cutting["ERROR_CODE"]
    assert "no number" in cutting["ERROR_MESSAGE"]
    assert cutting["ROWS_OUT"] == 0
    failed = next(row for row in told if row["STATE"] == "VERIFYING")
    assert failed["TASK_ID"] == cutting["TASK_ID"]
    stream.reset()


def test_its_tokens_hold_while_the_gateway_runs_and_are_refused_afterwards(
    own: GatewayProcess,
) -> None:
    sql = "SELECT STATE FROM headrace_tasks EMIT CHANGES;"
    with own.peer() as peer:
        name = declare(peer)
        stream = push(peer, sql)
        insert(peer, name, numbered(0, 1))
        assert len(read_rows(stream, 4)) == 4
        token = tokens_of(stream)[-1]
        stream.reset()
        insert(peer, name, numbered(1, 2))
        again = push(peer, sql, token)
        assert read_rows(again, 4)[0] == ["SEALED"]
        other = push(peer, f"SELECT id FROM {name} EMIT CHANGES;", token)
        assert "continuation token" in refusal(other)
    own.stop()
    own.start()
    with own.peer() as peer:
        message = refusal(push(peer, sql, token))
    assert "HEADRACE_TASKS is kept in memory" in message
    assert "while the gateway runs" in message


def test_only_the_newest_changes_are_kept_and_an_older_token_says_so(own: GatewayProcess) -> None:
    own.settings["QUERY__TASK_CHANGES_MAX"] = 5
    own.stop()
    own.start()
    sql = "SELECT BATCH, STATE FROM headrace_tasks EMIT CHANGES;"
    with own.peer() as peer:
        name = declare(peer)
        stream = push(peer, sql)
        token = read_token(stream)
        stream.reset()
        for number in range(3):
            insert(peer, name, numbered(number, number + 1))

        def all_told() -> bool:
            early = push(peer, sql, auto_offset_reset="earliest")
            rows = read_rows(early, 5)
            early.reset()
            return [row[1] for row in rows] == [
                *("COMMITTED", "SEALED", "SUBMITTING", "RUNNING", "COMMITTED")
            ]

        until(all_told, "the last batch is committed")
        message = refusal(push(peer, sql, token))
    assert "older than the retention" in message
    assert "query.task_changes_max" in message


def test_a_restart_tells_of_the_batches_that_it_takes_up(own: GatewayProcess) -> None:
    own.settings["INGEST__BATCH_AGE_S"] = 3600
    own.stop()
    own.start()
    with own.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 3), ack="spooled")
        own.kill()
    del own.settings["INGEST__BATCH_AGE_S"]
    own.start()
    with own.peer() as peer:
        early = tasks(peer, "EMIT CHANGES", auto_offset_reset="earliest")
        told = named(read_rows(early, 4))
    assert [row["STATE"] for row in told][:1] == ["SEALED"]
    assert (told[-1]["STATE"], told[-1]["ROWS_OUT"]) == ("COMMITTED", 3)


def test_the_name_is_nobodys_to_declare_and_is_described(peer: Peer) -> None:
    for name in ("headrace_tasks", "`headrace_tasks`", "HEADRACE_TASKS"):
        for kind, columns in (("STREAM", "a BIGINT"), ("TABLE", "a BIGINT PRIMARY KEY")):
            text = f"CREATE {kind} {name} ({columns}) WITH (kafka_topic='x');"
            reply = ask(peer, "POST", "/ksql", {"ksql": text})
            assert (reply.status, reply.document["error_code"]) == (400, 40001)
            assert "stream of the gateway's own" in reply.document["message"]
    (described,) = ksql(peer, "DESCRIBE headrace_tasks;")
    fields = described["sourceDescription"]["fields"]
    assert [field["name"] for field in fields] == NAMES
    (listed,) = ksql(peer, "LIST STREAMS;")
    assert "HEADRACE_TASKS" not in [stream["name"] for stream in listed["streams"]]


def test_without_emit_changes_the_way_is_shown(peer: Peer) -> None:
    reply = ask(peer, "POST", "/query-stream", {"sql": "SELECT * FROM headrace_tasks;"})
    assert (reply.status, reply.document["error_code"]) == (400, 40001)
    assert "add EMIT CHANGES" in reply.document["message"]


def test_rows_cannot_be_inserted_into_it(peer: Peer) -> None:
    body = json.dumps({"target": "headrace_tasks"}).encode() + b'\n{"BATCH":"x"}\n'
    reply = ask(peer, "POST", "/inserts-stream", body)
    assert reply.status == 400


def test_what_cannot_be_streamed_is_refused_by_name(peer: Peer) -> None:
    sql = "SELECT STATE, COUNT(*) FROM headrace_tasks GROUP BY STATE EMIT CHANGES;"
    reply = ask(peer, "POST", "/query-stream", {"sql": sql})
    assert reply.status == 400
    assert "GROUP BY" in reply.document["message"]
    unknown = open_query(peer, "SELECT COLOUR FROM headrace_tasks EMIT CHANGES;")
    unknown.read_to_end()
    assert "COLOUR" in json.dumps(records(unknown) or unknown.body.decode())
