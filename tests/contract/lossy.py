"""A real warehouse behind a line that loses replies: before the call arrives, or after it did."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from gateway.seams import (
    Result,
    Submission,
    Submitted,
    TaskFailure,
    TaskState,
    Warehouse,
    WarehouseQuery,
    WarehouseUnreachable,
)
from protocol.types import Column

T = TypeVar("T")


class LossyWarehouse:
    """Implements `gateway.seams.Warehouse`. ``loses``: per call its name, the fates in order.

    A fate is ``before`` (the call never arrives), ``after`` (it does, its reply is lost) or ``""``.
    """

    def __init__(self, real: Warehouse, **loses: list[str]) -> None:
        self.name = real.name
        self.queryable_at_commit = real.queryable_at_commit
        self.calls: list[str] = []
        self.submitted: list[str] = []
        self._real = real
        self._loses = loses

    async def open(self) -> None:
        """The real one is open."""

    async def close(self) -> None:
        """The real one is closed by its owner."""

    async def submit(self, submission: Submission) -> Submitted:
        """See `gateway.seams.Warehouse`."""
        self.submitted.append(submission.task_id)
        return await self._call("submit", lambda: self._real.submit(submission))

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""
        self._real.resumed(submission)

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """See `gateway.seams.Warehouse`."""
        return await self._call("statuses", lambda: self._real.statuses(task_ids))

    async def failure(self, task_id: str) -> TaskFailure:
        """See `gateway.seams.Warehouse`."""
        return await self._call("failure", lambda: self._real.failure(task_id))

    async def count(self, datasource: str, batch_id: str) -> int:
        """See `gateway.seams.Warehouse`."""
        return await self._call("count", lambda: self._real.count(datasource, batch_id))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """See `gateway.seams.Warehouse`."""
        return await self._real.queryable(datasource, batch_id, rows)

    async def free_batches(self) -> int:
        """See `gateway.seams.Warehouse`."""
        return await self._call("free_batches", self._real.free_batches)

    async def release(self, task_id: str) -> None:
        """See `gateway.seams.Warehouse`."""
        await self._call("release", lambda: self._real.release(task_id))

    async def datasources(self) -> list[str]:
        """See `gateway.seams.Warehouse`."""
        return await self._real.datasources()

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """See `gateway.seams.Warehouse`."""
        return await self._real.columns(datasource)

    async def query(self, query: WarehouseQuery) -> Result:
        """See `gateway.seams.Warehouse`."""
        return await self._real.query(query)

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(name)
        fates: list[Any] = self._loses.get(name, [])
        fate = fates.pop(0) if fates else ""
        if fate == "before":
            raise WarehouseUnreachable(f"{name} was lost on its way")
        answer = await call()
        if fate == "after":
            raise WarehouseUnreachable(f"the reply to {name} was lost")
        return answer
