"""How far tasks have come: MSQ's live reports, and the last one, as `TaskProgress`.

A report quotes an inline batch whole, so it is asked for when somebody wants to know, and by a few
at a time. Source: the report of ``api-reference/sql-ingestion-api``; 27.0.0 tells no segments by
name, but makes one of each partition that its last stage writes.
"""

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

from gateway.seams import TaskProgress, WarehouseUnreachable
from gateway.warehouse.druid.tasks import Tasks

REPORTS_AT_ONCE = 4

_NOT_BEGUN = (None, "NEW")
_WRITES = "segmentGenerator"


class Progress:
    """Asks for the reports of one cluster's tasks."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._turns = asyncio.Semaphore(REPORTS_AT_ONCE)

    async def of(self, query_ids: Collection[str]) -> dict[str, TaskProgress]:
        """By query id; a task without a report now, or whose report is lost, is absent."""
        asked = list(query_ids)
        found = await asyncio.gather(*map(self._one, asked))
        return {at: told for at, told in zip(asked, found, strict=True) if told is not None}

    async def _one(self, query_id: str) -> TaskProgress | None:
        async with self._turns:
            try:
                payload = await self._tasks.report_now(query_id)
            except WarehouseUnreachable:
                return None
        return None if payload is None else progress(payload)


def progress(payload: dict[str, Any]) -> TaskProgress:
    """What the payload of a report says; what it leaves out, or says otherwise, is None."""
    status = _mapping(payload.get("status"))
    stages = [_mapping(stage) for stage in _list(payload.get("stages"))]
    counters = _mapping(payload.get("counters"))
    begun = [stage for stage in stages if stage.get("phase") not in _NOT_BEGUN]
    newest = max(begun, key=lambda stage: _number(stage.get("stageNumber")) or 0, default={})
    duration_ms = _number(status.get("durationMs"))
    is_over = status.get("status") in ("SUCCESS", "FAILED")
    return TaskProgress(
        stage=f"{newest.get('stageNumber')}:{newest.get('phase')}" if newest else None,
        workers=_number(newest.get("workerCount")),
        rows_in=_rows_in(stages, counters),
        rows_out=_rows_out(stages, counters),
        segments=_segments(status, stages) if status.get("status") == "SUCCESS" else None,
        # -1: it has not started.
        duration_ms=duration_ms if duration_ms is not None and duration_ms >= 0 else None,
        is_over=is_over,
    )


def _rows_in(stages: list[dict[str, Any]], counters: dict[str, Any]) -> int | None:
    """Rows read of whatever is not another stage of the task.

    27 does not count what an inline source gives. Our inserts leave nothing out, so that is what
    the stage has put out.
    """
    read: list[int] = []
    for stage in stages:
        sources = map(_mapping, _list(_definition(stage).get("input")))
        outside = [at for at, source in enumerate(sources) if source.get("type") != "stage"]
        for worker in _workers(stage, counters) if outside else ():
            inputs = (_mapping(worker.get(f"input{at}")) for at in outside)
            told = [number for one in inputs for number in _numbers(one.get("rows"))]
            read += told or _numbers(_mapping(worker.get("output")).get("rows"))
    return sum(read) if read else None


def _rows_out(stages: list[dict[str, Any]], counters: dict[str, Any]) -> int | None:
    pushed = [
        _number(_mapping(worker.get("segmentGenerationProgress")).get("rowsPushed"))
        for stage in stages
        if _writes(stage)
        for worker in _workers(stage, counters)
    ]
    known = [rows for rows in pushed if rows is not None]
    return sum(known) if known else None


def _segments(status: dict[str, Any], stages: list[dict[str, Any]]) -> int | None:
    for name in ("segmentLoadWaiterStatus", "segmentLoadStatus"):
        total = _number(_mapping(status.get(name)).get("totalSegments"))
        if total is not None:
            return total
    return next((_number(stage.get("partitionCount")) for stage in stages if _writes(stage)), None)


def _workers(stage: dict[str, Any], counters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The counters of each worker of the stage, by name."""
    yield from map(_mapping, _mapping(counters.get(str(stage.get("stageNumber")))).values())


def _writes(stage: dict[str, Any]) -> bool:
    return _mapping(_definition(stage).get("processor")).get("type") == _WRITES


def _definition(stage: dict[str, Any]) -> dict[str, Any]:
    return _mapping(stage.get("definition"))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(value: Any) -> list[int]:
    return [number for part in _list(value) if (number := _number(part)) is not None]
