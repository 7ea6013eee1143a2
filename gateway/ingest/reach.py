"""The warehouse as the committer meets it, and whether it answers.

Who waits to try again waits here: an answer to anybody wakes all, so that nobody sleeps out a long
back-off after the warehouse is back.
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

_log = structlog.get_logger("headrace.committer")

T = TypeVar("T")


class ReachedWarehouse:
    """The calls that going down takes; each may raise `WarehouseUnreachable`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.queryable_at_commit = warehouse.queryable_at_commit
        self.lost_since: float | None = None
        """loop time of the first call that went unanswered; None: the newest was answered"""
        self.error = ""
        self._alerted = False
        self._back = asyncio.Event()

    async def wait(self, delay_s: float) -> None:
        """Wait before the next try; less if the warehouse comes back meanwhile."""
        if self.lost_since is None:
            await asyncio.sleep(delay_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._back.wait()

    async def submit(self, submission: Submission) -> Submitted:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.submit(submission))

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""
        self._warehouse.resumed(submission)

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.statuses(task_ids))

    async def failure(self, task_id: str) -> TaskFailure:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.failure(task_id))

    async def count(self, datasource: str, batch_id: str) -> int:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.count(datasource, batch_id))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.queryable(datasource, batch_id, rows))

    async def free_batches(self) -> int:
        """See `gateway.seams.Warehouse`."""
        return await self._ask(self._warehouse.free_batches())

    async def release(self, task_id: str) -> None:
        """See `gateway.seams.Warehouse`."""
        await self._ask(self._warehouse.release(task_id))

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except WarehouseUnreachable as lost:
            self._lost(lost)
            raise
        self._answered()
        return answer

    def _lost(self, lost: WarehouseUnreachable) -> None:
        now = asyncio.get_running_loop().time()
        self.error = str(lost)
        if self.lost_since is None:
            self.lost_since = now
            self._back.clear()
            _log.warning("the warehouse does not answer", error=self.error)
        elif now - self.lost_since > ALERT_S and not self._alerted:
            self._alerted = True
            _log.error(
                "the warehouse has not answered for long; rows go on being spooled",
                seconds=round(now - self.lost_since),
                error=self.error,
            )

    def _answered(self) -> None:
        if self.lost_since is not None:
            _log.info("the warehouse answers again")
            self.lost_since = None
            self._alerted = False
            self._back.set()
