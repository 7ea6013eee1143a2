"""Pull queries through a whole gateway on a real Druid: both engines, and every early end.

That a query has ended is Druid's own word: its task list, ``sys.tasks``, and the one processing
thread of the Historical, which a running query holds.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from gateway.seams import ARRIVAL_FIELD, InsertSpec
from protocol.types import BIGINT, STRING, Column
from tests.contract.batches import fresh, stored
from tests.contract.druid_fixture import opened_druid
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import ask, header_of, ksql, records, until
from tests.streams import Stream

ROWS = 200_000
SLOW_S = 60.0
MIB = 1 << 20
INTERNAL_ERROR = 2
ENGINES = ("native", "task")


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture(scope="module")
def table(druid: RunningDruid) -> str:
    """A datasource of `ROWS` rows of about 100 bytes; K is the same in all of them."""
    spec = InsertSpec(
        datasource=fresh("pull_ends"),
        columns=(Column("K", STRING), Column("N", BIGINT), Column("PAD", STRING)),
    )
    row = '{"%s":%d,"K":"k","N":%d,"PAD":"%s"}\n'
    raw = "".join(
        row % (ARRIVAL_FIELD, 1_700_000_000_000 + n, n, "x" * 60) for n in range(ROWS)
    ).encode()

    async def load() -> None:
        async with opened_druid(druid.router) as warehouse:
            await stored(warehouse, spec, raw)

    asyncio.run(load())
    return spec.datasource


@pytest.fixture(scope="module")
def gateway(
    druid: RunningDruid, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway") / "data"
    with gateway_process(
        folder, warehouse="druid", arguments=["--druid-url", druid.router]
    ) as running:
        yield running
        assert running.complaints == []


@pytest.fixture
def peer(gateway: GatewayProcess) -> Iterator[Peer]:
    with gateway.peer() as connected:
        yield connected


def opened(peer: Peer, sql: str, **properties: Any) -> Stream:
    given = {"headrace.frames": "coalesced"} | {
        name.replace("__", "."): value for name, value in properties.items()
    }
    stream = peer.open("POST", "/query-stream")
    stream.send(json.dumps({"sql": sql + ";", "properties": given}).encode(), end=True)
    return stream


def endless(table: str) -> str:
    """A SELECT whose first row would come in years."""
    other = f'(SELECT "K", "N" FROM "{table}" LIMIT 20000)'
    return (
        f'SELECT MAX(a."N" + b."N" + c."N") FROM "{table}" a '
        f'JOIN {other} b ON a."K" = b."K" JOIN {other} c ON a."K" = c."K"'
    )


# ── what Druid says ──────────────────────────────────────────────────────────────────────────


def call(druid: RunningDruid, path: str, document: Any = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(druid.router + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=SLOW_S) as reply:
        return json.load(reply)


def rows_of(druid: RunningDruid, sql: str, **context: Any) -> list[Any]:
    document = {"query": sql, "resultFormat": "array", "context": context}
    found: list[Any] = call(druid, "/druid/v2/sql", document)
    return found


def thread_is_held(druid: RunningDruid, table: str) -> bool:
    """Whether a running query keeps another from being answered within half a second."""
    counting = f'SELECT COUNT(*) FROM "{table}" WHERE "N" >= 0'
    try:
        rows_of(druid, counting, timeout=500, useCache=False, priority=-1)
    except urllib.error.HTTPError as error:
        # Where the time ends while the Broker still merges, Druid says the same with a 500.
        said = error.read().decode(errors="replace")
        if error.code == 504 or "imeout" in said or "timed out" in said:
            return True
        pytest.fail(f"Druid answered {error.code}: {said}")
    return False


def running_tasks(druid: RunningDruid, table: str) -> list[str]:
    """Controllers of SELECTs on the table that Druid's task list shows as running."""
    tasks = call(druid, "/druid/indexer/v1/tasks?state=running&type=query_controller")
    return [task["id"] for task in tasks if reads(druid, task["id"], table)]


def reads(druid: RunningDruid, task_id: str, table: str) -> bool:
    return f'"{table}"' in call(druid, f"/druid/indexer/v1/task/{task_id}")["payload"]["sqlQuery"]


def holders(druid: RunningDruid) -> set[str]:
    """Controllers that hold slots, whatever the Overlord thinks of them."""
    workers = call(druid, "/druid/indexer/v1/workers")
    return {task.split("-worker")[0] for each in workers for task in each["runningTasks"]}


def in_sys_tasks(druid: RunningDruid, task_id: str) -> list[Any]:
    """Status and error of the controller, by Druid's own table."""
    return rows_of(druid, f"SELECT status, error_msg FROM sys.tasks WHERE task_id = '{task_id}'")


# ── whole results ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
def test_a_result_of_200_000_rows_is_whole_and_takes_no_memory(
    gateway: GatewayProcess, peer: Peer, table: str, engine: str
) -> None:
    opened(peer, f'SELECT "N" FROM "{table}" LIMIT 1000', headrace__engine=engine).read_to_end(
        SLOW_S
    )
    before_bytes = gateway.rss_bytes
    stream = opened(peer, f'SELECT * FROM "{table}"', headrace__engine=engine)
    header = header_of(stream)
    stream.read_to_end(SLOW_S)
    found = [json.loads(line) for line in stream.lines[1:]]
    at = header["columnNames"].index("N")
    assert sorted(row[at] for row in found) == list(range(ROWS))
    assert len(stream.body) > 20 * MIB
    assert gateway.peak_rss_bytes - before_bytes < 50 * MIB


