"""The log of task changes: what has become of batches and their tasks, in memory, for push queries.

Implements `gateway.seams.PushLog`; every entry is one row of `TASK_SOURCE`. It begins anew with
each process, and is called differently each time, so that no place in it is taken for another.

Laws:
1. An entry is given as often as it is asked for while it is retained, and then never again.
2. Memory: the limits. The newest entry stays, whatever it takes.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from gateway.seams import (
    TASKS_STREAM,
    EntryGone,
    InsertSpec,
    LogEntry,
    PushLevel,
    Source,
    SourceKind,
)
from protocol.types import BIGINT, INTEGER, STRING, TIMESTAMP, Column

ENTRIES_PER_READ = 64
ENTRY_BYTES = 600
"""About what an entry takes besides its row."""
HEARD_S = 10.0
"""Who has read within so long still listens, though he may be busy with what he read."""

CHANGED_AT = "CHANGED_AT"
COLUMNS = (
    Column("BATCH", STRING),
    Column("ATTEMPT", INTEGER),
    Column("TARGET", STRING),
    Column("TASK_ID", STRING),
    Column("STATE", STRING),
    Column("STAGE", STRING),
    Column("WORKERS", INTEGER),
    Column("ROWS_IN", BIGINT),
    Column("ROWS_OUT", BIGINT),
    Column("BYTES", BIGINT),
    Column("SEGMENTS", INTEGER),
    Column("DURATION_MS", BIGINT),
    Column("ERROR_CODE", STRING),
    Column("ERROR_MESSAGE", STRING),
    Column(CHANGED_AT, TIMESTAMP),
)
TASK_SOURCE = Source(
    name=TASKS_STREAM,
    kind=SourceKind.STREAM,
    columns=COLUMNS,
    spec=InsertSpec(datasource=TASKS_STREAM, columns=COLUMNS, time_column=CHANGED_AT),
    statement="",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogLimits:
    """What is retained."""

    rows: int = 10_000
    size_bytes: int = 8 << 20


class TaskLog:
    """The newest changes."""

    level = PushLevel.COMMITTED
    kept_by = "query.task_changes_max, query.task_changes_bytes"

    def __init__(self, limits: TaskLogLimits) -> None:
        self.on_listener: Callable[[], None] = lambda: None
        """somebody reads, and nobody did for a while"""
        self._limits = limits
        self._log_id = f"tasks-{secrets.token_hex(16)}"
        self._entries: deque[LogEntry] = deque()
        self._size_bytes = 0
        self._end = 0
        self._grew = asyncio.Event()
        self._waiting = 0
        self._heard_at = float("-inf")

    @property
    def log_id(self) -> str:
        """See `gateway.seams.PushLog`."""
        return self._log_id

    @property
    def is_listened_to(self) -> bool:
        """Whether somebody waits for the next entry, or will again soon."""
        return bool(self._waiting) or self._now() - self._heard_at < HEARD_S

    def append(self, row: dict[str, Any]) -> None:
        """Add one row, by the names of `COLUMNS`."""
        raw = orjson.dumps(row) + b"\n"
        self._end += 1
        entry = LogEntry(
            position=self._end,
            source=TASK_SOURCE.name,
            spec=TASK_SOURCE.spec,
            size_bytes=len(raw),
            pieces=partial(_pieces, raw),
        )
        self._entries.append(entry)
        self._size_bytes += len(raw) + ENTRY_BYTES
        while len(self._entries) > 1 and self._is_over_limits():
            self._size_bytes -= self._entries.popleft().size_bytes + ENTRY_BYTES
        # Everybody who waits now wakes; who comes later waits for the next event.
        self._grew.set()
        self._grew = asyncio.Event()

    def end(self) -> int:
        """See `gateway.seams.PushLog`."""
        return self._end

    async def retained(self) -> tuple[tuple[int, int], ...]:
        """See `gateway.seams.PushLog`."""
        return ((self._end + 1 - len(self._entries), self._end),)

    async def after(self, position: int) -> list[LogEntry]:
        """See `gateway.seams.PushLog`."""
        self._hear()
        while position >= self._end:
            await self._grow()
        self._heard_at = self._now()
        at = position - (self._end - len(self._entries))
        if at < 0:
            raise EntryGone
        last = min(at + ENTRIES_PER_READ, len(self._entries))
        return [self._entries[one] for one in range(at, last)]

    def _hear(self) -> None:
        is_news = not self.is_listened_to
        self._heard_at = self._now()
        if is_news:
            self.on_listener()

    async def _grow(self) -> None:
        self._waiting += 1
        try:
            await self._grew.wait()
        finally:
            self._waiting -= 1

    def _is_over_limits(self) -> bool:
        limits = self._limits
        return len(self._entries) > limits.rows or self._size_bytes > limits.size_bytes

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _pieces(raw: bytes, start: int = 0) -> Iterator[bytes]:
    if start == 0:
        yield raw
