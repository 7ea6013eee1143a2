"""MSQ tasks: start one, ask for its state, find out why it failed.

Druid's ``api-reference/sql-ingestion-api`` and ``api-reference/tasks-api``. Ids in here are the
bare ``sqlQueryId``; Druid's own task ids (``query-…``) stay inside.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from gateway.seams import Submitted, TaskFailure, TaskState, WarehouseUnreachable
from gateway.warehouse.druid import replies
from gateway.warehouse.druid.slots import Slots, slots
from gateway.warehouse.druid.transport import Server, Transport

_INDEXER = "/druid/indexer/v1"
_IDS_PER_CALL = 200
_REPORT_POLL_S = 0.2


class Tasks:
    """The task calls of one cluster."""

    def __init__(self, transport: Transport, report_wait_s: float) -> None:
        self._transport = transport
        self._report_wait_s = report_wait_s

    async def submit(self, sql: str, context: Mapping[str, Any]) -> Submitted:
        """``POST /druid/v2/sql/task``. Raises `SubmissionRefused`, `WarehouseUnreachable`."""
        document = {"query": sql, "context": dict(context)}
        reply = await self._transport.post(Server.BROKER, "/druid/v2/sql/task", document)
        return replies.submitted(reply.status, reply.body)

    async def states(self, query_ids: Collection[str]) -> dict[str, TaskState]:
        """States in one call (one for each 200); ids that Druid does not know are absent."""
        found: dict[str, TaskState] = {}
        asked = list(query_ids)
        for at in range(0, len(asked), _IDS_PER_CALL):
            found |= await self._some_states(asked[at : at + _IDS_PER_CALL])
        return found

    async def _some_states(self, query_ids: list[str]) -> dict[str, TaskState]:
        ids = [replies.task_of(query_id) for query_id in query_ids]
        reply = await self._transport.post(Server.OVERLORD, f"{_INDEXER}/taskStatus", ids)
        if reply.status == 403:
            # The joint call needs a right to STATE; a user of some datasources asks one by one.
            single = [(query_id, await self.status(query_id)) for query_id in query_ids]
            return {query_id: status[0] for query_id, status in single if status is not None}
        return replies.task_states(reply.status, reply.body, query_ids)

    async def status(self, query_id: str) -> tuple[TaskState, str] | None:
        """State and (clipped) message of one task; None if Druid does not know it."""
        reply = await self._transport.get(Server.OVERLORD, _task_path(query_id, "status"))
        return replies.task_status(reply.status, reply.body)

    async def report(self, query_id: str) -> dict[str, Any] | None:
        """The report of a final task; it may come late (``report_wait_s``) or never."""
        deadline = asyncio.get_running_loop().time() + self._report_wait_s
        while True:
            payload = await self.report_now(query_id)
            if payload is not None or asyncio.get_running_loop().time() >= deadline:
                return payload
            await asyncio.sleep(_REPORT_POLL_S)

    async def report_now(self, query_id: str) -> dict[str, Any] | None:
        """The report of a task as far as there is one."""
        reply = await self._transport.get(Server.OVERLORD, _task_path(query_id, "reports"))
        return replies.report_payload(reply.status, reply.body)

    async def open_report(self, query_id: str) -> aiohttp.ClientResponse:
        """The report of a task, to be read piecemeal, and closed."""
        return await self._transport.fetch(Server.OVERLORD, _task_path(query_id, "reports"))

    async def shutdown(self, query_id: str) -> bool:
        """Ask Druid to end the task; False if it does not know it, or did not take the order.

        Idempotent: a task that is over takes it as well.
        """
        reply = await self._transport.post(Server.OVERLORD, _task_path(query_id, "shutdown"), {})
        return reply.status == 200

    async def failure(self, query_id: str) -> TaskFailure:
        """Why a FAILED task failed: by its report, else by its status."""
        status = await self.status(query_id)
        if status is None:
            raise WarehouseUnreachable(f"Druid does not know the task {query_id} any more")
        payload = await self.report(query_id)
        told = replies.report_failure(payload) if payload is not None else None
        return told or replies.status_failure(status[1])

    async def slots(self) -> Slots | None:
        """Slots of the cluster; None if Druid will not tell."""
        reply = await self._transport.get(Server.OVERLORD, f"{_INDEXER}/workers")
        return slots(reply.status, reply.body)


def _task_path(query_id: str, what: str) -> str:
    return f"{_INDEXER}/task/{quote(replies.task_of(query_id), safe='')}/{what}"
