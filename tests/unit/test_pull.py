"""Pull queries over a scripted warehouse: every end but the proven one is an error.

A real warehouse cannot be made to break, stall or overflow at a chosen row; `tests/contract` and
`tests/druid` have the real ones.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from gateway.query.pull import PullLimits, PullQueries
from gateway.query.running_pull import RunningPull
from gateway.seams import (
    UNASKED,
    QueryBroken,
    QueryEngine,
    QueryRefused,
    Result,
    ResultColumn,
    RowLines,
    Sources,
    Warehouse,
    WarehouseQuery,
    WarehouseUnreachable,
)
from protocol.errors import KsqlError
from protocol.types import BIGINT

SQL = "SELECT a FROM t"


class ScriptedResult:
    """Gives the chunks, then breaks if it is to; stalls after them if it is to, until closed."""

    columns: tuple[ResultColumn, ...] = (ResultColumn("a", BIGINT),)

    def __init__(
        self, chunks: Sequence[bytes] = (), *, broken: bool = False, stalls: bool = False
    ) -> None:
        self.closed = asyncio.Event()
        self._chunks = chunks
        self._broken = broken
        self._stalls = stalls

    async def rows(self) -> AsyncIterator[RowLines]:
        for raw in self._chunks:
            yield RowLines(raw, raw.count(b"\n"))
        if self._stalls:
            await self.closed.wait()
            raise QueryBroken("the query was closed")
        if self._broken:
            raise QueryBroken("cut at row 3")

    async def close(self) -> None:
        self.closed.set()


class ScriptedWarehouse:
    """Answers every query with ``answer``; None: never."""

    def __init__(self, answer: ScriptedResult | Exception | None) -> None:
        self.answer = answer
        self.asked: list[WarehouseQuery] = []
        self.given_up = False
        self.has_begun = asyncio.Event()

    async def query(self, query: WarehouseQuery) -> Result:
        self.asked.append(query)
        self.has_begun.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up = True
        assert self.answer is not None
        return self.answer


class NoSources:
    def names(self, name: str) -> None:
        return None


def pulls(warehouse: ScriptedWarehouse, limits: PullLimits | None = None) -> PullQueries:
    return PullQueries(cast(Warehouse, warehouse), cast(Sources, NoSources()), limits)


async def read(query: RunningPull) -> tuple[bytes, KsqlError | None]:
    raw = b""
    try:
        async for lines in query.rows():
            raw += lines.raw
    except KsqlError as error:
        return raw, error
    return raw, None


async def test_rows_pass_and_the_result_is_closed() -> None:
    result = ScriptedResult([b"[1]\n[2]\n", b"[3]\n"])
    room = pulls(ScriptedWarehouse(result))
    query = await room.start(SQL, {}, UNASKED)
    assert await read(query) == (b"[1]\n[2]\n[3]\n", None)
    assert result.closed.is_set()
    assert not room.terminate(query.id, UNASKED)


async def test_engine_context_and_timeout_reach_the_warehouse() -> None:
    warehouse = ScriptedWarehouse(ScriptedResult())
    room = pulls(warehouse, PullLimits(timeout_s=7))
    given: dict[str, Any] = {"headrace.engine": "task", "druid.useCache": "false"}
    await (await room.start(SQL, given, UNASKED)).close()
    await (await room.start(SQL, {"headrace.query.timeout_ms": 0}, UNASKED)).close()
    first, second = warehouse.asked
    assert (first.engine, first.context) == (
        QueryEngine.TASK,
        {"useCache": False, "timeout": 12_000},
    )
    assert (second.engine, second.context) == (QueryEngine.NATIVE, {"timeout": 0})
    assert first.query_id != second.query_id


async def test_a_result_that_breaks_is_an_error_after_its_rows() -> None:
    result = ScriptedResult([b"[1]\n"], broken=True)
    raw, error = await read(await pulls(ScriptedWarehouse(result)).start(SQL, {}, UNASKED))
    assert raw == b"[1]\n"
    assert error is not None
    assert (error.code, error.message) == (50000, "The result is not complete: cut at row 3")
    assert result.closed.is_set()


async def test_more_rows_than_the_limit_are_an_error_and_no_shorter_answer() -> None:
    result = ScriptedResult([b"[1]\n[2]\n", b"[3]\n"])
    room = pulls(ScriptedWarehouse(result), PullLimits(rows_max=2))
    raw, error = await read(await room.start(SQL, {}, UNASKED))
    assert raw == b"[1]\n[2]\n"
    assert error is not None
    assert (error.code, "query.pull_rows_max" in error.message) == (40000, True)
    assert result.closed.is_set()


async def test_exactly_as_many_rows_as_the_limit_are_whole() -> None:
    room = pulls(ScriptedWarehouse(ScriptedResult([b"[1]\n[2]\n"])), PullLimits(rows_max=2))
    assert await read(await room.start(SQL, {}, UNASKED)) == (b"[1]\n[2]\n", None)


async def test_a_query_that_does_not_begin_in_time_is_given_up() -> None:
    warehouse = ScriptedWarehouse(None)
    with pytest.raises(KsqlError, match=r"longer than 20 ms.*headrace\.query\.timeout_ms") as late:
        await pulls(warehouse).start(SQL, {"headrace.query.timeout_ms": 20}, UNASKED)
    assert late.value.code == 50000
    assert warehouse.given_up


async def test_a_query_that_does_not_end_in_time_is_ended_though_nobody_reads_it() -> None:
    result = ScriptedResult([b"[1]\n"], stalls=True)
    room = pulls(ScriptedWarehouse(result), PullLimits(timeout_s=0.02))
    query = await room.start(SQL, {}, UNASKED)
    await asyncio.wait_for(result.closed.wait(), 10)
    _, error = await read(query)
    assert error is not None
    assert "longer than 20 ms" in error.message


async def test_a_query_that_is_closed_by_its_id_ends_with_an_error_for_its_reader() -> None:
    result = ScriptedResult([b"[1]\n"], stalls=True)
    room = pulls(ScriptedWarehouse(result))
    query = await room.start(SQL, {}, UNASKED)
    rows = query.rows()
    assert (await anext(rows)).raw == b"[1]\n"
    assert room.terminate(query.id, UNASKED)
    with pytest.raises(KsqlError, match="closed before its result was complete"):
        await anext(rows)
    assert result.closed.is_set()
    assert not room.terminate(query.id, UNASKED)


async def test_a_caller_that_is_cancelled_gives_the_query_up() -> None:
    warehouse = ScriptedWarehouse(None)
    room = pulls(warehouse, PullLimits(queries_max=1))
    starting = asyncio.create_task(room.start(SQL, {}, UNASKED))
    await warehouse.has_begun.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert warehouse.given_up
    warehouse.answer = ScriptedResult()
    await (await room.start(SQL, {}, UNASKED)).close()


async def test_no_more_queries_at_once_than_the_configuration_allows() -> None:
    warehouse = ScriptedWarehouse(ScriptedResult(stalls=True))
    room = pulls(warehouse, PullLimits(queries_max=1))
    first = await room.start(SQL, {}, UNASKED)
    with pytest.raises(KsqlError, match=r"query\.pull_queries_max") as refused:
        await room.start(SQL, {}, UNASKED)
    assert refused.value.code == 42900
    await first.close()
    await (await room.start(SQL, {}, UNASKED)).close()
    await room.close()


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (QueryRefused("no such column"), 40001, 400),
        (QueryBroken("WorkerFailed: gone"), 50000, 500),
        (WarehouseUnreachable("refused"), 50000, 503),
    ],
)
async def test_a_query_that_cannot_start_says_why(fault: Exception, code: int, status: int) -> None:
    with pytest.raises(KsqlError, match=str(fault)) as failed:
        await pulls(ScriptedWarehouse(fault)).start(SQL, {}, UNASKED)
    assert (failed.value.code, failed.value.status) == (code, status)


async def test_closing_the_room_ends_what_runs() -> None:
    result = ScriptedResult(stalls=True)
    room = pulls(ScriptedWarehouse(result))
    query = await room.start(SQL, {}, UNASKED)
    await room.close()
    assert result.closed.is_set()
    assert not room.terminate(query.id, UNASKED)


async def test_a_query_is_listed_and_can_be_closed_before_the_warehouse_has_answered() -> None:
    warehouse = ScriptedWarehouse(None)
    room = pulls(warehouse)
    starting = asyncio.create_task(room.start(SQL, {}, UNASKED))
    await warehouse.has_begun.wait()
    (listed,) = room.live(UNASKED)
    assert (listed.query_id, listed.sql) == (warehouse.asked[0].query_id, SQL)
    assert (listed.kind, listed.rows_delivered) == ("PULL", 0)
    assert room.terminate(listed.query_id, UNASKED)
    assert room.terminate(listed.query_id, UNASKED), "twice is once"
    with pytest.raises(KsqlError, match="closed before its result was complete") as closed:
        await starting
    assert (closed.value.code, closed.value.status) == (40000, 400)
    assert warehouse.given_up
    assert room.live(UNASKED) == []
    assert not room.terminate(listed.query_id, UNASKED)


async def test_closing_the_room_ends_what_has_not_begun() -> None:
    warehouse = ScriptedWarehouse(None)
    room = pulls(warehouse)
    starting = asyncio.create_task(room.start(SQL, {}, UNASKED))
    await warehouse.has_begun.wait()
    await room.close()
    with pytest.raises(KsqlError, match="shuts down"):
        await starting
    assert warehouse.given_up


async def test_a_running_query_is_listed_with_the_rows_it_gave() -> None:
    room = pulls(ScriptedWarehouse(ScriptedResult([b"[1]\n[2]\n"], stalls=True)))
    query = await room.start(SQL, {}, UNASKED)
    await anext(query.rows())
    (listed,) = room.live(UNASKED)
    assert (listed.query_id, listed.kind, listed.rows_delivered) == (query.id, "PULL", 2)
    await query.close()
    assert room.live(UNASKED) == []
