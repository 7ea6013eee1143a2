"""Batches that are to be submitted again wait for a slot, those that wait longest first."""

import asyncio
from pathlib import Path

from gateway.ingest.policy import BatchLimits
from gateway.ingest.turns import Turns
from tests.fakes import DEADLINE_S, Changes, Outcome, Plan, Reply, ScriptedWarehouse
from tests.ingest_house import house, lines

SEVERAL = BatchLimits(rows_max=1, bytes_max=1 << 20, age_s=0.0)
FAILED = Plan(outcome=Outcome.FAILED)


def scripted(*plans: Plan, slots: int) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


async def test_turns_are_given_in_order_and_no_more_than_there_are() -> None:
    turns = Turns()
    wanted, given, had = list[int](), list[int](), list[int]()

    async def take(number: int) -> None:
        await turns.wait(lambda: given.append(number))
        had.append(number)

    turns.on_wanted = lambda: wanted.append(len(turns))
    waiting = [asyncio.ensure_future(take(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert (len(turns), len(wanted)) == (4, 4)
    assert turns.give(0) == 0
    assert turns.give(2) == 2
    assert (len(turns), given, had) == (2, [0, 1], [])
    await asyncio.wait_for(asyncio.gather(*waiting[:2]), DEADLINE_S)
    assert had == [0, 1]
    waiting[2].cancel()
    await asyncio.sleep(0)
    assert len(turns) == 1
    assert turns.give(5) == 1
    await asyncio.wait_for(waiting[3], DEADLINE_S)
    assert (given, had, len(turns)) == ([0, 1, 3], [0, 1, 3], 0)


async def test_no_attempt_takes_a_slot_that_is_not_free(tmp_path: Path) -> None:
    """First, second and third attempts of many batches, and new ones, over one slot."""
    plans = [FAILED, Plan(running_asks=3), FAILED, Plan(reply=Reply.LOST_BEFORE)] * 3
    warehouse = scripted(*plans, slots=0)
    async with house(tmp_path / "spool.db", warehouse, limits=SEVERAL) as made:
        sinks = [await made.spool(lines(number, 1)) for number in range(8)]
        warehouse.slots = 1
        await made.until_idle()
        assert warehouse.most_running == 1
        assert warehouse.rows == sorted(lines(0, 8).splitlines())
        assert all(sink.settled_rows == {0} for sink in sinks)


async def test_batches_of_the_last_process_wait_for_a_slot_too(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with house(path, start=False) as made:
        for number in range(5):
            await made.spool(lines(number, 1))
            chunk = made.chunks[-1]
            await made.writer.record(
                lambda spool, chunk=chunk: spool.seal(  # type: ignore[misc]
                    (chunk.id, chunk.id), chunk.queue, 1, chunk.size_bytes, 0
                )
            )
    warehouse = scripted(*[Plan(running_asks=3)] * 5, slots=2)
    async with house(path, warehouse) as made:
        await made.changes.until(lambda: len(made.committed) == 5)
        await made.until_idle()
        assert warehouse.most_running == 2
        assert warehouse.rows == sorted(lines(0, 5).splitlines())


async def test_who_waits_for_a_slot_is_stopped_without_harm(tmp_path: Path) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(FAILED, slots=1)
    async with house(path, warehouse) as made:
        await made.spool(lines(0, 1))
        await made.changes.until(lambda: bool(warehouse.tasks))
        warehouse.slots = 0
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 20)
        assert len(warehouse.submissions) == 1
    async with house(path, warehouse) as made:
        await made.changes.until(lambda: ("statuses", warehouse.submissions[0]) in warehouse.calls)
        warehouse.slots = 1
        await made.until_idle()
        assert warehouse.rows == lines(0, 1).splitlines()
        assert len(set(warehouse.submissions)) == 2