def test_a_slow_reader_of_either_engine_holds_no_memory_of_ours(
    gateway: GatewayProcess, table: str
) -> None:
    before_bytes = gateway.rss_bytes
    for engine in ENGINES:
        with gateway.peer() as slow:
            stream = opened(slow, f'SELECT * FROM "{table}"', headrace__engine=engine)
            stream.read_headers(SLOW_S)
            stream.read_lines(100)
    assert gateway.peak_rss_bytes - before_bytes < 50 * MIB


def test_what_a_task_cannot_do_is_told_in_druids_words(peer: Peer) -> None:
    stream = opened(peer, "SELECT * FROM sys.servers", headrace__engine="task")
    stream.read_to_end(SLOW_S)
    error = json.loads(stream.body)
    assert (stream.status, error["error_code"]) == (400, 40001)
    assert "Cannot query table(s) [sys.servers]" in error["message"]


# ── early ends ───────────────────────────────────────────────────────────────────────────────


def reset(peer: Peer, stream: Stream) -> None:
    stream.reset()


def hang_up(peer: Peer, stream: Stream) -> None:
    peer.abort()


Leave = Callable[[Peer, Stream], None]
LEAVES = pytest.mark.parametrize("leave", [reset, hang_up])


@LEAVES
def test_a_client_that_leaves_ends_its_native_query_at_druid(
    druid: RunningDruid, gateway: GatewayProcess, table: str, leave: Leave
) -> None:
    with gateway.peer() as peer:
        stream = opened(peer, endless(table))
        until(lambda: thread_is_held(druid, table), "the query runs", SLOW_S)
        leave(peer, stream)
        until(lambda: not thread_is_held(druid, table), "the query has ended", SLOW_S)


@LEAVES
def test_a_client_that_leaves_ends_its_task_at_druid(
    druid: RunningDruid, gateway: GatewayProcess, table: str, leave: Leave
) -> None:
    with gateway.peer() as peer:
        stream = opened(peer, endless(table), headrace__engine="task")
        until(lambda: len(running_tasks(druid, table)) == 1, "the task runs", SLOW_S)
        (task_id,) = running_tasks(druid, table)
        assert in_sys_tasks(druid, task_id) == [["RUNNING", None]]
        leave(peer, stream)
        until(lambda: running_tasks(druid, table) == [], "it is off the task list", SLOW_S)
        assert in_sys_tasks(druid, task_id) == [["FAILED", "Shutdown request from user"]]
        until(lambda: task_id not in holders(druid), "its slots are free", SLOW_S)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_timeout_ends_the_query_with_an_error_that_says_so(
    druid: RunningDruid, peer: Peer, table: str, engine: str
) -> None:
    stream = opened(peer, endless(table), headrace__engine=engine, headrace__query__timeout_ms=1500)
    stream.read_to_end(SLOW_S)
    assert stream.status == 500
    error = json.loads(stream.body)
    assert error["error_code"] == 50000
    assert "longer than 1500 ms" in error["message"]
    until(lambda: running_tasks(druid, table) == [], "no task is left", SLOW_S)
    until(lambda: not thread_is_held(druid, table), "no query is left", SLOW_S)


@pytest.mark.parametrize("how", ["/close-query", "TERMINATE"])
def test_a_query_that_is_named_ends_with_an_error_after_its_rows(
    gateway: GatewayProcess, table: str, how: str
) -> None:
    with gateway.peer() as slow, gateway.peer() as other:
        stream = opened(slow, f'SELECT * FROM "{table}"')
        query_id = header_of(stream)["queryId"]
        if how == "TERMINATE":
            ksql(other, f"TERMINATE {query_id};")
        else:
            assert ask(other, "POST", how, {"queryId": query_id}).status == 200
        slow.read_until(lambda: stream.over, SLOW_S, "the stream is over")
        assert stream.reset_code == INTERNAL_ERROR, "an end without END_STREAM, behind the error"
        *rows, last = records(stream)[1:]
        assert len(rows) < ROWS
        assert all(isinstance(row, list) for row in rows)
        assert "closed before its result was complete" in last["message"]
        assert ask(other, "POST", "/close-query", {"queryId": query_id}).status == 400


def test_a_context_key_that_is_not_known_is_refused_with_those_that_are(
    peer: Peer, table: str
) -> None:
    stream = opened(peer, f'SELECT "N" FROM "{table}"', druid__sqlOuterLimit=5)
    stream.read_to_end()
    error = json.loads(stream.body)
    assert (stream.status, error["error_code"]) == (400, 40000)
    assert "druid.sqlTimeZone" in error["message"]


def test_a_known_key_of_the_context_has_its_effect(peer: Peer, table: str) -> None:
    sql = f'SELECT TIME_FORMAT(__time, \'HH:mm\') FROM "{table}" WHERE "N" = 0'
    shown = []
    for zone in ("UTC", "Asia/Kolkata"):
        stream = opened(peer, sql, druid__sqlTimeZone=zone)
        stream.read_to_end(SLOW_S)
        shown.append(records(stream)[1:])
    assert shown == [[["22:13"]], [["03:43"]]]
