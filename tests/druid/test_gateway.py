"""The whole gateway on a real Druid: rows in over HTTP/2, acks, and the rows read back."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.contract.druid_fixture import unique
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    COLUMNS,
    Row,
    acks,
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

SLOW_S = 45.0
"""A batch takes 2 to 5 s on an idle cluster; this is for one that others use too."""


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture(scope="module")
def gateway(
    druid: RunningDruid, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway") / "data"
    with gateway_process(
        folder, warehouse="druid", arguments=["--druid-url", druid.router]
    ) as running:
        yield running


@pytest.fixture
def peer(gateway: GatewayProcess) -> Iterator[Peer]:
    with gateway.peer() as connected:
        yield connected


def declare(peer: Peer, prefix: str, columns: str = COLUMNS) -> str:
    """A stream whose name no cluster has seen, with the datasource of the same name."""
    name = unique(prefix)
    ksql(peer, f"CREATE STREAM {name} ({columns}) WITH (kafka_topic='{name}', timestamp='at');")
    return name


def druid_sql(druid: RunningDruid, sql: str) -> list[Any]:
    """A query past the gateway."""
    body = json.dumps({"query": sql, "resultFormat": "array"}).encode()
    return list(druid_json(druid, "/druid/v2/sql", body))


def druid_json(druid: RunningDruid, path: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(druid.router + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def times_stored(druid: RunningDruid, name: str) -> dict[int, int]:
    """Every id with how often it is there. Druid's COUNT(DISTINCT) is an estimate: not used."""
    return dict(druid_sql(druid, f'SELECT "ID", COUNT(*) FROM "{name}" GROUP BY 1'))


def sent(stream: Stream, rows: list[Row]) -> Stream:
    stream.send(json_lines(rows), end=True)
    return stream


def test_each_ack_level_keeps_its_promise_on_a_target_that_did_not_exist(
    druid: RunningDruid, peer: Peer
) -> None:
    name = declare(peer, "levels")
    assert query(peer, f"SELECT id FROM {name};").rows == []
    spooled, committed, queryable = (
        sent(open_inserts(peer, name, ack=level), numbered(first, first + 10))
        for level, first in (("spooled", 0), ("committed", 10), ("queryable", 20))
    )
    spooled.read_to_end()
    assert records(spooled) == acks(0, 10)
    assert (committed.body, queryable.body) == (b"", b""), "no task takes less than a second"
    committed.read_to_end(SLOW_S)
    assert records(committed) == acks(0, 10)
    queryable.read_to_end(SLOW_S)
    assert records(queryable) == acks(0, 10)
    found = query(peer, f"SELECT id FROM {name} WHERE id >= 20;").rows
    assert sorted(found) == [[n] for n in range(20, 30)]
    until(lambda: count(peer, name) == 30, "all levels are loaded in the end", SLOW_S)
    assert times_stored(druid, name) == dict.fromkeys(range(30), 1)


def test_values_come_back_with_their_declared_types(peer: Peer) -> None:
    name = declare(peer, "types", f"{COLUMNS}, exact DECIMAL(20, 4)")
    full: Row = {
        "ID": 2**63 - 1,
        "NAME": 'ä "\\ \U0001f600',
        "SMALL": -5,
        "OK": True,
        "PRICE": 0.1,
        "AMOUNT": "10.50",
        "AT": "2024-05-06T07:08:09.010",
        "EXACT": "1234567890123456.7890",
    }
    rows: list[Row] = [full, {"ID": 1, "AT": "2024-05-06T07:08:09.010"}]
    assert insert_slowly(peer, name, rows) == acks(0, 2)
    stream = open_query(peer, f"SELECT * FROM {name};")
    assert header_of(stream)["columnTypes"] == [
        *("BIGINT", "STRING", "INTEGER", "BOOLEAN", "DOUBLE", "DECIMAL(6, 2)", "TIMESTAMP"),
        "DECIMAL(20, 4)",
    ]
    stream.read_to_end()
    second, first = sorted(records(stream)[1:])
    assert first == [*list(full.values())[:5], 10.5, full["AT"], 1234567890123456.789]
    assert b",10.50," in stream.body
    assert b",1234567890123456.7890]" in stream.body
    assert second == [1, None, None, None, None, None, full["AT"], None]
    sql = f"""SELECT name, COUNT(*) AS n, SUM(price), MAX(id) FROM {name}
    GROUP BY name ORDER BY n, name;"""
    assert query(peer, sql).rows == [[None, 1, None, 1], [full["NAME"], 1, 0.1, 2**63 - 1]]


