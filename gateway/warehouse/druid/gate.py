"""The gate before Druid's task slots: nobody starts a task of ours past it.

It counts our own tasks from the moment they are let in, because Druid shows a new task late, and
what others run by asking Druid. Entering is serialised, so six callers at once are six decisions,
each of which knows the one before. The gate watches its own tasks while someone waits: no caller
has to poll for another one to get in.
"""

import asyncio
from collections.abc import Collection, Mapping

from gateway.seams import TaskState, WarehouseUnreachable
from gateway.warehouse.druid.replies import task_of
from gateway.warehouse.druid.slots import room
from gateway.warehouse.druid.tasks import Tasks

_POLL_S = 0.2
_FINAL = (TaskState.SUCCESS, TaskState.FAILED)


class SlotGate:
    """Lets ``floor(free slots / 2)`` tasks run at once.

    ``blind_limit`` is how many may run where Druid does not say how many slots it has.
    """

    def __init__(self, tasks: Tasks, *, blind_limit: int, wait_limit_s: float) -> None:
        self._tasks = tasks
        self._blind_limit = blind_limit
        self._wait_limit_s = wait_limit_s
        self._starting: set[str] = set()
        self._running: set[str] = set()
        self._ended: set[str] = set()
        self._turn = asyncio.Lock()

    @property
    def live(self) -> frozenset[str]:
        """Query ids of ours that were let in and are not known to be final."""
        return frozenset(self._starting | self._running)

    async def free(self) -> int:
        """How many tasks could be let in now."""
        free = await self._room()
        if free == 0 and self._running:
            # Perhaps one of ours has ended and nobody has asked yet.
            await self._look()
            free = await self._room()
        return free

    async def enter(self, query_id: str) -> None:
        """Wait for room and take it; at once for a task that has it already.

        Every entry is followed by `sent`. Raises `WarehouseUnreachable` if there is
        no room within ``wait_limit_s``: nothing was submitted then.
        """
        try:
            async with asyncio.timeout(self._wait_limit_s), self._turn:
                if query_id not in self.live:
                    await self._wait_for_room()
                self._starting.add(query_id)
        except TimeoutError:
            raise WarehouseUnreachable(
                f"no two free task slots within {self._wait_limit_s:g} s"
            ) from None

    def sent(self, query_id: str) -> None:
        """The submission is over, however it ended: from now on Druid's word on it counts.

        Until Druid was asked the task holds its room, for it may run; unless it `left`.
        """
        if query_id in self._starting:
            self._starting.discard(query_id)
            self._running.add(query_id)

    def left(self, query_id: str) -> None:
        """The task is final, or never came to be."""
        self._starting.discard(query_id)
        self._running.discard(query_id)

    def ended(self, query_id: str) -> None:
        """The task was shut down: it is over, whatever of it Druid goes on showing."""
        self.left(query_id)
        self._ended.add(query_id)

    def observe(self, asked: Collection[str], states: Mapping[str, TaskState]) -> None:
        """Learn from an answer of Druid's, whoever asked for it.

        A task that Druid does not know takes no slot, unless its submission is on its way.
        """
        for query_id in asked:
            state = states.get(query_id)
            if state is TaskState.RUNNING:
                self._running.add(query_id)
            elif state in _FINAL or query_id not in self._starting:
                self._running.discard(query_id)

    async def _wait_for_room(self) -> None:
        # Room is made by Druid, which tells nobody: it has to be asked again and again.
        while True:
            if await self.free() > 0:
                return
            await asyncio.sleep(_POLL_S)

    async def _look(self) -> None:
        asked = list(self._running)
        self.observe(asked, await self._tasks.states(asked))

    async def _room(self) -> int:
        slots = await self._tasks.slots()
        if slots is None:
            return max(0, self._blind_limit - len(self.live))
        self._ended = {at for at in self._ended if task_of(at) in slots.running}
        return room(slots, self.live, self._ended)
