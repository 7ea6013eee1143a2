"""Ending what nobody waits for any more: native queries by their id, tasks by a shutdown.

A Broker goes on with a query whose reader has left, and a task knows no reader at all, so both are
told. The order may overtake the query it is meant for, whose request is still on its way; so where
it cannot be known that the query had begun, an answer of "unknown" is not taken for its end at
once. Endings run as tasks of their own: who gives up a query is often being cancelled itself.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

import structlog

from gateway.seams import TaskState, WarehouseUnreachable
from gateway.warehouse.druid.gate import SlotGate
from gateway.warehouse.druid.tasks import Tasks
from gateway.warehouse.druid.transport import Server, Transport

_AGAIN_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Between one attempt and the next, for what Druid does not know yet."""

_LAUNCHED_WITHIN_S = 15.0
_LAUNCHED_POLL_S = 0.1
_LAUNCHED_FOR_S = 0.5

log = structlog.get_logger("headrace.druid")


class Endings:
    """Ends queries of one cluster."""

    def __init__(self, transport: Transport, tasks: Tasks, gate: SlotGate) -> None:
        self._transport = transport
        self._tasks = tasks
        self._gate = gate
        self._running: set[asyncio.Task[None]] = set()
        self._tasks_ending: dict[str, asyncio.Task[None]] = {}

    def native(self, query_id: str, *, begun: bool) -> "asyncio.Task[None]":
        """Stop a native query. ``begun``: its reply was seen, so Druid knows it or it is over."""
        return self._start(self._end_native(query_id, _AGAIN_S[: 0 if begun else None]))

    def task(self, query_id: str) -> "asyncio.Task[None]":
        """Shut a task down, and give its place at the gate back once it is final.

        Orders for one task are one while it is being carried out.
        """
        found = self._tasks_ending.get(query_id)
        if found is None:
            found = self._tasks_ending[query_id] = self._start(self._end_task(query_id))
            found.add_done_callback(lambda _: self._tasks_ending.pop(query_id))
        return found

    async def settled(self) -> None:
        """All endings that were begun have come to theirs."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, ending: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        started = asyncio.create_task(ending)
        self._running.add(started)
        started.add_done_callback(self._running.discard)
        return started

    async def _end_native(self, query_id: str, pauses_s: tuple[float, ...]) -> None:
        path = f"/druid/v2/sql/{quote(query_id, safe='')}"
        for pause_s in (*pauses_s, None):
            try:
                if (await self._transport.delete(Server.BROKER, path)).status == 202:
                    return
            except WarehouseUnreachable as lost:
                log.info("a query could not be ended", query_id=query_id, error=str(lost))
            if pause_s is not None:
                await asyncio.sleep(pause_s)

    async def _launched(self, query_id: str) -> None:
        """Wait until the controller has its worker, or is final; not for long.

        A controller of 27.0.0 that is shut down while it waits for its worker to start never
        ends: Druid says FAILED of it, and its Indexer keeps the slot until it is restarted.
        """
        loop = asyncio.get_running_loop()
        worker = f"{query_id}-worker0_0"
        until = loop.time() + _LAUNCHED_WITHIN_S
        while loop.time() < until:
            try:
                states = await self._tasks.states((query_id, worker))
            except WarehouseUnreachable:
                return
            if query_id in states and states[query_id] is not TaskState.RUNNING:
                return
            if worker in states or not states:
                # It is told of its worker a moment later than we are.
                await asyncio.sleep(_LAUNCHED_FOR_S if states else 0)
                return
            await asyncio.sleep(_LAUNCHED_POLL_S)

    async def _end_task(self, query_id: str) -> None:
        await self._launched(query_id)
        for pause_s in _AGAIN_S:
            try:
                if await self._tasks.shutdown(query_id) and await self._is_final(query_id):
                    break
            except WarehouseUnreachable as lost:
                log.info("a task could not be ended", task_id=query_id, error=str(lost))
            await asyncio.sleep(pause_s)
        # Whatever is left of it, Druid's own word on its slots counts from here on.
        self._gate.ended(query_id)

    async def _is_final(self, query_id: str) -> bool:
        states = await self._tasks.states((query_id,))
        self._gate.observe((query_id,), states)
        return states.get(query_id) in (TaskState.SUCCESS, TaskState.FAILED)
