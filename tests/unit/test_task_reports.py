"""Changes of batches become rows: in the order of each batch, with what its task has told."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.task_log import TaskLog, TaskLogLimits
from gateway.ingest.task_reports import WAITING_MAX, TaskChange, TaskReports
from gateway.seams import TaskFailure, TaskProgress, WarehouseUnreachable
from tests.fakes import DEADLINE_S, Changes

S = BatchState
READING = TaskProgress(stage="0:READING_INPUT", workers=1)
WRITING = TaskProgress(stage="1:READING_INPUT", workers=1, rows_in=9)
OVER = TaskProgress(
    stage="1:FINISHED", workers=1, rows_in=9, rows_out=9, segments=2, duration_ms=50, is_over=True
)


class Teller:
    """A warehouse that tells what a test gives it; ``away``: it does not answer."""

    def __init__(self) -> None:
        self.told: dict[str, TaskProgress] = {}
        self.asked: list[list[str]] = []
        self.away = False
        self.changes = Changes()

    async def task_progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        """See `gateway.seams.TellsProgress`."""
        self.asked.append(sorted(task_ids))
        self.changes.tell()
        if self.away:
            raise WarehouseUnreachable("nobody answers")
        return {at: self.told[at] for at in task_ids if at in self.told}


class House:
    """The reports, and whoever reads them."""

    def __init__(self, teller: Teller | None, *, wait_s: float = DEADLINE_S) -> None:
        self.log = TaskLog(TaskLogLimits())
        self.reports = TaskReports(self.log, teller, poll_s=0.01, report_wait_s=wait_s)

    def tell(
        self, number: int, *states: BatchState, attempt: int = 1, failed: bool = False
    ) -> None:
        """Batch ``number`` comes into states, one after the other."""
        for state in states:
            batch = BatchRecord(
                number=number, id=f"b{number}", queue=1, first_chunk=1, last_chunk=1, rows=9,
                size_bytes=90, state=state, attempt=attempt,
            )  # fmt: skip
            failure = TaskFailure(code="BadRow", message="why") if failed else None
            change = TaskChange(
                batch=batch, target="T", rows=9, failure=failure, task_failed=failed
            )
            self.reports.changed(change)

    async def rows(self, count: int) -> list[dict[str, Any]]:
        """The first rows, once there are so many."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                entries = await self.log.after(len(found))
                found += [json.loads(b"".join(entry.pieces())) for entry in entries]
        assert len(found) == count
        return found


@asynccontextmanager
async def running(house: House) -> AsyncIterator[House]:
    """The background work goes on for the block, and must not have died."""
    work = asyncio.create_task(house.reports.run())
    try:
        yield house
    finally:
        assert not work.done()
        work.cancel()
        await asyncio.wait([work])


def states(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['STATE']}" for row in rows]


async def test_without_a_warehouse_that_tells_every_state_is_a_row_at_once() -> None:
    house = House(None)
    house.tell(1, S.SEALED, S.SUBMITTING, S.RUNNING, S.COMMITTED)
    rows = await house.rows(4)
    assert states(rows) == ["SEALED", "SUBMITTING", "RUNNING", "COMMITTED"]
    assert {(r["BATCH"], r["ATTEMPT"], r["TARGET"], r["TASK_ID"], r["BYTES"]) for r in rows} == {
        ("b1", 1, "T", "b1", 90)
    }
    assert [r["ROWS_OUT"] for r in rows] == [None, None, None, 9], "committed: they are all there"
    assert all(rows[at]["CHANGED_AT"] <= rows[at + 1]["CHANGED_AT"] for at in range(3))


async def test_the_last_row_waits_for_the_report_and_no_other_batch_waits_for_it() -> None:
    teller = Teller()
    async with running(House(teller)) as house:
        house.tell(1, S.RUNNING, S.COMMITTED)
        await teller.changes.until(lambda: len(teller.asked) > 1)
        house.tell(2, S.SEALED)
        assert states(await house.rows(2)) == ["RUNNING", "SEALED"]
        teller.told["b1"] = OVER
        row = (await house.rows(3))[2]
    assert (row["STATE"], row["STAGE"], row["SEGMENTS"]) == ("COMMITTED", "1:FINISHED", 2)
    assert (row["ROWS_IN"], row["ROWS_OUT"], row["DURATION_MS"]) == (9, 9, 50)


