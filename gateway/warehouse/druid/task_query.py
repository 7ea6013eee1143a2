"""SELECT as an MSQ task: its rows stream out of the report once the task has ended.

Slower to its first row than `reading`, and it takes two task slots like any batch; but it reads
segments that no Historical has loaded, and joins and sorts that the native engine refuses. Druid
27 puts every row into the report (no limit, but its Indexer's memory); what a version leaves out
is refused by `report`. Known of 27.0.0: its tasks know no arrays of numbers (the task fails).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import structlog

from gateway.seams import (
    QueryBroken,
    QueryRefused,
    ResultColumn,
    RowLines,
    SubmissionRefused,
    TaskState,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.warehouse.druid.endings import Endings
from gateway.warehouse.druid.gate import SlotGate
from gateway.warehouse.druid.report import ReportReader
from gateway.warehouse.druid.slots import SLOTS_PER_TASK
from gateway.warehouse.druid.tasks import Tasks

_PIECE_BYTES = 64 << 10
_POLL_S = 0.1
_POLL_MAX_S = 0.5
_REPORT_POLL_S = 0.2
_ORPHANED_S = 3.0
"""How long a controller may run on after its only worker has failed, before it counts as stuck."""
_ATTEMPTS_MAX = 3
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)

log = structlog.get_logger("headrace.druid")

_NOT_THE_QUERYS_FAULT = frozenset(
    {
        "Canceled",
        "NotEnoughMemory",
        "TaskStartTimeout",
        "TooManyAttemptsForJob",
        "TooManyAttemptsForWorker",
        "UnknownError",
        "WorkerFailed",
        "WorkerRpcFailed",
    }
)
"""Fault codes of MSQ that say nothing against the SELECT (``multi-stage-query/reference``)."""


def task_context(query: WarehouseQuery) -> dict[str, Any]:
    """The context of the task. Raises `QueryRefused` for what a report cannot show."""
    zone = query.context.get("sqlTimeZone", "UTC")
    if zone not in ("UTC", "Etc/UTC", "Z"):
        raise QueryRefused(
            f"sqlTimeZone {zone!r} cannot be had with headrace.engine=task: the times in a task's "
            "report have no zone. Use UTC, or the native engine"
        )
    return {
        **query.context,
        "maxNumTasks": SLOTS_PER_TASK,
    }


class TaskResult:
    """The result of a task that has succeeded (`gateway.seams.Result`)."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.columns: tuple[ResultColumn, ...] = ()
        self._response = response
        self._reader = ReportReader()
        self._first: RowLines | None = None
        self._closed = False

    async def read_header(self) -> bool:
        """Read as far as the columns. False if this is no report with a result."""
        while self._reader.columns is None:
            piece = await self._piece()
            if not piece:
                return False
            self._first = self._reader.feed(piece)
        self.columns = self._reader.columns
        return True

    async def rows(self) -> AsyncIterator[RowLines]:
        """Chunks of about 64 KiB; raises `QueryBroken` short of the report's last bracket."""
        first, self._first = self._first, None
        if first is not None:
            yield first
        while piece := await self._piece():
            lines = self._reader.feed(piece)
            if lines is not None:
                yield lines
        last = self._reader.finish()
        if last is not None:
            yield last

    async def close(self) -> None:
        """Stop reading: the task itself is over."""
        self._closed = True
        self._response.close()

    async def _piece(self) -> bytes:
        if self._closed:
            raise QueryBroken("the query was closed")
        try:
            return await self._response.content.read(_PIECE_BYTES)
        except _BROKEN as error:
            raise QueryBroken(f"the task's report was cut: {error!r}") from error


class _Stuck(Exception):
    """The controller waits for a worker that has failed, and nobody will tell it."""


