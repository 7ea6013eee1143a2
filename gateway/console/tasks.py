"""How the tasks of batches go: the newest word on each, read from the log of task changes.

The log asks the warehouse how running tasks go only while somebody reads it, so it is read only
while somebody looks at the page. What was missed meanwhile is read then, as far as it is retained.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.seams import EntryGone, PushLog

TASKS_MAX = 1000
"""Tasks of which the newest word is kept."""
COMMITTED_MAX = 8
"""Committed batches that are remembered."""

_OVER = frozenset({"COMMITTED", "SPLIT", "DROPPED"})


class TaskBoard:
    """The newest row of each batch, and the batches that were committed last."""

    def __init__(self, log: PushLog) -> None:
        self.committed: deque[Mapping[str, Any]] = deque(maxlen=COMMITTED_MAX)
        """rows of the log, newest first"""
        self.caught_up = asyncio.Event()
        """set once what was missed has been read"""
        self._log = log
        self._position = 0
        self._newest: dict[str, Mapping[str, Any]] = {}

    def of(self, batch_id: str) -> Mapping[str, Any]:
        """The newest row of a batch that is not over; empty if nothing is known of it."""
        return self._newest.get(batch_id, {})

    async def follow(self) -> None:
        """Read the log, until cancelled."""
        self.caught_up.clear()
        while True:
            if self._position >= self._log.end():
                self.caught_up.set()
            try:
                entries = await self._log.after(self._position)
            except EntryGone:
                self._position = (await self._log.retained())[-1][0] - 1
                continue
            for entry in entries:
                for piece in entry.pieces():
                    for line in piece.splitlines():
                        self._learn(orjson.loads(line))
                self._position = entry.position
            # A log of many entries must not keep the event loop for itself.
            await asyncio.sleep(0)

    def _learn(self, row: Mapping[str, Any]) -> None:
        self._newest.pop(row["BATCH"], None)
        if row["STATE"] == "COMMITTED":
            self.committed.appendleft(row)
        if row["STATE"] not in _OVER:
            self._newest[row["BATCH"]] = row
            while len(self._newest) > TASKS_MAX:
                del self._newest[next(iter(self._newest))]
