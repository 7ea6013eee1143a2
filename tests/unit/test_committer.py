"""The committer against a warehouse that fails as it is told: every row once, every word kept."""

import random
from pathlib import Path

import pytest

from gateway.ingest.batches import BatchState
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.seams import AckLevel, Submission, TaskFailure
from tests.fakes import (
    Changes,
    Outcome,
    Plan,
    RecordingSink,
    Reply,
    ScriptedWarehouse,
)
from tests.ingest_house import BlockedDisk, House, house, lines, refusing_disk

ONE_CHUNK = BatchLimits(rows_max=1, bytes_max=1 << 20, age_s=0.0)
"""Every chunk is a batch of its own."""


def scripted(*plans: Plan, slots: int = 8, outages: int = 0) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), slots=slots, plans=list(plans), outages=outages)


def sealed_ids(made: House) -> list[str]:
    return [committed.batch.id for committed in made.committed]


def check_settled_after_final(made: House, sink: RecordingSink) -> None:
    """When a word comes, the batch is final on disk already."""
    sink.on_settled = lambda: _assert_final(made)


def _assert_final(made: House) -> None:
    assert made.reader.unfinished() == []
    assert len(made.reader.committed_after(0, 100)) == 1


async def test_rows_are_published_once_and_acked_once_their_batch_is_final_on_disk(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db") as made:
        stream, sink = await made.stream()
        check_settled_after_final(made, sink)
        stream.append(0, 5, lines(0, 5), 1)
        await made.changes.until(lambda: len(sink.settled_rows) == 5)
        await made.until_idle()
        assert made.warehouse.rows == sorted(lines(0, 5).splitlines())
        (batch_id,) = sealed_ids(made)
        assert made.warehouse.submissions == [batch_id]
        assert made.committed[0].batch.commit_seq == 1
        assert made.committed[0].queue.source == "S"
        assert (made.committer.live, made.committer.held, sink.failures) == ([], [], {})


F = Plan(outcome=Outcome.FAILED)
ONCE = {
    "the submission is lost": ([Plan(reply=Reply.LOST_BEFORE)], 1),
    "the submission is lost five times": ([Plan(reply=Reply.LOST_BEFORE)] * 5, 1),
    "the answer is lost": ([Plan(reply=Reply.LOST_AFTER)], 1),
    "the answer is lost and the task fails": (
        [Plan(reply=Reply.LOST_AFTER, outcome=Outcome.FAILED)],
        2,
    ),
    "the submission arrives late": ([Plan(reply=Reply.LATE), Plan(reply=Reply.LATE)], 1),
    "the task is unknown for a while": ([Plan(hidden_asks=5)], 1),
    "the answer is lost and the task is unknown for a while": (
        [Plan(reply=Reply.LOST_AFTER, hidden_asks=4, running_asks=3)],
        1,
    ),
    "the task fails": ([F], 2),
    "the task fails four times": ([F] * 4, 5),
    "the task fails after it has published": ([Plan(outcome=Outcome.FAILED_AFTER_PUBLISHING)], 1),
    "the answer is lost and the task fails after it has published": (
        [Plan(reply=Reply.LOST_AFTER, outcome=Outcome.FAILED_AFTER_PUBLISHING)],
        1,
    ),
    "the task runs long": ([Plan(running_asks=20)], 1),
    "lost, failed, late, hidden": (
        [Plan(reply=Reply.LOST_BEFORE), F, Plan(reply=Reply.LATE, outcome=Outcome.FAILED),
         Plan(hidden_asks=3)],
        3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ONCE)
async def test_every_row_is_published_exactly_once_whatever_becomes_of_a_submission(
    tmp_path: Path, case: str
) -> None:
    plans, attempts = ONCE[case]
    async with house(tmp_path / "spool.db", scripted(*plans)) as made:
        sink = await made.spool(lines(0, 3))
        await made.until_idle()
        assert made.warehouse.rows == sorted(lines(0, 3).splitlines())
        assert (sink.settled_rows, sink.failures) == ({0, 1, 2}, {})
        (batch_id,) = sealed_ids(made)
        ids = [batch_id, *(f"{batch_id}-a{number}" for number in range(2, attempts + 1))]
        assert list(dict.fromkeys(made.warehouse.submissions)) == ids
        if case == "the answer is lost":
            assert made.warehouse.submissions == [batch_id]


@pytest.mark.parametrize("outages", range(1, 12))
@pytest.mark.parametrize("plan", [Plan(), F, Plan(outcome=Outcome.FAILED_AFTER_PUBLISHING)])
async def test_a_warehouse_that_nobody_reaches_for_a_while_is_waited_for(
    tmp_path: Path, plan: Plan, outages: int
) -> None:
    """The outage begins with the submission, and ends in the middle of what follows it."""
    warehouse = scripted(plan, slots=0)
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await made.spool(lines(0, 2))
        warehouse.slots = 1
        warehouse.outages = outages
        await made.until_idle()
        assert warehouse.rows == sorted(lines(0, 2).splitlines())
        assert (sink.settled_rows, sink.failures) == ({0, 1}, {})


@pytest.mark.parametrize("seed", range(6))
async def test_every_row_is_published_exactly_once_in_a_storm_of_faults(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    replies = [Reply.SENT, Reply.SENT, Reply.LOST_BEFORE, Reply.LOST_AFTER, Reply.LATE]
    outcomes = [Outcome.SUCCESS, Outcome.FAILED, Outcome.FAILED_AFTER_PUBLISHING]
    plans = [
        Plan(draw.choice(replies), draw.choice(outcomes), draw.randrange(3), draw.randrange(1, 4))
        for _ in range(25)
    ]
    async with house(tmp_path / "spool.db", scripted(*plans, slots=3), limits=ONE_CHUNK) as made:
        sinks = []
        for number in range(8):
            made.warehouse.outages = draw.choice([0, 0, 1, 4])
            sinks.append(await made.spool(lines(10 * number, 2)))
        await made.until_idle()
        sent = b"".join(lines(10 * number, 2) for number in range(8))
        assert made.warehouse.rows == sorted(sent.splitlines())
        assert all(sink.settled_rows == {0, 1} and not sink.failures for sink in sinks)
        positions = [committed.batch.commit_seq for committed in made.committed]
        assert positions == list(range(1, len(positions) + 1))


async def test_rows_that_are_being_sealed_are_not_idle(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        await made.spool(lines(0, 1))
        async with BlockedDisk(made.writer):
            asked = len(made.warehouse.calls)
            made.warehouse.slots = 1
            await made.changes.until(lambda: len(made.warehouse.calls) > asked)
            assert not made.committer.idle
        await made.until_idle()
        assert made.committer.idle


# ── levels ───────────────────────────────────────────────────────────────────────────────────


async def test_receipts_are_settled_at_their_level_and_not_before(tmp_path: Path) -> None:
    warehouse = scripted(slots=0)
    warehouse.is_queryable = False
    async with house(tmp_path / "spool.db", warehouse) as made:
        spooled = await made.spool(lines(0, 1), AckLevel.SPOOLED)
        committed = await made.spool(lines(1, 1), AckLevel.COMMITTED)
        queryable = await made.spool(lines(2, 1), AckLevel.QUERYABLE)
        await made.changes.until(lambda: warehouse.calls.count(("free_batches", "")) > 3)
        assert [len(s.settled_rows) for s in (spooled, committed, queryable)] == [1, 0, 0]
        warehouse.slots = 1
        await made.until_idle()
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 3)
        assert [len(s.settled_rows) for s in (spooled, committed, queryable)] == [1, 1, 0]
        warehouse.outages = 2
        warehouse.is_queryable = True
        await made.changes.until(lambda: queryable.settled_rows == {0})


async def test_rows_that_do_not_become_queryable_in_time_fail_with_their_batch(
    tmp_path: Path,
) -> None:
    warehouse = scripted()
    warehouse.is_queryable = False
    times = CommitterTimes(poll_s=0.001, retry_s=0.001, retry_max_s=0.001, queryable_max_s=0.01)
    async with house(tmp_path / "spool.db", warehouse, times=times) as made:
        sink = await made.spool(lines(0, 1), AckLevel.QUERYABLE)
        await made.changes.until(lambda: bool(sink.failures))
        assert sealed_ids(made)[0] in sink.failures[0].message
        assert sink.settled_rows == set()


# ── rows at fault ────────────────────────────────────────────────────────────────────────────


async def test_a_row_at_fault_goes_to_the_dead_letters_and_the_others_commit(
    tmp_path: Path,
) -> None:
    bad = lines(1, 1, "poison") + lines(2, 1)
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse) as made:
        (one, hears), (other, too) = await made.stream(), await made.stream()
        one.append(0, 2, lines(0, 1) + lines(5, 1, "poison"), 1)
        other.append(0, 2, bad, 1)
        one.append(2, 2, lines(6, 1) + lines(7, 1, "poison"), 1)
        await made.changes.until(lambda: (hears.spooled_bytes, too.spooled_bytes) == (2, 1))
        warehouse.slots = 1
        await made.until_idle()
        good = lines(0, 1) + lines(2, 1) + lines(6, 1)
        assert made.warehouse.rows == sorted(good.splitlines())
        assert (sorted(hears.failures), sorted(too.failures)) == ([1, 3], [0])
        assert hears.failures[1].code == 50000
        assert "BadRow: Unable to parse row (Line: " in hears.failures[1].message
        assert (hears.acked, too.acked) == ({0}, set())
        assert 2 in hears.settled_rows
        (committed,) = made.committed
        letters = made.reader.dead_letters(committed.batch.number)
        assert b"".join(sorted(letter.raw for letter in letters)) == b"".join(
            [lines(1, 1, "poison"), lines(5, 1, "poison"), lines(7, 1, "poison")]
        )
        sealed = b"".join(made.reader.content(committed.batch)).splitlines(keepends=True)
        assert all(sealed[(letter.line or 0) - 1] == letter.raw for letter in letters)
        assert committed.batch.task_id.endswith("-a4")


async def test_a_batch_of_which_nothing_is_left_is_committed_with_no_row(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        sink = await made.spool(lines(0, 2, "poison"))
        await made.until_idle()
        assert made.warehouse.rows == []
        assert sorted(sink.failures) == [0, 1]
        assert sink.acked == set()
        assert (len(made.committed), made.committer.held) == (1, [])


async def test_a_letter_that_was_buried_before_a_crash_is_not_taken_for_the_next_line(
    tmp_path: Path,
) -> None:
    """The failed attempt's line counts in the rows that this attempt had, not in what is left."""
    path, raw = tmp_path / "spool.db", lines(0, 1) + lines(1, 1, "poison") + lines(2, 2)
    warehouse = scripted()
    async with house(path, warehouse) as made:
        buried: list[Submission] = []

        async def crash(task_id: str) -> TaskFailure:
            buried.append(warehouse.tasks[task_id].submission)
            await _die_after_the_next_record(made)
            return await ScriptedWarehouse.failure(warehouse, task_id)

        warehouse.failure = crash  # type: ignore[method-assign]
        await made.spool(raw)
        await made.changes.until(lambda: made.running is not None and made.running.done())
        made.running = None
        del warehouse.failure
    async with house(path, warehouse) as made:
        await made.until_idle()
        assert warehouse.rows == sorted((lines(0, 1) + lines(2, 2)).splitlines())
        (committed,) = made.committed
        assert [letter.line for letter in made.reader.dead_letters(committed.batch.number)] == [2]


async def _die_after_the_next_record(made: House) -> None:
    """Let the writer take one more record of the committer's, then end the committer."""
    record = made.writer.record

    async def last(apply):  # type: ignore[no-untyped-def]
        await record(apply)
        assert made.running is not None
        made.running.cancel()
        made.running.add_done_callback(lambda _: made.changes.tell())
        await Changes().until(lambda: False)

    made.writer.record = last  # type: ignore[method-assign]


# ── what cannot go on ────────────────────────────────────────────────────────────────────────

STUCK = {
    "half of the rows are there": (Plan(outcome=Outcome.FAILED_HALF_WAY), "1 of 2 rows"),
    "the warehouse refuses": (Plan(reply=Reply.REFUSED), "INSERT is not allowed here"),
}


@pytest.mark.parametrize("case", STUCK)
async def test_a_batch_that_cannot_go_on_is_listed_and_its_streams_are_told(
    tmp_path: Path, case: str
) -> None:
    plan, reason = STUCK[case]
    path, warehouse = tmp_path / "spool.db", scripted(plan)
    async with house(path, warehouse) as made:
        sink = await made.spool(lines(0, 2))
        await made.until_idle()
        (held,) = made.committer.held
        assert held.state is (BatchState.FAILED if "refuses" in case else BatchState.HELD)
        assert sink.settled_rows == set()
        assert list(sink.failures) == [0]
        assert sink.failures[0].code == 50000
        assert held.id in sink.failures[0].message
        assert reason in sink.failures[0].message
        assert reason in (held.error or "")
        other = await made.spool(lines(5, 1))
        await made.changes.until(lambda: other.settled_rows == {0})
    submissions = list(warehouse.submissions)
    async with house(path, warehouse) as made:
        await made.changes.until(lambda: bool(made.committer.held), deadline_s=5.0)
        assert [batch.id for batch in made.committer.held] == [held.id]
        assert reason in (made.committer.held[0].error or "")
        await made.spool(lines(6, 1))
        await made.until_idle()
    assert warehouse.submissions[: len(submissions)] == submissions
    assert held.id not in warehouse.submissions[len(submissions) :]


# ── room ─────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_tasks_run_than_there_are_slots(tmp_path: Path) -> None:
    warehouse = scripted(*[Plan(running_asks=4)] * 7, slots=0)
    async with house(tmp_path / "spool.db", warehouse, limits=ONE_CHUNK) as made:
        sinks = [await made.spool(lines(number, 1)) for number in range(7)]
        warehouse.slots = 2
        await made.until_idle()
        assert warehouse.most_running == 2
        assert all(sink.settled_rows == {0} for sink in sinks)


async def test_what_waits_for_a_slot_gathers_into_one_batch(tmp_path: Path) -> None:
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse) as made:
        for number in range(5):
            await made.spool(lines(number, 1))
        warehouse.slots = 1
        await made.until_idle()
        assert [committed.batch.rows for committed in made.committed] == [5]


async def test_attempts_come_further_apart_each_time(tmp_path: Path) -> None:
    times = CommitterTimes(poll_s=0.001, retry_s=0.002, retry_max_s=60.0)
    warehouse = scripted(*[F] * 6)
    async with house(tmp_path / "spool.db", warehouse, times=times) as made:
        await made.spool(lines(0, 1))
        await made.until_idle()
        assert len(warehouse.submissions) == 7
        assert warehouse.submitted_at[6] - warehouse.submitted_at[5] >= 0.5 * 0.002 * 2**5


async def test_what_was_kept_for_an_attempt_is_released_once_it_is_over(tmp_path: Path) -> None:
    warehouse = scripted(F, F)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 1) + lines(1, 1, "poison"))
        await made.until_idle()
        assert len(set(warehouse.submissions)) == 4
        assert warehouse.released == set(warehouse.submissions)


