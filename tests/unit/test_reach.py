"""A warehouse that is away: rows go on being spooled, and everything goes on once it is back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.ingest.reach import ALERT_S, STALE_S, ReachedWarehouse
from gateway.seams import AckLevel, TaskState, WarehouseUnreachable
from tests.fakes import DEADLINE_S, Changes, Outcome, Plan, ScriptedWarehouse
from tests.ingest_house import house, lines, source
from tests.on_channels import send, where

AWAY = 10**9
FOREVER = Plan(running_asks=10**9)
LATE = CommitterTimes(poll_s=0.001, retry_s=3600.0, retry_max_s=3600.0, away_s=0.002)
"""Who waits for a retry waits for ever, unless somebody wakes it."""
SEVERAL = BatchLimits(rows_max=1, bytes_max=1 << 20, age_s=0.0)


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


# ── whether it answers ───────────────────────────────────────────────────────────────────────


def calls(reached: ReachedWarehouse) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "statuses": lambda: reached.statuses(["t"]),
        "count": lambda: reached.count("ds", "b"),
        "queryable": lambda: reached.queryable("ds", "b", 0),
        "free_batches": reached.free_batches,
    }


@pytest.mark.parametrize("call", ["statuses", "count", "queryable", "free_batches"])
async def test_a_call_tells_that_it_is_away_and_its_answer_that_it_is_back(call: str) -> None:
    warehouse = scripted()
    reached = ReachedWarehouse(warehouse)
    assert reached.lost_since is None
    warehouse.outages = 2
    before = asyncio.get_running_loop().time()
    with pytest.raises(WarehouseUnreachable):
        await calls(reached)[call]()
    since = reached.lost_since
    assert since is not None
    assert since >= before
    assert reached.error == "nobody answers"
    with pytest.raises(WarehouseUnreachable):
        await calls(reached)[call]()
    assert reached.lost_since == since
    await calls(reached)[call]()
    assert reached.lost_since is None


async def test_a_broker_that_is_away_stays_away_while_the_overlord_answers() -> None:
    warehouse = scripted()
    reached = ReachedWarehouse(warehouse)
    warehouse.outages = 1
    with pytest.raises(WarehouseUnreachable):
        await reached.count("ds", "b")
    since = reached.lost_since
    assert since is not None
    for _ in range(3):
        await reached.statuses([])
        await reached.free_batches()
    assert (reached.lost_since, reached.tasks_lost_since) == (since, None)
    assert await reached.count("ds", "b") == 0
    assert reached.lost_since is None


async def test_what_nobody_calls_any_more_is_not_taken_for_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = scripted()
    reached = ReachedWarehouse(warehouse)
    warehouse.outages = 1
    with pytest.raises(WarehouseUnreachable):
        await reached.count("ds", "b")
    loop = asyncio.get_running_loop()
    later = loop.time() + 2 * STALE_S
    monkeypatch.setattr(loop, "time", lambda: later)
    assert reached.lost_since is None
    monkeypatch.undo()


async def test_all_who_wait_wake_when_it_answers_anybody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warehouse = scripted()
    reached = ReachedWarehouse(warehouse)
    for _ in range(2):
        warehouse.outages = 1
        with pytest.raises(WarehouseUnreachable):
            await reached.free_batches()
        waiting = [asyncio.ensure_future(reached.wait(3600.0)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        assert await reached.statuses([]) == {}
        await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE_S)
    await asyncio.wait_for(reached.wait(0.0), DEADLINE_S)
    told = capsys.readouterr().out
    assert told.count("the warehouse does not answer") == 2
    assert told.count("the warehouse answers again") == 2


async def test_a_long_silence_is_told_once_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    warehouse = scripted()
    reached = ReachedWarehouse(warehouse)
    warehouse.outages = 4
    for turn in range(4):
        with pytest.raises(WarehouseUnreachable):
            await reached.free_batches()
        if turn == 1:
            assert reached._tasks._since is not None
            reached._tasks._since -= 2 * ALERT_S
    assert capsys.readouterr().out.count("has not answered for long") == 1


# ── what goes on meanwhile ───────────────────────────────────────────────────────────────────


async def test_rows_are_spooled_and_acked_while_the_warehouse_is_away(tmp_path: Path) -> None:
    warehouse = scripted()
    warehouse.outages = AWAY
    async with house(tmp_path / "spool.db", warehouse) as made:
        waiting = [await made.spool(lines(number, 1)) for number in range(3)]
        spooled = await made.spool(lines(3, 2), AckLevel.SPOOLED)
        assert spooled.settled_rows == {0, 1}
        await made.changes.until(lambda: bool(warehouse.calls))
        assert [sink.settled_rows for sink in waiting] == [set()] * 3
        health = made.room.health()
        assert health["spool"]["isHealthy"]
        assert made.room.takes_rows
        away = health["warehouse"]
        assert (away["isHealthy"], away["state"]) == (False, "nobody answers")
        assert abs(away["unreachableSinceMs"] / 1000 - time.time()) < 3600
        assert made.reader.unfinished() == []
        warehouse.outages = 0
        await made.until_idle()
        assert [sink.settled_rows for sink in waiting] == [{0}] * 3
        assert warehouse.rows == sorted(lines(0, 5).splitlines())
        assert made.room.health()["warehouse"] == {"isHealthy": True}


async def test_what_gathered_meanwhile_is_committed_in_its_order(tmp_path: Path) -> None:
    warehouse = scripted(slots=1)
    warehouse.outages = AWAY
    async with house(tmp_path / "spool.db", warehouse, limits=SEVERAL) as made:
        for number in range(4):
            await send(made, number, 1)
            await made.spool(lines(number, 1, "y"))
        warehouse.outages = 0
        await made.until_idle()
        firsts = [committed.batch.first_chunk for committed in made.committed]
        assert firsts == sorted(firsts)
        assert len(firsts) == 8
        assert (where(made) or ())[:2] == (4, 4)


@pytest.mark.parametrize("outages", [1, 3, 6])
async def test_who_sleeps_out_a_long_back_off_is_woken_when_it_answers(
    tmp_path: Path, outages: int
) -> None:
    """Every batch has lost the reply to its submission: none would ask again within the hour."""
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse, limits=SEVERAL, times=LATE) as made:
        sinks = [await made.spool(lines(number, 1)) for number in range(4)]
        warehouse.slots, free_batches = 8, warehouse.free_batches

        async def then_away() -> int:
            free = await free_batches()
            if made.reader.unfinished():
                return free
            warehouse.outages = outages
            return free

        warehouse.free_batches = then_away  # type: ignore[method-assign]
        await made.until_idle()
        assert all(sink.settled_rows == {0} for sink in sinks)
        assert warehouse.rows == sorted(lines(0, 4).splitlines())


async def test_a_task_that_ended_while_nobody_could_ask_is_found_at_its_end(
    tmp_path: Path,
) -> None:
    warehouse = scripted(FOREVER)
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await made.spool(lines(0, 2))
        await made.changes.until(lambda: bool(warehouse.tasks))
        warehouse.outages = AWAY
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 2)
        (task,) = warehouse.tasks.values()
        warehouse._publish(task, task.lines)
        task.state = TaskState.SUCCESS
        assert sink.settled_rows == set()
        warehouse.outages = 0
        await made.changes.until(lambda: sink.settled_rows == {0, 1})
        await made.until_idle()
        assert len(warehouse.submissions) == 1


async def test_the_longer_it_is_away_the_less_often_it_is_looked_for(tmp_path: Path) -> None:
    times = CommitterTimes(poll_s=0.5, retry_s=1.0, retry_max_s=2.0, away_s=8.0)
    warehouse = scripted()
    async with house(tmp_path / "spool.db", warehouse, times=times, start=False) as made:
        reached = made.room.reached
        now = asyncio.get_running_loop().time()
        for gone_s, least, most in ((0.0, 0.25, 0.5), (4.0, 0.9, 2.1), (1000.0, 4.0, 8.0)):
            reached._tasks._since, reached._tasks._newest = now - gone_s, now
            looks = [made.committer._away_s() for _ in range(50)]
            assert least <= min(looks)
            assert max(looks) <= most
            assert len(set(looks)) > 1
        reached._tasks._since = None


# ── slots ────────────────────────────────────────────────────────────────────────────────────


async def test_batches_grow_while_slots_are_scarce_and_shrink_back_when_they_are_free(
    tmp_path: Path,
) -> None:
    warehouse = scripted(slots=1)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 1))
        await made.until_idle()
        warehouse.plans = [FOREVER]
        await made.spool(lines(1, 1))
        await made.changes.until(lambda: warehouse.running == 1)
        for number in range(2, 8):
            await made.spool(lines(number, 1))
        assert warehouse.running == 1
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        for number in range(8, 10):
            await made.spool(lines(number, 1))
            await made.until_idle()
        assert [committed.batch.rows for committed in made.committed] == [1, 1, 6, 1, 1]
        assert warehouse.most_running == 1


async def test_a_target_that_waits_longest_has_the_next_slot(tmp_path: Path) -> None:
    warehouse = scripted(FOREVER, slots=1)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 1))
        await made.changes.until(lambda: warehouse.running == 1)
        for name in "BACA":
            stream, sink = await made.stream(of=source(name, datasource=name))
            stream.append(0, 1, lines(1, 1), 1)
            await made.changes.until(lambda sink=sink: sink.spooled_bytes == 1)  # type: ignore[misc]
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        assert [c.queue.source for c in made.committed] == ["S", "B", "A", "C"]
        assert [c.batch.rows for c in made.committed] == [1, 1, 2, 1]


async def test_a_batch_that_waits_alone_is_woken_when_it_answers(tmp_path: Path) -> None:
    """Nothing is due and nothing runs: somebody must look for the warehouse all the same."""
    warehouse = scripted(replace(FOREVER, outcome=Outcome.FAILED_AFTER_PUBLISHING))
    async with house(tmp_path / "spool.db", warehouse, times=LATE) as made:
        sink = await made.spool(lines(0, 1))
        await made.changes.until(lambda: bool(warehouse.tasks))
        count = warehouse.count

        async def lost_once(datasource: str, batch_id: str) -> int:
            warehouse.count = count  # type: ignore[method-assign]
            warehouse.outages = 3
            return await count(datasource, batch_id)

        warehouse.count = lost_once  # type: ignore[method-assign]
        (task,) = warehouse.tasks.values()
        task.running_asks = 1
        await made.changes.until(lambda: sink.settled_rows == {0})
        assert warehouse.rows == lines(0, 1).splitlines()
