"""The warehouse as the committer meets it, and whether it answers.

It may be away in part: Druid's Overlord tells of tasks while no Broker plans, or the other way
round. So silence is kept for two sides, calls about tasks and calls that are SQL: an answer of the
one is no sign of the other.

Who waits to try again waits here: an answer wakes all who wait for that side, so that nobody
sleeps out a long back-off after the warehouse is back.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Collection
from typing import TypeVar

import structlog

from gateway.seams import (
    Submission,
    Submitted,
    TaskFailure,
    TaskState,
    Warehouse,
    WarehouseUnreachable,
)

ALERT_S = 30.0
"""Silence after which it is said once more, as an error."""
STALE_S = 60.0
"""A side that nobody has called for so long is not taken for lost any more."""

_log = structlog.get_logger("headrace.committer")

T = TypeVar("T")


class _Side:
    """Whether calls of one kind are answered."""

    def __init__(self, name: str) -> None:
        self.error = ""
        self._name = name
        self._since: float | None = None
        self._newest = 0.0
        self._alerted = False
        self._back = asyncio.Event()
        self._silent_s = 0.0

    @property
    def silent_s(self) -> float:
        """Seconds without an answer so far, in sum."""
        return self._silent_s + (0.0 if self._since is None else self._newest - self._since)

    @property
    def lost_since(self) -> float | None:
        """Loop time of the first call that went unanswered; None: the newest was answered."""
        if self._since is None or self._newest + STALE_S < asyncio.get_running_loop().time():
            return None
        return self._since

    async def until_back(self, delay_s: float) -> None:
        """Wait so long, or until a call is answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._back.wait()

    def lost(self, lost: WarehouseUnreachable) -> None:
        """A call went unanswered."""
        now = self._newest = asyncio.get_running_loop().time()
        self.error = str(lost)
        if self._since is None:
            self._since = now
            self._back.clear()
            _log.warning("the warehouse does not answer", side=self._name, error=self.error)
        elif now - self._since > ALERT_S and not self._alerted:
            self._alerted = True
            _log.error(
                "the warehouse has not answered for long; rows go on being spooled",
                side=self._name,
                seconds=round(now - self._since),
                error=self.error,
            )

    def answered(self) -> None:
        """A call was answered."""
        if self._since is not None:
            _log.info("the warehouse answers again", side=self._name)
            self._silent_s += asyncio.get_running_loop().time() - self._since
            self._since = None
            self._alerted = False
            self._back.set()


class ReachedWarehouse:
    """The calls that going down takes; each may raise `WarehouseUnreachable`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.queryable_at_commit = warehouse.queryable_at_commit
        self.free: int | None = None
        """what `free_batches` gave last; None: it never did"""
        self._tasks = _Side("tasks")
        self._sql = _Side("SQL")

    @property
    def tasks_lost_since(self) -> float | None:
        """Loop time since when nothing is heard of tasks and slots; None: it is."""
        return self._tasks.lost_since

    @property
    def lost_since(self) -> float | None:
        """Loop time since when one side or both do not answer; None: both do."""
        sides = (self._tasks.lost_since, self._sql.lost_since)
        return min((since for since in sides if since is not None), default=None)

    @property
    def error(self) -> str:
        """What the newest call got that is not answered."""
        return self._sql.error if self._tasks.lost_since is None else self._tasks.error

    @property
    def silent_s(self) -> float:
        """Seconds without an answer so far, of the side that was silent longer."""
        return max(self._tasks.silent_s, self._sql.silent_s)

    async def wait(self, delay_s: float) -> None:
        """Wait before the next try; less if what is lost comes back meanwhile."""
        for side in (self._sql, self._tasks):
            if side.lost_since is not None:
                await side.until_back(delay_s)
                return
        await asyncio.sleep(delay_s)

    async def submit(self, submission: Submission) -> Submitted:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._sql, self._warehouse.submit(submission))

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""
        self._warehouse.resumed(submission)

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._tasks, self._warehouse.statuses(task_ids))

    async def failure(self, task_id: str) -> TaskFailure:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._tasks, self._warehouse.failure(task_id))

    async def count(self, datasource: str, batch_id: str) -> int:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._sql, self._warehouse.count(datasource, batch_id))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._sql, self._warehouse.queryable(datasource, batch_id, rows))

    async def free_batches(self) -> int:
        """See `gateway.seams.Warehouse`."""
        self.free = await self._ask(self._tasks, self._warehouse.free_batches())
        return self.free

    async def release(self, task_id: str) -> None:
        """See `gateway.seams.Warehouse`. It is told of nobody: nothing waits for it."""
        await self._warehouse.release(task_id)

    @staticmethod
    async def _ask(side: _Side, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except WarehouseUnreachable as lost:
            side.lost(lost)
            raise
        side.answered()
        return answer
