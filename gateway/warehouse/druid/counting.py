"""How many rows of a batch are published, loaded or not: the proof before a batch is tried again.

An MSQ SELECT reads the segments that the Overlord lists at that moment, so it sees rows that no
Historical has loaded. Two things lag behind that list, and a count must not be fooled by either:
the Broker's schema, by which the task is planned (a table or a column that the planner does not
know is looked up in the metadata before 0 is said), and the Coordinator's copy of the metadata,
where the worker looks a segment up (the task fails then, and is run again after a refresh).
"""

import asyncio
import uuid

import structlog

from gateway.seams import SubmissionRefused, TaskState, WarehouseUnreachable
from gateway.warehouse.druid.gate import SlotGate
from gateway.warehouse.druid.replies import (
    names_unknown_column,
    names_unknown_object,
    report_number,
)
from gateway.warehouse.druid.schema import Schema
from gateway.warehouse.druid.slots import SLOTS_PER_TASK
from gateway.warehouse.druid.sql import count_sql
from gateway.warehouse.druid.tasks import Tasks

_POLL_S = 0.1
_AGAIN_S = 0.5

log = structlog.get_logger("headrace.druid")


class Counting:
    """Counts batches, each by a task of its own that goes through the gate as inserts do."""

    def __init__(self, tasks: Tasks, gate: SlotGate, schema: Schema, limit_s: float) -> None:
        self._tasks = tasks
        self._gate = gate
        self._schema = schema
        self._limit_s = limit_s

    async def count(self, datasource: str, batch_id: str) -> int:
        """Published rows of the batch; 0 if nothing of this datasource has a batch column.

        Raises `WarehouseUnreachable` if that cannot be found out within ``limit_s``.
        """
        try:
            async with asyncio.timeout(self._limit_s):
                while True:
                    if not await self._schema.published(datasource):
                        return 0
                    number = await self._attempt(datasource, batch_id)
                    if number is not None:
                        return number
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            raise WarehouseUnreachable(f"no count within {self._limit_s:g} s") from None

    async def _attempt(self, datasource: str, batch_id: str) -> int | None:
        """Count once; None if Druid has not caught up with its own metadata."""
        query_id = f"count-{uuid.uuid4().hex}"
        if not await self._started(count_sql(datasource, batch_id), query_id):
            return None if await self._schema.published_with_batches(datasource) else 0
        if await self._succeeded(query_id):
            payload = await self._tasks.report(query_id)
            number = report_number(payload) if payload is not None else None
            if number is None:
                raise WarehouseUnreachable(f"no number in the report of the task {query_id}")
            return number
        failure = await self._tasks.failure(query_id)
        log.info("a count failed", task_id=query_id, code=failure.code, message=failure.message)
        return None

    async def _started(self, text: str, query_id: str) -> bool:
        """Whether the task runs; False if the planner does not know what it is about."""
        context = {"sqlQueryId": query_id, "maxNumTasks": SLOTS_PER_TASK}
        await self._gate.enter(query_id)
        try:
            await self._tasks.submit(text, context)
        except SubmissionRefused as refused:
            self._gate.left(query_id)
            message = str(refused)
            if names_unknown_object(message) or names_unknown_column(message):
                return False
            raise WarehouseUnreachable(f"Druid refused to count: {message}") from refused
        finally:
            self._gate.sent(query_id)
        return True

    async def _succeeded(self, query_id: str) -> bool:
        asked = (query_id,)
        while True:
            states = await self._tasks.states(asked)
            self._gate.observe(asked, states)
            if states.get(query_id) is not TaskState.RUNNING:
                return states.get(query_id) is TaskState.SUCCESS
            await asyncio.sleep(_POLL_S)
