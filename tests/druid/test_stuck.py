"""A controller of the real Druid that waits for a worker which is gone: its batch goes on.

On a cluster of its own: 27.0.0 keeps such a controller in its slot even when it was shut down, and
other tests count their slots.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cluster import HOME, Cluster
from launch import choose_ports

from gateway.seams import InsertSpec, Submission, Submitted, TaskState
from gateway.warehouse.druid.orphans import worker_of
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from protocol.types import STRING, Column
from tests.contract.druid_fixture import MemoryBatch, opened_druid, unique, until

RAW = b"".join(b'{"__arrival":1700000000000,"s":"row %d"}\n' % n for n in range(3))
TRIES = 6


@pytest.fixture
def own_cluster(druid: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """Where `druid` can be assembled, another one can."""
    cluster = Cluster(tmp_path / "druid", HOME / "lib", choose_ports("free"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
async def warehouse(own_cluster: Cluster) -> AsyncIterator[DruidWarehouse]:
    settings = DruidSettings(urls=DruidUrls.router(""), fetch_base_url="", stuck_s=2.0)
    async with opened_druid(own_cluster.router, settings=settings) as opened:
        yield opened


def attempt(datasource: str, batch_id: str, number: int) -> Submission:
    return Submission(
        batch_id=batch_id,
        task_id=f"{batch_id}-a{number}",
        spec=InsertSpec(datasource=datasource, columns=(Column("s", STRING),)),
        rows=3,
        content=MemoryBatch(RAW),
    )


async def final_state(warehouse: DruidWarehouse, task_id: str) -> TaskState:
    states: dict[str, TaskState] = {}

    async def ended() -> bool:
        states.update(await warehouse.statuses([task_id]))
        return states[task_id] is not TaskState.RUNNING

    await until(ended)
    return states[task_id]


async def end_worker(warehouse: DruidWarehouse, task_id: str) -> None:
    """End the worker before its controller has noted its start, as losing its place does."""
    worker = worker_of(task_id)

    async def ended() -> bool:
        known = await warehouse._tasks.states([worker])
        return worker in known and await warehouse._tasks.shutdown(worker)

    await until(ended)


async def test_an_insert_whose_controller_waits_for_a_dead_worker_fails_and_is_done_again(
    warehouse: DruidWarehouse,
) -> None:
    name, batch_id = unique("stuck"), uuid.uuid4().hex
    for number in range(1, TRIES):
        batch = attempt(name, batch_id, number)
        assert await warehouse.submit(batch) is Submitted.ACCEPTED
        await end_worker(warehouse, batch.task_id)
        assert await final_state(warehouse, batch.task_id) is TaskState.FAILED
        failure = await warehouse.failure(batch.task_id)
        await warehouse.release(batch.task_id)
        if failure.code == "WorkerLost":
            break
        # The controller was quicker than we were, and ended by itself.
    else:
        pytest.fail("no controller was left waiting")
    assert await warehouse.count(name, batch_id) == 0
    again = attempt(name, batch_id, TRIES)
    assert await warehouse.submit(again) is Submitted.ACCEPTED
    assert await final_state(warehouse, again.task_id) is TaskState.SUCCESS
    assert await warehouse.count(name, batch_id) == 3
