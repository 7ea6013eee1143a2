"""The operator's say over batches that cannot go on: tried again, taken for committed, given up."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest import operator
from gateway.ingest.batches import BatchState
from gateway.ingest.log import SpoolLog
from gateway.seams import AckLevel, TaskState
from protocol.errors import BadRequest, NotFound, SpoolAway, WarehouseAway
from tests.fakes import Changes, Outcome, Plan, RecordingSink, Reply, ScriptedWarehouse
from tests.ingest_house import LIMITS, House, house, lines, refusing_disk
from tests.on_channels import on, send, where

HALF = Plan(outcome=Outcome.FAILED_HALF_WAY)
REFUSED = Plan(reply=Reply.REFUSED)
FOREVER = Plan(running_asks=10**9)
STUCK = {BatchState.HELD: HALF, BatchState.FAILED: REFUSED}
DECISIONS = ["retry", "accept", "drop"]


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


async def decide(made: House, decision: str, batch_id: str) -> None:
    await getattr(made.room.batches, decision)(batch_id)


async def stuck(made: House, rows: int = 3) -> tuple[str, RecordingSink]:
    """The first batch cannot go on; its id, and who sent its rows on channel c."""
    sink = await send(made, 0, rows)
    await made.changes.until(lambda: bool(made.committer.held))
    await made.until_idle()
    # As the operator would: what was there of it is removed before anything is decided.
    made.warehouse.published.clear()
    return made.committer.held[0].id, sink


def end(warehouse: ScriptedWarehouse) -> None:
    for task in warehouse.tasks.values():
        task.running_asks = 1


# ── what is listed ───────────────────────────────────────────────────────────────────────────


async def test_batches_are_listed_by_their_sealing_until_they_are_committed(
    tmp_path: Path,
) -> None:
    warehouse = scripted(HALF, FOREVER)
    async with house(tmp_path / "spool.db", warehouse) as made:
        held_id, _ = await stuck(made)
        await made.spool(lines(5, 2))
        await made.changes.until(lambda: len(warehouse.tasks) == 2)
        held, running = await made.room.batches.all()
        assert (held.id, held.state, held.attempt, held.rows) == (held_id, "HELD", 1, 3)
        assert held.error == "1 of 3 rows are in the warehouse"
        assert (held.stream, held.datasource, held.task_id) == ("S", "ds", held_id)
        assert (running.rows, running.size_bytes) == (2, len(lines(5, 2)))
        assert running.sealed_ms >= held.sealed_ms > 1_600_000_000_000
        end(warehouse)
        await made.changes.until(lambda: bool(made.committed))
        await made.until_idle()
        assert [view.id for view in await made.room.batches.all()] == [held_id]
        assert made.room.health()["batches"] == {"isHealthy": False, "held": [held_id], "live": 0}


@pytest.mark.parametrize("decision", DECISIONS)
async def test_a_batch_that_waits_for_nobody_cannot_be_resolved(
    tmp_path: Path, decision: str
) -> None:
    warehouse = scripted(FOREVER)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 1))
        await made.changes.until(lambda: bool(warehouse.tasks))
        (batch_id,) = warehouse.tasks
        with pytest.raises(BadRequest, match=rf"{batch_id} is on its way .*HELD or FAILED"):
            await decide(made, decision, batch_id)
        with pytest.raises(NotFound, match="No batch hr-4711 waits for the operator"):
            await decide(made, decision, "hr-4711")
        end(warehouse)
        await made.until_idle()
        with pytest.raises(NotFound, match=batch_id):
            await decide(made, decision, batch_id)


# ── tried again ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", STUCK)
@pytest.mark.parametrize("restart", [False, True])
async def test_a_batch_is_tried_again_under_the_next_attempts_id(
    tmp_path: Path, state: BatchState, restart: bool
) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(STUCK[state])
    async with house(path, warehouse) as made:
        batch_id, sink = await stuck(made)
        assert made.committer.held[0].state is state
        assert sink.ended_at == 0
        assert (where(made) or ())[:2] == (3, 0)
        if not restart:
            await try_again(made, batch_id)
    if restart:
        async with house(path, warehouse) as made:
            await made.changes.until(lambda: bool(made.committer.held))
            await try_again(made, batch_id)


async def try_again(made: House, batch_id: str) -> None:
    made.warehouse.published.clear()
    _, again = await on(made, offset=0)
    await made.room.batches.retry(batch_id)
    await made.changes.until(lambda: again.settled_rows == {0, 1, 2})
    await made.until_idle()
    assert made.warehouse.submissions[-1] == f"{batch_id}-a2"
    assert made.warehouse.rows == lines(0, 3).splitlines()
    assert (where(made) or ())[:2] == (3, 3)
    assert made.committer.held == []


async def test_a_batch_that_is_tried_again_waits_for_a_slot(tmp_path: Path) -> None:
    warehouse = scripted(REFUSED)
    async with house(tmp_path / "spool.db", warehouse) as made:
        batch_id, _ = await stuck(made)
        warehouse.slots = 0
        await made.room.batches.retry(batch_id)
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 3)
        assert not warehouse.tasks
        (view,) = await made.room.batches.all()
        assert (view.state, view.attempt) == ("SEALED", 2)
        warehouse.slots = 1
        await made.until_idle()
        assert warehouse.rows == lines(0, 3).splitlines()


@pytest.mark.parametrize("decision", ["retry", "drop"])
async def test_a_batch_of_which_rows_are_or_may_come_is_not_tried_again_nor_given_up(
    tmp_path: Path, decision: str
) -> None:
    warehouse = scripted(HALF)
    async with house(tmp_path / "spool.db", warehouse) as made:
        batch_id, _ = await stuck(made)
        warehouse.published["ds", batch_id] = lines(0, 1).splitlines()
        with pytest.raises(BadRequest, match=r"1 of 3 rows .* would be there twice") as refused:
            await decide(made, decision, batch_id)
        assert f"\"_batch\" = '{batch_id}'" in refused.value.message
        warehouse.published.clear()
        warehouse.outages = 1
        with pytest.raises(WarehouseAway, match="nobody answers"):
            await decide(made, decision, batch_id)
        task = warehouse.tasks[batch_id]
        task.state, task.running_asks = TaskState.RUNNING, 10**9
        with pytest.raises(BadRequest, match=f"Task {batch_id} still runs"):
            await decide(made, decision, batch_id)
        task.state = TaskState.FAILED
        await decide(made, decision, batch_id)
        await made.until_idle()
        assert made.committer.held == []


# ── taken for committed ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", STUCK)
async def test_a_batch_that_is_taken_for_committed_enters_the_log_and_settles_who_waits(
    tmp_path: Path, state: BatchState
) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(STUCK[state])
    async with house(path, warehouse) as made:
        batch_id, sink = await stuck(made)
        _, again = await on(made, offset=0)
        assert again.settled_rows == set()
        await made.room.batches.accept(batch_id)
        assert (sink.settled_rows, again.settled_rows) == (set(), {0, 1, 2})
        assert (made.committer.held, await made.room.batches.all()) == ([], [])
        (committed,) = made.committed
        assert (committed.batch.id, committed.batch.commit_seq) == (batch_id, 1)
        assert (where(made) or ())[:2] == (3, 3)
    async with house(path, warehouse) as made:
        await made.until_recovered()
        log = SpoolLog(made.reader)
        log.recovered(made.reader.queues(), made.reader.log_end(), "id")
        (entry,) = await log.after(0)
        assert b"".join(entry.pieces()) == lines(0, 3)
        assert made.committer.held == []
        assert len(set(warehouse.submissions)) == 1


async def test_nobody_is_told_queryable_of_rows_that_a_select_does_not_see(
    tmp_path: Path,
) -> None:
    warehouse = scripted(REFUSED)
    async with house(tmp_path / "spool.db", warehouse) as made:
        batch_id, _ = await stuck(made)
        warehouse.published["ds", batch_id] = lines(0, 3).splitlines()
        warehouse.is_queryable = False
        _, committed = await on(made, offset=0)
        _, queryable = await on(made, offset=0, level=AckLevel.QUERYABLE)
        await made.room.batches.accept(batch_id)
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 3)
        assert (committed.settled_rows, queryable.settled_rows) == ({0, 1, 2}, set())
        warehouse.is_queryable = True
        await made.changes.until(lambda: queryable.settled_rows == {0, 1, 2})


# ── given up ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", STUCK)
async def test_each_row_of_a_batch_that_is_given_up_is_a_dead_letter(
    tmp_path: Path, state: BatchState
) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(STUCK[state])
    async with house(path, warehouse) as made:
        batch_id, _ = await stuck(made)
        reason = made.committer.held[0].error
        _, waiting = await on(made, offset=0)
        assert waiting.ended_at == 0
        await made.room.batches.drop(batch_id)
        _, after = await on(made, offset=0)
        assert sorted(after.failures) == [0, 1, 2]
        assert "given up by the operator" in after.failures[0].message
        letters = await made.room.dead_letters.find()
        shown = [(view.offset, view.line, view.raw, view.batch) for view in letters]
        assert shown == [(at, at + 1, lines(at, 1).strip(), batch_id) for at in range(3)]
        assert all(str(reason) in view.message for view in letters)
        assert {view.code for view in letters} == {"BatchDropped"}
        assert await made.room.batches.all() == []
        assert (where(made) or ())[:2] == (3, 3)
        _, again = await on(made, offset=0)
        assert (again.settled_rows, sorted(again.failures)) == (set(), [0, 1, 2])
        assert made.reader.log_end() == 0
    async with house(path, warehouse) as made:
        await made.until_recovered()
        await made.until_idle()
        assert (made.committer.held, made.reader.unsealed()) == ([], [])
        warehouse.published.clear()
        await made.room.dead_letters.retry(letters[1].id)
        await made.changes.until(lambda: warehouse.rows == lines(1, 1).splitlines())


async def test_a_row_that_was_cut_out_before_is_not_buried_twice(tmp_path: Path) -> None:
    warehouse = scripted(Plan(), HALF)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 1) + lines(1, 1, "poison") + lines(2, 1))
        await made.until_idle()
        (held,) = made.committer.held
        (cut,) = await made.room.dead_letters.find()
        await made.room.dead_letters.drop(cut.id)
        warehouse.published.clear()
        await made.room.batches.drop(held.id)
        views = await made.room.dead_letters.find(state="all")
        assert [(view.line, view.code, view.state) for view in views] == [
            (2, "BadRow", "dropped"),
            (1, "BatchDropped", "open"),
            (3, "BatchDropped", "open"),
        ]


async def test_a_drop_that_is_cut_short_goes_on_and_buries_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "ROWS_PER_STEP", 2)
    path, warehouse = tmp_path / "spool.db", scripted(HALF)
    async with house(path, warehouse) as made:
        batch_id, _ = await stuck(made, 7)
        record, records = made.writer.record, 0

        async def fails_at_the_fourth(apply):  # type: ignore[no-untyped-def]
            nonlocal records
            records += 1
            if records == 4:
                async with refusing_disk(SameWriter(record)):  # type: ignore[arg-type]
                    return await record(apply)
            return await record(apply)

        monkeypatch.setattr(made.writer, "record", fails_at_the_fourth)
        with pytest.raises(SpoolAway):
            await made.room.batches.drop(batch_id)
        assert len(made.reader.letters()) == 4
        assert [batch.id for batch in made.committer.held] == [batch_id]
        assert (where(made) or ())[:2] == (7, 0)
    async with house(path, warehouse) as made:
        await made.changes.until(lambda: bool(made.committer.held))
        await made.room.batches.drop(batch_id)
        letters = made.reader.letters()
        assert sorted(letter.line or 0 for letter in letters) == list(range(1, 8))
        assert {letter.offset for letter in letters} == set(range(7))
        assert (where(made) or ())[:2] == (7, 7)
        assert made.reader.unfinished() == []


class SameWriter:
    """A writer as it was before somebody stood in its way."""

    def __init__(self, record) -> None:  # type: ignore[no-untyped-def]
        self.record = record


async def test_a_batch_is_not_given_up_where_its_letters_have_no_room(tmp_path: Path) -> None:
    limits = replace(LIMITS, letters_bytes=2 * len(lines(0, 1)))
    async with house(tmp_path / "spool.db", scripted(HALF), limits=limits) as made:
        batch_id, _ = await stuck(made)
        with pytest.raises(BadRequest, match=r"ingest\.dead_letters_limit_bytes"):
            await made.room.batches.drop(batch_id)
        assert made.reader.letters() == []
        assert [batch.id for batch in made.committer.held] == [batch_id]
        await made.room.batches.accept(batch_id)


async def test_nobody_resolves_a_batch_that_somebody_else_resolves(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(HALF)) as made:
        batch_id, _ = await stuck(made)
        resolving = made.room.batches._resolving(batch_id)
        with resolving:
            for decision in DECISIONS:
                with pytest.raises(BadRequest, match="is being resolved"):
                    await decide(made, decision, batch_id)
        await made.room.batches.drop(batch_id)


async def test_chunks_of_a_batch_that_was_given_up_go_after_their_time(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(HALF)) as made:
        batch_id, _ = await stuck(made)
        await made.room.batches.drop(batch_id)
        assert await made.writer.record(lambda spool: spool.forget(0, 0)) == 0
        size = await made.writer.record(lambda spool: spool.forget(1 << 62, 1 << 30))
        assert size == len(lines(0, 3))
        views = await made.room.dead_letters.find()
        assert [(view.batch, view.offset) for view in views] == [(None, at) for at in range(3)]