# ── a disk that refuses ──────────────────────────────────────────────────────────────────────


async def test_no_ack_leaves_before_the_end_of_a_batch_is_on_disk(tmp_path: Path) -> None:
    warehouse = scripted(Plan(running_asks=10**9))
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await made.spool(lines(0, 1))
        await made.changes.until(lambda: bool(warehouse.tasks))
        async with refusing_disk(made.writer):
            (task,) = warehouse.tasks.values()
            task.running_asks = 1
            await made.changes.until(lambda: made.writer.refused_records > 2)
            assert sink.settled_rows == set()
            assert made.committer.live
        await made.changes.until(lambda: sink.settled_rows == {0})
        assert warehouse.rows == lines(0, 1).splitlines()


async def test_rows_are_sealed_once_the_disk_takes_it_and_none_is_left_out(tmp_path: Path) -> None:
    """A range that is passed over would be found by nobody: batches cover a queue without a gap."""
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await made.spool(lines(0, 2))
        async with refusing_disk(made.writer):
            warehouse.slots = 1
            await made.changes.until(lambda: made.writer.refused_records > 0)
        await made.writer.record(lambda spool: spool.touch())
        late = await made.spool(lines(2, 1))
        await made.changes.until(lambda: late.settled_rows == {0})
        await made.until_idle()
        assert warehouse.rows == sorted(lines(0, 3).splitlines())
        assert (sink.settled_rows, sink.failures) == ({0, 1}, {})
