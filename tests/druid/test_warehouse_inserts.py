"""Batches into a real Druid: every state that the committer relies on."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from gateway.seams import (
    InsertSpec,
    Submission,
    SubmissionRefused,
    Submitted,
    TaskFailure,
    TaskState,
    TimeEncoding,
    WarehouseUnreachable,
)
from gateway.warehouse.druid.sql import Dialect, count_sql, inline_source, insert_sql
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from protocol.types import STRING, TIMESTAMP, Column, parse_type
from tests.contract.druid_fixture import (
    BatchServer,
    MemoryBatch,
    batch_server,
    opened_druid,
    unique,
    until,
)

START = 1_700_000_000_000


def parse_errors(line: int) -> tuple[tuple[str, int | None], ...]:
    """Code and line of a broken row: one time in twenty Druid's threads run so that a task is
    ended by the number of its warnings, and then 27 tells neither row nor place."""
    return ("CannotParseExternalData", line), ("TooManyWarnings", None)


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture
async def server() -> AsyncIterator[BatchServer]:
    async with batch_server() as started:
        yield started


@pytest.fixture
async def warehouse(druid: RunningDruid, server: BatchServer) -> AsyncIterator[DruidWarehouse]:
    async with opened_druid(druid.router, server=server) as opened:
        yield opened


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def numbered(count: int, padding: int = 0) -> bytes:
    pad = "x" * padding
    return lines(*({"__arrival": START + n, "s": f"row {n} {pad}"} for n in range(count)))


def submission(datasource: str, raw: bytes, **changes: Any) -> Submission:
    batch_id = changes.pop("batch_id", uuid.uuid4().hex)
    task_id = changes.pop("task_id", batch_id)
    columns = changes.pop("columns", (Column("s", STRING),))
    return Submission(
        batch_id=batch_id,
        task_id=task_id,
        spec=InsertSpec(datasource=datasource, columns=columns, **changes),
        rows=raw.count(b"\n"),
        content=MemoryBatch(raw),
    )


async def final_state(warehouse: DruidWarehouse, task_id: str) -> TaskState:
    states: dict[str, TaskState] = {}

    async def ended() -> bool:
        states.update(await warehouse.statuses([task_id]))
        return states[task_id] is not TaskState.RUNNING

    await until(ended)
    return states[task_id]


async def loaded(warehouse: DruidWarehouse, batch: Submission) -> None:
    name = batch.spec.datasource
    await until(lambda: warehouse.queryable(name, batch.batch_id, batch.rows))


async def until_all_slots_are_free(warehouse: DruidWarehouse) -> None:
    async def free() -> bool:
        return await warehouse.free_batches() == 2

    await until(free)


async def failed(warehouse: DruidWarehouse, batch: Submission) -> TaskFailure:
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.FAILED
    failure = await warehouse.failure(batch.task_id)
    assert await warehouse.count(batch.spec.datasource, batch.batch_id) == 0
    return failure


async def test_a_batch_is_counted_once_it_succeeded_and_queryable_once_it_is_loaded(
    warehouse: DruidWarehouse,
) -> None:
    batch = submission(unique("life"), numbered(3))
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    assert await warehouse.count(batch.spec.datasource, batch.batch_id) == 3
    await loaded(warehouse, batch)
    assert not await warehouse.queryable(batch.spec.datasource, batch.batch_id, 4)
    assert batch.spec.datasource in await warehouse.datasources()
    await warehouse.release(batch.task_id)


async def test_a_task_id_is_taken_once_while_it_runs_and_after(warehouse: DruidWarehouse) -> None:
    batch = submission(unique("twice"), numbered(5))
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await warehouse.submit(batch) is Submitted.EXISTS
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    assert await warehouse.submit(batch) is Submitted.EXISTS
    assert await warehouse.count(batch.spec.datasource, batch.batch_id) == 5


async def test_another_attempt_at_a_batch_has_the_same_batch_column(
    warehouse: DruidWarehouse,
) -> None:
    batch = submission(unique("again"), numbered(2), task_id=f"{uuid.uuid4().hex}-a2")
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    assert await warehouse.count(batch.spec.datasource, batch.batch_id) == 2


async def test_statuses_know_all_tasks_in_one_call_and_leave_out_unknown_ones(
    warehouse: DruidWarehouse,
) -> None:
    good = submission(unique("many"), numbered(1))
    bad = submission(unique("many"), b"{nonsense\n")
    for batch in (good, bad):
        await warehouse.submit(batch)
        await final_state(warehouse, batch.task_id)
    states = await warehouse.statuses([good.task_id, bad.task_id, "never-heard-of"])
    assert states == {good.task_id: TaskState.SUCCESS, bad.task_id: TaskState.FAILED}
    assert await warehouse.statuses([]) == {}


async def test_a_broken_row_fails_the_batch_and_is_named_by_its_line(
    warehouse: DruidWarehouse,
) -> None:
    raw = numbered(6) + b'{"s":"(Record: 1, Line: 1)"\n' + numbered(2)
    failure = await failed(warehouse, submission(unique("broken"), raw))
    assert failure.data_error
    assert (failure.code, failure.line) in parse_errors(7)
    assert failure.line is None or "Unable to parse row" in failure.message


async def test_a_broken_row_of_a_fetched_batch_is_named_by_its_line_and_no_url_leaks(
    warehouse: DruidWarehouse, server: BatchServer
) -> None:
    raw = numbered(3000, padding=100) + b"{]\n" + numbered(2)
    batch = submission(unique("broken"), raw)
    failure = await failed(warehouse, batch)
    assert (failure.code, failure.line) in parse_errors(3001)
    (token,) = server.tokens
    assert token not in failure.message


async def test_a_null_byte_is_a_data_error(warehouse: DruidWarehouse) -> None:
    raw = lines({"__arrival": START, "s": "fine"}, {"__arrival": START, "s": "a\0b"})
    failure = await failed(warehouse, submission(unique("null"), raw))
    assert failure.code == "InvalidNullByte"
    assert failure.data_error


async def test_a_number_in_an_array_of_strings_is_a_data_error(warehouse: DruidWarehouse) -> None:
    columns = (Column("a", parse_type("ARRAY<STRING>")),)
    raw = lines({"__arrival": START, "a": [1]})
    failure = await failed(warehouse, submission(unique("cast"), raw, columns=columns))
    assert failure.data_error


async def test_small_batches_travel_inline_and_large_ones_are_fetched(
    warehouse: DruidWarehouse, server: BatchServer
) -> None:
    name = unique("ways")
    small = submission(name, numbered(100))
    assert await warehouse.submit(small) is Submitted.ACCEPTED
    assert await final_state(warehouse, small.task_id) is TaskState.SUCCESS
    assert server.ranges == []
    large = submission(name, numbered(3000, padding=100))
    assert large.content.size_bytes > 256 << 10
    assert await warehouse.submit(large) is Submitted.ACCEPTED
    assert await final_state(warehouse, large.task_id) is TaskState.SUCCESS
    assert "bytes=0-" in server.ranges
    assert await warehouse.count(name, large.batch_id) == 3000


async def test_a_released_batch_can_be_fetched_no_more(
    warehouse: DruidWarehouse, server: BatchServer
) -> None:
    batch = submission(unique("gone"), numbered(3000, padding=100))
    await warehouse.submit(batch)
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    (token,) = server.tokens
    assert warehouse.staged.find(token) is not None
    await warehouse.release(batch.task_id)
    assert warehouse.staged.find(token) is None


async def test_six_submissions_at_once_never_have_more_than_two_in_flight(
    warehouse: DruidWarehouse,
) -> None:
    await until_all_slots_are_free(warehouse)
    name = unique("six")
    batches = [submission(name, numbered(10)) for _ in range(6)]
    live: set[str] = set()
    most = 0

    async def one(batch: Submission) -> TaskState:
        nonlocal most
        await warehouse.submit(batch)
        live.add(batch.task_id)
        running = await warehouse.statuses(live)
        most = max(most, sum(state is TaskState.RUNNING for state in running.values()))
        return await final_state(warehouse, batch.task_id)

    async with asyncio.timeout(60):
        states = await asyncio.gather(*map(one, batches))
    assert states == [TaskState.SUCCESS] * 6
    assert 1 <= most <= 2
    counts = [await warehouse.count(name, batch.batch_id) for batch in batches]
    assert counts == [10] * 6


async def test_what_others_run_is_counted(druid: RunningDruid, warehouse: DruidWarehouse) -> None:
    async with opened_druid(druid.router) as other:
        batch = submission(unique("other"), numbered(10))
        await until_all_slots_are_free(warehouse)
        await warehouse.submit(batch)
        seen = set()
        while (await warehouse.statuses([batch.task_id]))[batch.task_id] is TaskState.RUNNING:
            seen.add(await other.free_batches())
    assert 1 in seen
    assert 0 not in seen


async def test_a_datasource_that_does_not_exist_holds_nothing(warehouse: DruidWarehouse) -> None:
    name = unique("nobody")
    assert await warehouse.count(name, "b") == 0
    assert await warehouse.columns(name) is None
    assert not await warehouse.queryable(name, "b", 1)
    assert name not in await warehouse.datasources()


async def test_a_datasource_without_batches_holds_none_of_them(warehouse: DruidWarehouse) -> None:
    """A table that others filled has no ``_batch``: that is 0, by the metadata and not a guess."""
    name = unique("foreign")
    spec = InsertSpec(datasource=name, columns=(Column("s", STRING),))
    source = inline_source(numbered(1).decode())
    sql = insert_sql(spec, "x", source, Dialect.of("27.0.0")).replace(", 'x' AS \"_batch\"", "")
    task = uuid.uuid4().hex
    await warehouse._tasks.submit(sql, {"sqlQueryId": task})
    assert await final_state(warehouse, task) is TaskState.SUCCESS
    assert await warehouse.count(name, "b") == 0
    assert not await warehouse.queryable(name, "b", 1)


async def test_a_time_is_read_as_milliseconds_or_as_iso_text(warehouse: DruidWarehouse) -> None:
    name = unique("times")
    columns = (Column("__time", TIMESTAMP), Column("s", STRING))
    iso = lines({"__time": "2021-02-03T04:05:06.007Z", "s": "iso"})
    millis = lines({"__time": 1612325106007, "s": "ms"})
    for raw, encoding in ((iso, TimeEncoding.ISO), (millis, TimeEncoding.MILLIS)):
        batch = submission(name, raw, columns=columns, time_column="__time", time_encoding=encoding)
        assert await warehouse.submit(batch) is Submitted.ACCEPTED
        assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
        await loaded(warehouse, batch)
    rows = await warehouse._schema._select(f'SELECT "s", TIMESTAMP_TO_MILLIS(__time) FROM "{name}"')
    assert sorted(rows) == [["iso", 1612325106007], ["ms", 1612325106007]]


async def test_granularity_and_clustering_reach_the_segments(warehouse: DruidWarehouse) -> None:
    name = unique("grain")
    raw = lines({"__arrival": START, "s": "b"}, {"__arrival": START + 3_600_000, "s": "a"})
    batch = submission(name, raw, partitioned_by="HOUR", clustered_by=("s",))
    await warehouse.submit(batch)
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    await loaded(warehouse, batch)
    sql = f"SELECT COUNT(*) FROM sys.segments WHERE datasource = '{name}'"
    assert await warehouse._schema._select(sql) == [[2]]


async def test_what_druid_cannot_plan_is_refused_and_frees_its_slots(
    warehouse: DruidWarehouse,
) -> None:
    batch = submission(unique("refused"), numbered(1), clustered_by=("no_such_column",))
    with pytest.raises(SubmissionRefused, match="no_such_column"):
        await warehouse.submit(batch)
    with pytest.raises(SubmissionRefused):
        await warehouse.submit(submission("", numbered(1)))
    await until_all_slots_are_free(warehouse)


async def test_a_closed_port_is_unreachable_for_a_submission(unused_tcp_port: int) -> None:
    urls = DruidUrls.router(f"http://127.0.0.1:{unused_tcp_port}")
    warehouse = DruidWarehouse(DruidSettings(urls=urls, fetch_base_url="http://gateway"))
    await warehouse.open()
    with pytest.raises(WarehouseUnreachable):
        await warehouse.submit(submission("t", numbered(1)))
    await warehouse.close()


async def test_names_and_rows_may_hold_quotes_and_anything_else(warehouse: DruidWarehouse) -> None:
    name = unique("evil") + " '\"\\é;--"
    column = "c'\"\\ü; 1"
    value = "v'\"\\\n\t😀\u2028'); DROP"
    raw = lines({"__arrival": START, column: value})
    batch = submission(name, raw, columns=(Column(column, STRING),), batch_id="b'\"é😀\\")
    batch = Submission(
        batch_id=batch.batch_id,
        task_id=uuid.uuid4().hex,
        spec=batch.spec,
        rows=1,
        content=batch.content,
    )
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    await loaded(warehouse, batch)
    columns = await warehouse.columns(name)
    assert columns is not None
    assert column in [c.name for c in columns]
    assert await warehouse._schema._select(count_sql(name, batch.batch_id)) == [[1]]
