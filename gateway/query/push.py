"""Push queries: a position in the commit log, and rows as batches commit.

A subscription is a cursor. It holds no rows: a reader that lags reads them from the spool when it
comes to them, as long as the retention keeps them. Every row of its source once, in commit order.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.query.evaluations import Evaluations
from gateway.seams import (
    CommitLog,
    LogEntry,
    QueryBroken,
    QueryEnd,
    QueryKind,
    ResultColumn,
    RowLines,
    Source,
)
from gateway.sql import PushQuery
from protocol.errors import BadRequest, InternalError

OFFSET_RESET = "auto.offset.reset"


def start_position(properties: Mapping[str, Any], log: CommitLog) -> int:
    """Where a subscription starts: ``latest`` (default) or ``earliest`` (oldest retained row).

    Raises `BadRequest`. Source: ksqlDB's property ``auto.offset.reset``, also with its ``ksql.``
    and ``streams.`` prefixes.
    """
    names = (OFFSET_RESET, f"ksql.streams.{OFFSET_RESET}", f"streams.{OFFSET_RESET}")
    text = next((str(properties[name]) for name in names if name in properties), "latest")
    match text.lower():
        case "latest":
            return log.end()
        case "earliest":
            return 0
    raise BadRequest(f"Invalid value '{text}' for {OFFSET_RESET}: it is earliest or latest")


class RunningPush:
    """Implements `gateway.seams.RunningQuery`."""

    kind = QueryKind.PUSH

    def __init__(
        self,
        push: PushQuery,
        statement: str,
        source: Source,
        position: int,
        log: CommitLog,
        shared: Evaluations,
    ) -> None:
        self.id = f"transient_{source.name}_{secrets.randbits(63)}"
        self.columns: tuple[ResultColumn, ...] = push.columns
        self.source_kind = source.kind
        self.source = source.name
        self.statement = statement
        self.rows_out = 0
        self._push = push
        self._position = position
        self._log = log
        self._shared = shared
        self._closed = asyncio.Event()
        self._limited = False

    @property
    def ended_by(self) -> QueryEnd:
        """See `gateway.seams.RunningQuery`."""
        if self._limited:
            return QueryEnd.LIMIT
        return QueryEnd.CLOSED if self._closed.is_set() else QueryEnd.COMPLETED

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        left = self._push.limit
        if left == 0:
            self._limited = True
            return
        async for lines in self._committed():
            if left is not None and lines.count >= left:
                self.rows_out += left
                self._limited = True
                yield first_rows(lines, left)
                return
            left = None if left is None else left - lines.count
            self.rows_out += lines.count
            yield lines

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self.end()

    def end(self) -> None:
        """Rows end after the one that is on its way."""
        self._closed.set()

    async def _committed(self) -> AsyncIterator[RowLines]:
        while not self._closed.is_set():
            for entry in await self._next():
                if entry.source == self.source:
                    for lines in await self._evaluated(entry):
                        if self._closed.is_set():
                            return
                        yield lines
                self._position = entry.position

    async def _evaluated(self, entry: LogEntry) -> list[RowLines]:
        try:
            return await self._shared.rows(self._push, entry)
        except QueryBroken as broken:
            raise InternalError(f"The query failed on a row: {broken}") from broken

    async def _next(self) -> list[LogEntry]:
        """The next entries, or none once the query is closed."""
        entries = asyncio.ensure_future(self._log.after(self._position))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((entries, closed), return_when=asyncio.FIRST_COMPLETED)
            return entries.result() if entries.done() else []
        finally:
            for waiting in (entries, closed):
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting


def first_rows(lines: RowLines, count: int) -> RowLines:
    """The first ``count`` rows of ``lines``."""
    end = 0
    for _ in range(count):
        end = lines.raw.index(b"\n", end) + 1
    return RowLines(lines.raw[:end], count)
