"""The committer after a restart: whatever the last process left is asked for first."""

from pathlib import Path

import pytest

from gateway.ingest.batches import BatchState
from gateway.seams import Submission, TaskFailure, TaskState
from tests.fakes import Changes, Outcome, Plan, ScriptedWarehouse, Task
from tests.ingest_house import house, lines, source

F = Plan(outcome=Outcome.FAILED)


def scripted(*plans: Plan) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans))


async def sealed(path: Path, *, attempt: int = 1) -> str:
    """A spool with one batch of three rows that no committer carries; returns its id."""
    async with house(path, start=False) as made:
        await made.spool(lines(0, 3))
        (chunk,) = made.chunks
        batch_id = await made.writer.record(
            lambda spool: spool.seal((chunk.id, chunk.id), chunk.queue, 3, chunk.size_bytes, 0)
        )
        if attempt > 1:
            await made.writer.record(
                lambda spool: spool.move(1, BatchState.SEALED, attempt, "the last failed")
            )
        return batch_id


def known(warehouse: ScriptedWarehouse, task_id: str, batch_id: str, task_state: TaskState) -> None:
    """The warehouse has this task since before the restart."""
    submission = Submission(
        batch_id=batch_id, task_id=task_id, spec=source().spec, rows=3, content=NoBytes()
    )
    task = warehouse.tasks[task_id] = Task(submission, Plan(), lines(0, 3).split(b"\n")[:-1])
    task.state, task.running_asks = task_state, 2
    if task_state is TaskState.SUCCESS:
        warehouse.published["ds", batch_id] = list(task.lines)
    if task_state is TaskState.FAILED:
        task.failure = TaskFailure(code="WorkerLost", message="gone")


class NoBytes:
    """The bytes of a batch that the warehouse has long read."""

    size_bytes = 0

    def read(self, start: int = 0):  # type: ignore[no-untyped-def]
        """Nobody reads it again."""
        raise AssertionError(start)


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("task_state", [None, *TaskState])
async def test_a_batch_is_asked_for_after_a_restart_before_anything_is_sent(
    tmp_path: Path, attempt: int, task_state: TaskState | None
) -> None:
    path, warehouse = tmp_path / "spool.db", scripted()
    batch_id = await sealed(path, attempt=attempt)
    task_id = batch_id if attempt == 1 else f"{batch_id}-a{attempt}"
    if task_state is not None:
        known(warehouse, task_id, batch_id, task_state)
    async with house(path, warehouse) as made:
        await made.changes.until(lambda: bool(made.committed))
        await made.until_idle()
        assert warehouse.calls[0] == ("statuses", task_id)
        assert warehouse.rows == sorted(lines(0, 3).splitlines())
        expected = {
            None: [task_id],
            TaskState.RUNNING: [],
            TaskState.SUCCESS: [],
            TaskState.FAILED: [f"{batch_id}-a{attempt + 1}"],
        }[task_state]
        assert warehouse.submissions == expected


async def test_the_number_of_an_attempt_is_on_disk_before_it_is_submitted(tmp_path: Path) -> None:
    warehouse = scripted(F, F)
    async with house(tmp_path / "spool.db", warehouse) as made:
        on_disk: list[list[str]] = []
        submit = warehouse.submit

        async def look_then_submit(submission: Submission) -> object:
            on_disk.append([batch.task_id for batch in made.reader.unfinished()])
            return await submit(submission)

        warehouse.submit = look_then_submit  # type: ignore[method-assign,assignment]
        await made.spool(lines(0, 1))
        await made.until_idle()
        assert on_disk == [[task_id] for task_id in warehouse.submissions]


async def test_rows_that_were_in_no_batch_are_sealed_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with house(path, start=False) as made:
        await made.spool(lines(0, 2))
        await made.spool(lines(2, 2))
    async with house(path) as made:
        await made.changes.until(lambda: bool(made.committed))
        await made.until_idle()
        assert made.warehouse.rows == sorted(lines(0, 4).splitlines())


async def test_rows_that_are_spooled_while_the_committer_starts_are_in_one_batch(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        sink = await made.spool(lines(0, 2))
        made.start()
        await made.changes.until(lambda: sink.settled_rows == {0, 1})
        late = await made.spool(lines(2, 2))
        await made.changes.until(lambda: late.settled_rows == {0, 1})
        await made.until_idle()
        assert made.warehouse.rows == sorted(lines(0, 4).splitlines())
        assert [committed.batch.rows for committed in made.committed] == [2, 2]
