"""How far a task has come, by the embedded warehouse and by a real Druid."""

import asyncio

import pytest

from gateway.seams import InsertSpec, Submitted, TaskProgress, TaskState, TellsProgress, Warehouse
from protocol.types import BIGINT, Column
from tests.contract.batches import DEADLINE_S, final_state, fresh, ndjson, submission

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPEC_COLUMNS = (Column("N", BIGINT),)
START = 1_700_000_000_123


def rows(count: int) -> bytes:
    return ndjson(*({"__arrival": START, "N": n} for n in range(count)))


async def ended(warehouse: Warehouse, task_id: str) -> TaskProgress:
    assert isinstance(warehouse, TellsProgress)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = (await warehouse.task_progress([task_id, "nobody-knows-it"])).get(task_id)
            if found is not None and found.is_over:
                return found
            await asyncio.sleep(0.05)


async def test_a_task_that_is_over_tells_its_rows_and_its_time_though_it_was_released(
    warehouse: Warehouse,
) -> None:
    batch = submission(InsertSpec(datasource=fresh("progress"), columns=SPEC_COLUMNS), rows(20))
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
    await warehouse.release(batch.task_id)
    found = await ended(warehouse, batch.task_id)
    assert (found.rows_in, found.rows_out) == (20, 20)
    assert found.duration_ms is not None
    assert found.duration_ms >= 0


async def test_of_an_unknown_task_nothing_is_told(warehouse: Warehouse) -> None:
    assert isinstance(warehouse, TellsProgress)
    assert await warehouse.task_progress(["nobody-knows-it"]) == {}
    assert await warehouse.task_progress([]) == {}


async def test_a_failed_task_has_written_nothing(warehouse: Warehouse) -> None:
    spec = InsertSpec(datasource=fresh("progress"), columns=SPEC_COLUMNS)
    batch = submission(spec, rows(3) + b"{nonsense\n")
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.FAILED
    assert not (await ended(warehouse, batch.task_id)).rows_out
