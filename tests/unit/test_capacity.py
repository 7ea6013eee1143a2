"""Room in the spool: by bytes, by age, and how it comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest.capacity import Capacity
from gateway.ingest.ingest_room import IngestLimits
from gateway.ingest.upkeep import RetentionLimits
from gateway.seams import SpoolFull
from tests.fakes import Changes, Outcome, Plan, RecordingSink, Reply, ScriptedWarehouse
from tests.ingest_house import LIMITS, House, house, lines
from tests.on_channels import on

ROW = lines(0, 1)
FOREVER = Plan(running_asks=10**9)
AT_ONCE = RetentionLimits(keep_s=0.0, keep_bytes=0, sweep_s=0.002)
OLD_S = 3600.0
"""Older than any row of a test is by itself."""


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


def limited(rows: int = 1 << 20, retention: RetentionLimits = AT_ONCE) -> IngestLimits:
    return replace(LIMITS, spool_bytes=rows * len(ROW), spool_age_s=OLD_S, retention=retention)


@asynccontextmanager
async def kept_up(made: House) -> AsyncIterator[None]:
    """The clock's work goes on for the length of a ``with``, and tells of room."""
    freed = made.intake.freed

    def told(size_bytes: int) -> None:
        freed(size_bytes)
        made.changes.tell()

    made.intake.freed = told  # type: ignore[method-assign]
    committer, *upkeep = made.room.works()
    committer.close()
    tasks = [asyncio.create_task(work) for work in upkeep]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def age(made: House) -> None:
    """Every row on its way has waited for long."""
    for live in made.committer._live.values():
        live.since -= 2 * OLD_S


# ── what is full ─────────────────────────────────────────────────────────────────────────────


def test_a_spool_is_full_at_its_bytes_and_says_so() -> None:
    capacity = Capacity(spool_bytes=10, stall_s=1.0)
    assert capacity.full() is None
    capacity.stored_bytes = 9
    assert capacity.full() is None
    capacity.stored_bytes = 10
    assert "10 of 10 bytes (ingest.spool_limit_bytes)" in (capacity.full() or "")


def test_a_spool_is_full_where_its_oldest_row_has_waited_too_long() -> None:
    waited = [59.0]
    capacity = Capacity(
        spool_bytes=10, stall_s=1.0, age_limit_s=60.0, backlog_age_s=lambda: waited[0]
    )
    assert capacity.full() is None
    waited[0] = 61.0
    text = capacity.full() or ""
    assert "waited 61 s" in text
    assert "ingest.spool_age_limit_s (60)" in text


async def test_a_full_spool_is_told_and_is_not_well(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0), limits=limited(2)) as made:
        await made.spool(lines(0, 2))
        assert not made.room.takes_rows
        spool = made.room.health()["spool"]
        assert (spool["isHealthy"], spool["storedBytes"]) == (False, 2 * len(ROW))
        assert "ingest.spool_limit_bytes" in spool["state"]
        assert "faultSinceMs" not in spool
        with pytest.raises(SpoolFull, match="the warehouse does not keep up"):
            await made.stream()


# ── how room comes back ──────────────────────────────────────────────────────────────────────