async def test_a_report_that_never_comes_is_not_waited_for_for_ever() -> None:
    for away in (False, True):
        teller = Teller()
        teller.away = away
        async with running(House(teller, wait_s=0.05)) as house:
            house.tell(1, S.RUNNING, S.COMMITTED)
            rows = await house.rows(2)
        assert states(rows) == ["RUNNING", "COMMITTED"]
        assert (rows[1]["STAGE"], rows[1]["ROWS_IN"], rows[1]["ROWS_OUT"]) == (None, 9, 9)


async def test_running_tasks_are_asked_for_in_one_call_and_only_while_somebody_listens() -> None:
    teller = Teller()
    teller.told = {"b1": READING, "b2": WRITING}
    async with running(House(teller)) as house:
        house.tell(1, S.RUNNING)
        house.tell(2, S.RUNNING)
        await asyncio.sleep(0)
        assert teller.asked == [], "nobody listens"
        rows = await house.rows(4)
        assert teller.asked[0] == ["b1", "b2"]
        assert [(r["TASK_ID"], r["STATE"], r["STAGE"], r["ROWS_IN"]) for r in rows[2:]] == [
            ("b1", "RUNNING", "0:READING_INPUT", None),
            ("b2", "RUNNING", "1:READING_INPUT", 9),
        ]
        looks = len(teller.asked)
        await teller.changes.until(lambda: len(teller.asked) > looks + 2)
        assert house.log.end() == 4, "what has not changed is no row"
        teller.told["b1"] = WRITING
        assert (await house.rows(5))[4]["STAGE"] == "1:READING_INPUT"


async def test_a_live_report_that_says_over_is_not_asked_for_again() -> None:
    teller = Teller()
    teller.told = {"b1": OVER}
    async with running(House(teller)) as house:
        house.tell(1, S.RUNNING)
        await house.rows(2)
        teller.told.clear()
        house.tell(1, S.COMMITTED)
        rows = await house.rows(3)
    assert rows[2]["SEGMENTS"] == 2


async def test_a_failed_attempt_tells_where_it_stopped_and_the_next_begins_anew() -> None:
    teller = Teller()
    teller.told = {"b1": TaskProgress(stage="0:FAILED", rows_in=4, is_over=True)}
    async with running(House(teller)) as house:
        house.tell(1, S.RUNNING)
        house.tell(1, S.VERIFYING, S.WAITING, failed=True)
        house.tell(1, S.SUBMITTING, S.RUNNING, attempt=2, failed=True)
        rows = (await house.rows(5))[:5]
    assert states(rows) == ["RUNNING", "VERIFYING", "WAITING", "SUBMITTING", "RUNNING"]
    assert [r["STAGE"] for r in rows] == [None, "0:FAILED", "0:FAILED", None, None]
    errors = [(r["ERROR_CODE"], r["ERROR_MESSAGE"]) for r in rows]
    assert errors == [(None, None), (None, None), ("BadRow", "why"), (None, None), (None, None)]
    assert [r["TASK_ID"] for r in rows] == ["b1", "b1", "b1", "b1-a2", "b1-a2"]


async def test_two_ends_of_one_batch_each_wait_for_their_own_report() -> None:
    teller = Teller()
    async with running(House(teller)) as house:
        house.tell(1, S.RUNNING)
        house.tell(1, S.VERIFYING, S.WAITING, failed=True)
        house.tell(1, S.SUBMITTING, S.RUNNING, S.COMMITTED, attempt=2)
        teller.told = {"b1": TaskProgress(stage="0:FAILED", is_over=True)}
        assert states(await house.rows(5))[-1] == "RUNNING"
        teller.told["b1-a2"] = OVER
        rows = await house.rows(6)
    assert (rows[5]["STATE"], rows[5]["STAGE"]) == ("COMMITTED", "1:FINISHED")


async def test_those_beyond_the_limit_are_told_without_a_report() -> None:
    teller = Teller()
    house = House(teller)
    for number in range(WAITING_MAX + 3):
        house.tell(number, S.COMMITTED)
    assert [row["BATCH"] for row in await house.rows(3)] == [
        f"b{WAITING_MAX + n}" for n in range(3)
    ]


async def test_nothing_is_kept_of_a_batch_that_is_final() -> None:
    house = House(None)
    for number, state in enumerate((S.COMMITTED, S.HELD, S.FAILED, S.SPLIT, S.DROPPED)):
        house.tell(number, S.SEALED, state, failed=True)
    assert house.reports._lives == {}
    assert [r["ERROR_CODE"] for r in await house.rows(10)][1::2] == [None, *["BadRow"] * 4]
