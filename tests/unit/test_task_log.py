"""The log of task changes as push queries read it: in order, bounded, and told to who waits."""

import asyncio
import json
from typing import Any

import pytest

from gateway.ingest import task_log
from gateway.ingest.task_log import COLUMNS, TASK_SOURCE, TaskLog, TaskLogLimits
from gateway.seams import EntryGone, PushLog

LIMITS = TaskLogLimits(rows=5, size_bytes=1 << 20)


def filled(count: int, limits: TaskLogLimits = LIMITS, text: str = "") -> TaskLog:
    """A log with the rows 1 to ``count``."""
    log = TaskLog(limits)
    for number in range(1, count + 1):
        log.append({"BATCH": f"b{number}{text}"})
    return log


async def read(log: PushLog, position: int) -> list[tuple[int, Any]]:
    entries = await log.after(position)
    assert all(entry.source == TASK_SOURCE.name for entry in entries)
    return [(e.position, json.loads(b"".join(e.pieces()))["BATCH"]) for e in entries]


async def test_rows_are_read_in_their_order_from_any_place() -> None:
    log = filled(3)
    assert log.end() == 3
    assert await log.retained() == ((1, 3),)
    assert await read(log, 0) == [(1, "b1"), (2, "b2"), (3, "b3")]
    assert await read(log, 2) == [(3, "b3")]


async def test_an_empty_log_retains_nothing_and_begins_behind_zero() -> None:
    log = TaskLog(LIMITS)
    assert log.end() == 0
    assert await log.retained() == ((1, 0),)


async def test_who_waits_at_the_end_is_given_the_next_row() -> None:
    log = filled(2)
    waiting = [asyncio.create_task(read(log, 2)) for _ in range(3)]
    await asyncio.sleep(0)
    log.append({"BATCH": "b3"})
    assert await asyncio.gather(*waiting) == [[(3, "b3")]] * 3


async def test_the_oldest_rows_go_when_there_are_too_many() -> None:
    log = filled(12)
    assert await log.retained() == ((8, 12),)
    assert [position for position, _ in await read(log, 7)] == [8, 9, 10, 11, 12]
    with pytest.raises(EntryGone):
        await log.after(6)


async def test_the_oldest_rows_go_when_they_take_too_much_but_the_newest_stays() -> None:
    log = filled(50, TaskLogLimits(rows=1000, size_bytes=10_000))
    ((first, last),) = await log.retained()
    assert last == 50
    assert 5 < last + 1 - first < 17
    huge = filled(3, TaskLogLimits(rows=1000, size_bytes=10_000), text="x" * 20_000)
    assert await huge.retained() == ((3, 3),)


async def test_a_piece_is_read_again_and_there_is_only_one() -> None:
    (entry,) = await filled(1).after(0)
    assert b"".join(entry.pieces()) == b"".join(entry.pieces(0)) == b'{"BATCH":"b1"}\n'
    assert list(entry.pieces(1)) == []
    assert entry.size_bytes == len(b'{"BATCH":"b1"}\n')


async def test_it_knows_whether_anybody_listens_and_tells_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = filled(1)
    began: list[int] = []
    log.on_listener = lambda: began.append(1)
    assert not log.is_listened_to
    waiting = [asyncio.create_task(log.after(1)) for _ in range(2)]
    await asyncio.sleep(0)
    assert log.is_listened_to
    assert began == [1], "the second is no news"
    for one in waiting:
        one.cancel()
    monkeypatch.setattr(task_log, "HEARD_S", -1.0)
    await asyncio.wait(waiting)
    assert not log.is_listened_to, "so long ago"


def test_two_logs_are_never_taken_for_one() -> None:
    assert TaskLog(LIMITS).log_id != TaskLog(LIMITS).log_id


def test_its_rows_have_the_documented_columns_and_a_time() -> None:
    assert [column.name for column in COLUMNS] == [
        *("BATCH", "ATTEMPT", "TARGET", "TASK_ID", "STATE", "STAGE", "WORKERS", "ROWS_IN"),
        *("ROWS_OUT", "BYTES", "SEGMENTS", "DURATION_MS", "ERROR_CODE", "ERROR_MESSAGE"),
        "CHANGED_AT",
    ]
    assert TASK_SOURCE.spec.time_column == "CHANGED_AT"