def test_nested_values_come_back_as_they_were_sent(peer: Peer) -> None:
    columns = """id BIGINT, tags ARRAY<STRING>, nums ARRAY<BIGINT>, dict MAP<STRING, BIGINT>,
    nest STRUCT<a INTEGER, b STRING>, at TIMESTAMP"""
    name = declare(peer, "nested", columns)
    rows: list[Row] = [
        {"ID": 1, "TAGS": ["a", "b"], "NUMS": [1, 2], "DICT": {"k": 1}, "AT": "2024-01-01"},
        {"ID": 2, "TAGS": ["solo"], "NUMS": [], "NEST": {"A": 1, "B": None}, "AT": "2024-01-01"},
    ]
    assert insert_slowly(peer, name, rows) == acks(0, 2)
    found = sorted(query(peer, f"SELECT id, tags, nums, dict, nest FROM {name};").rows)
    assert found == [
        [1, ["a", "b"], [1, 2], {"k": 1}, None],
        [2, ["solo"], [], None, {"A": 1, "B": None}],
    ]


def insert_slowly(peer: Peer, name: str, rows: list[Row]) -> list[Any]:
    stream = sent(open_inserts(peer, name, ack="queryable", frames="coalesced"), rows)
    stream.read_to_end(SLOW_S)
    return records(stream)


def test_a_push_query_gives_committed_rows_and_a_datasource_is_a_target(peer: Peer) -> None:
    name = declare(peer, "push")
    sql = f"SELECT id, UCASE(name) AS loud FROM {name} WHERE id <> 1 EMIT CHANGES LIMIT 2;"
    push = open_query(peer, sql)
    assert header_of(push)["columnNames"] == ["ID", "LOUD"]
    assert insert_slowly(peer, name, numbered(0, 3)) == acks(0, 3)
    push.read_to_end(SLOW_S)
    assert records(push)[1:] == [[0, "ROW 0"], [2, "ROW 2"]]
    again = open_query(peer, sql, offset="earliest")
    again.read_to_end(SLOW_S)
    assert records(again)[1:] == [[0, "ROW 0"], [2, "ROW 2"]]
    ksql(peer, f"DROP STREAM {name};")
    until(lambda: ask_describe(peer, name) == 200, "the datasource is found undeclared")
    row: Row = {"__time": "2024-01-01T00:00:00Z", "ID": 7, "name": "found"}
    assert insert_slowly(peer, name, [row]) == acks(0, 1)
    assert query(peer, f'SELECT "NAME" FROM "{name}" WHERE "ID" = 7;').rows == [["found"]]


def ask_describe(peer: Peer, name: str) -> int:
    return ask(peer, "POST", "/ksql", {"ksql": f"DESCRIBE `{name}`;"}).status


def test_a_large_batch_is_fetched_from_the_gateway(druid: RunningDruid, peer: Peer) -> None:
    name = declare(peer, "large")
    rows: list[Row] = [{**row, "NAME": f"{row['NAME']} {'x' * 200}"} for row in numbered(0, 3000)]
    assert len(json_lines(rows)) > 2 * (256 << 10)
    assert insert_slowly(peer, name, rows) == acks(0, 3000)
    assert times_stored(druid, name) == dict.fromkeys(range(3000), 1)
    batches = druid_sql(druid, f'SELECT DISTINCT "_batch" FROM "{name}"')
    specs = [json.dumps(druid_json(druid, task_path(batch))) for (batch,) in batches]
    assert any("/batches/" in spec for spec in specs), "none was large enough to be fetched"
    assert ask(peer, "GET", "/batches/guessed").status == 404


def task_path(batch: str) -> str:
    return f"/druid/indexer/v1/task/query-{batch}"


def test_what_druid_refuses_is_told_in_its_own_words(peer: Peer) -> None:
    cases = {
        "SELECT * FROM no_such_source;": "no_such_source",
        "SELECT no_such_function(1);": "no_such_function",
    }
    for sql, expected in cases.items():
        reply = ask(peer, "POST", "/query-stream", {"sql": sql})
        assert (reply.status, reply.document["error_code"]) == (400, 40001), reply.body
        assert expected in reply.document["message"].lower()


def test_after_a_crash_with_batches_under_way_every_acked_row_is_there_once(
    druid: RunningDruid, tmp_path: Path
) -> None:
    """One batch runs in Druid when the gateway dies, one is only in the spool."""
    options = {"warehouse": "druid", "arguments": ["--druid-url", druid.router]}
    with gateway_process(tmp_path / "data", **options) as gateway:
        with gateway.peer() as peer:
            name = declare(peer, "crash")
            assert insert(peer, name, numbered(0, 50), ack="spooled") == acks(0, 50)
            running = f"/druid/indexer/v1/tasks?datasource={name}"
            until(lambda: druid_json(druid, running) != [], "the first batch is submitted", SLOW_S)
            assert insert(peer, name, numbered(50, 100), ack="spooled") == acks(0, 50)
            gateway.kill()
        gateway.start()
        with gateway.peer() as peer:
            until(lambda: count(peer, name) >= 100, "all is committed and loaded", SLOW_S)
        assert times_stored(druid, name) == dict.fromkeys(range(100), 1)
        assert gateway.complaints == []