class TaskQueries:
    """Starts SELECTs as tasks, each through the gate as batches are.

    27.0.0 was seen to lose the place of a controller whose worker starts within a tenth of a
    second: the worker gives up ("Periodic fetch of controller location returned …locations=[]"),
    and the controller waits for it for minutes. A SELECT may be run again, so it is, as another
    task.
    """

    def __init__(
        self, tasks: Tasks, gate: SlotGate, endings: Endings, report_wait_s: float
    ) -> None:
        self._tasks = tasks
        self._gate = gate
        self._endings = endings
        self._report_wait_s = report_wait_s

    async def start(self, query: WarehouseQuery) -> TaskResult:
        """Run the task to its end and open its report.

        Raises `QueryRefused`, `QueryBroken` if the task failed by no fault of the SELECT, and
        `WarehouseUnreachable`. A task that nobody waits for any more is shut down.
        """
        context = task_context(query)
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            task_id = query.query_id if attempt == 1 else f"{query.query_id}-a{attempt}"
            try:
                return await self._attempt(query.sql, {**context, "sqlQueryId": task_id}, task_id)
            except _Stuck:
                log.warning("a task of a query is stuck", task_id=task_id, attempt=attempt)
        raise QueryBroken(f"the task lost its worker {_ATTEMPTS_MAX} times")

    async def _attempt(self, sql: str, context: dict[str, Any], task_id: str) -> TaskResult:
        await self._gate.enter(task_id)
        try:
            try:
                await self._tasks.submit(sql, context)
            finally:
                self._gate.sent(task_id)
            await self._succeeded(task_id)
            return await self._report(task_id)
        except SubmissionRefused as refused:
            self._gate.left(task_id)
            raise QueryRefused(str(refused)) from refused
        except (QueryRefused, QueryBroken):
            raise  # the task is final
        except BaseException:
            self._endings.task(task_id)
            raise

    async def _succeeded(self, task_id: str) -> None:
        """Wait for the task's success. Raises `QueryRefused` or `QueryBroken` for its failure."""
        loop = asyncio.get_running_loop()
        worker = f"{task_id}-worker0_0"
        orphaned_at: float | None = None
        poll_s = _POLL_S
        while True:
            states = await self._tasks.states((task_id, worker))
            self._gate.observe((task_id,), states)
            match states.get(task_id):
                case TaskState.SUCCESS:
                    return
                case TaskState.FAILED:
                    raise await self._fault(task_id)
                case None:
                    raise WarehouseUnreachable(f"Druid does not know the task {task_id} any more")
            if states.get(worker) is TaskState.FAILED:
                orphaned_at = orphaned_at or loop.time()
                if loop.time() > orphaned_at + _ORPHANED_S:
                    raise _Stuck
            await asyncio.sleep(poll_s)
            poll_s = min(_POLL_MAX_S, poll_s * 1.2)

    async def _fault(self, task_id: str) -> QueryRefused | QueryBroken:
        """What the failure of the task means for the one who asked."""
        failure = await self._tasks.failure(task_id)
        fault = QueryBroken if failure.code in _NOT_THE_QUERYS_FAULT else QueryRefused
        return fault(f"{failure.code}: {failure.message}")

    async def _report(self, task_id: str) -> TaskResult:
        """The report, which may come late (``report_wait_s``)."""
        deadline = asyncio.get_running_loop().time() + self._report_wait_s
        while True:
            with contextlib.suppress(WarehouseUnreachable, QueryBroken):
                result = await self._opened(task_id)
                if result is not None:
                    return result
            if asyncio.get_running_loop().time() >= deadline:
                raise WarehouseUnreachable(f"no result in the report of the task {task_id}")
            await asyncio.sleep(_REPORT_POLL_S)

    async def _opened(self, task_id: str) -> TaskResult | None:
        response = await self._tasks.open_report(task_id)
        result = TaskResult(response)
        opened = False
        try:
            opened = response.status == 200 and await result.read_header()
        finally:
            if not opened:
                await result.close()
        return result if opened else None