async def test_rows_that_are_held_back_go_on_once_retention_has_made_room(tmp_path: Path) -> None:
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse, limits=limited(2)) as made:
        stream, sink = await on(made)
        for seq in range(6):
            stream.append(seq, 1, lines(seq, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 2)
        async with kept_up(made):
            warehouse.slots = 1
            await made.changes.until(lambda: sink.settled_rows == set(range(6)))
            await made.changes.until(lambda: made.room.capacity.stored_bytes == 0)
        assert warehouse.rows == lines(0, 6).splitlines()
        assert made.room.takes_rows


async def test_committed_rows_that_are_retained_take_room(tmp_path: Path) -> None:
    keep = replace(AT_ONCE, keep_s=3600.0, keep_bytes=len(ROW))
    async with house(tmp_path / "spool.db", limits=limited(2, keep)) as made:
        for number in range(2):
            sink = await made.spool(lines(number, 1))
            await made.changes.until(lambda sink=sink: sink.settled_rows == {0})  # type: ignore[misc]
        assert not made.room.takes_rows
        async with kept_up(made):
            await made.changes.until(lambda: made.room.takes_rows)
        assert made.room.capacity.stored_bytes == len(ROW) == made.reader.stored_bytes()
        assert [batch.commit_seq for batch in made.reader.committed_after(0, 9)] == [2]


async def test_the_age_of_the_oldest_row_is_that_of_what_is_not_committed(tmp_path: Path) -> None:
    warehouse = scripted(FOREVER)
    async with house(tmp_path / "spool.db", warehouse, limits=limited()) as made:
        assert made.committer.backlog_age_s == 0.0
        sink = await made.spool(ROW)
        await made.changes.until(lambda: bool(warehouse.tasks))
        assert 0.0 < made.committer.backlog_age_s < OLD_S
        age(made)
        assert made.committer.backlog_age_s > OLD_S
        assert "ingest.spool_age_limit_s" in made.room.health()["spool"]["state"]
        with pytest.raises(SpoolFull, match="has waited"):
            await made.stream()
        end(warehouse)
        await made.changes.until(lambda: sink.settled_rows == {0})
        await made.until_idle()
        assert made.committer.backlog_age_s == 0.0


async def test_rows_that_wait_for_a_slot_have_an_age_too(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0), limits=limited()) as made:
        await made.spool(ROW)
        first = made.committer.backlog_age_s
        assert 0.0 < first < OLD_S
        await made.changes.until(lambda: made.committer.backlog_age_s > first)


async def test_rows_that_are_held_back_for_age_go_on_when_the_oldest_is_committed(
    tmp_path: Path,
) -> None:
    """Nothing of the clock's work runs: the commit itself lets them go."""
    warehouse = scripted(FOREVER)
    async with house(tmp_path / "spool.db", warehouse, limits=limited()) as made:
        sink = await held_back(made)
        end(warehouse)
        await made.changes.until(lambda: sink.settled_rows == {0, 1, 2})


async def test_rows_that_are_held_back_for_age_go_on_when_the_oldest_waits_for_the_operator(
    tmp_path: Path,
) -> None:
    warehouse = scripted(replace(FOREVER, outcome=Outcome.FAILED_HALF_WAY))
    async with house(tmp_path / "spool.db", warehouse, limits=limited()) as made:
        sink = await held_back(made)
        async with kept_up(made):
            end(warehouse)
            await made.changes.until(lambda: 2 in sink.settled_rows)
        assert sink.ended_at == 0
        assert len(made.committer.held) == 1


async def held_back(made: House) -> RecordingSink:
    """A stream whose first rows are in a task for ever, and whose next waits for them."""
    stream, sink = await made.stream()
    stream.append(0, 2, lines(0, 2), 1)
    await made.changes.until(lambda: made.warehouse.running == 1)
    age(made)
    stream.append(2, 1, lines(2, 1), 1)
    await made.writer.record(lambda _: None)
    assert made.reader.unsealed() == []
    return sink


async def test_halves_are_as_old_as_the_batch_that_they_were_cut_from(tmp_path: Path) -> None:
    warehouse = scripted(replace(FOREVER, outcome=Outcome.DATA_ERROR_SOMEWHERE), FOREVER, FOREVER)
    async with house(tmp_path / "spool.db", warehouse, limits=limited()) as made:
        await made.spool(lines(0, 2))
        await made.changes.until(lambda: bool(warehouse.tasks))
        age(made)
        end(warehouse)
        await made.changes.until(lambda: len(warehouse.tasks) == 3)
        assert made.committer.backlog_age_s > OLD_S


async def test_a_batch_that_the_warehouse_refuses_holds_nobody_back(tmp_path: Path) -> None:
    async with house(
        tmp_path / "spool.db", scripted(Plan(reply=Reply.REFUSED)), limits=limited()
    ) as made:
        await made.spool(ROW)
        await made.changes.until(lambda: bool(made.committer.held))
        await made.until_idle()
        assert made.committer.backlog_age_s == 0.0
        assert made.room.takes_rows


def end(warehouse: ScriptedWarehouse) -> None:
    for task in warehouse.tasks.values():
        task.running_asks = 1
