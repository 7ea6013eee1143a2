"""A pull query that runs: rows up to their proven end, or to the error that says why there is none.

Law: whoever ends it before, the warehouse, the clock, the row limit or ``/close-query``, its reader
gets an error and never a shorter answer; and the warehouse is told to stop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.query.measures import PullMeasure
from gateway.query.values import Convert, convert
from gateway.seams import (
    QueryBroken,
    QueryEnd,
    QueryKind,
    Result,
    ResultColumn,
    RowLines,
    SourceKind,
    WarehouseUnreachable,
)
from protocol.entities import LiveQuery
from protocol.errors import BadRequest, InternalError, KsqlError

Shown = tuple[tuple[ResultColumn, ...], tuple[Convert | None, ...]]
"""Columns as the header shows them, and what makes the stored values such."""


class RunningPull:
    """Implements `gateway.seams.RunningQuery`.

    ``ends``: when (the loop's clock; None: never) it is ended, and by which error. ``gone`` is
    called once it is closed.
    """

    kind = QueryKind.PULL
    ended_by = QueryEnd.COMPLETED

    def __init__(
        self,
        query_id: str,
        statement: str,
        since_ms: int,
        owner: str,
        result: Result | None,
        source_kind: SourceKind | None,
        shown: Shown,
        *,
        rows_max: int | None,
        ends: tuple[float | None, KsqlError],
        gone: Callable[[], object],
        measure: PullMeasure | None = None,
        began_at: float = 0.0,
    ) -> None:
        self.id = query_id
        self.statement = statement
        self.since_ms = since_ms
        self.owner = owner
        self.rows_out = 0
        self.source_kind = source_kind
        self.columns, self._converters = shown
        self._result = result
        self._rows_max = rows_max
        self._gone = gone
        self._measure = measure or PullMeasure()
        self._began_at = began_at
        self._outcome = "closed"
        self._is_closed = False
        self._why: KsqlError | None = None
        self._closing: asyncio.Task[None] | None = None
        at, late = ends
        loop = asyncio.get_running_loop()
        self._clock = loop.call_at(at, self.end, late) if at is not None else None

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        try:
            if self._result is None:
                self._outcome = "ok"
                return
            async for lines in self._result.rows():
                self._still_running()
                if self._rows_max is not None and self.rows_out + lines.count > self._rows_max:
                    self._outcome = "error"
                    raise BadRequest(
                        f"The result has more than {self._rows_max} rows, and query.pull_rows_max "
                        "allows no more: ask for fewer, by WHERE or LIMIT"
                    )
                self.rows_out += lines.count
                self._measure.delivered(lines.count)
                yield convert(lines, self._converters) if self._converters else lines
            self._outcome = "ok"
        except (QueryBroken, WarehouseUnreachable) as broken:
            self._still_running()
            self._outcome = "error"
            raise InternalError(f"The result is not complete: {broken}") from broken
        finally:
            await self.close()

    def end(self, why: KsqlError) -> None:
        """End it: its reader gets the rows that are on their way to it, then this error."""
        if self._why is None:
            self._why = why
            # Kept, or nobody holds it; nobody waits for it, since the reader hears of it.
            self._closing = asyncio.create_task(self.close())

    def described(self) -> LiveQuery:
        """As it is listed."""
        return LiveQuery(
            query_id=self.id,
            sql=self.statement,
            kind=self.kind.value,
            rows_delivered=self.rows_out,
            since_ms=self.since_ms,
        )

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self._gone()
        if not self._is_closed:
            self._is_closed = True
            self._measure.ended(self._outcome, self._began_at)
        if self._clock is not None:
            self._clock.cancel()
        if self._result is not None:
            await self._result.close()

    def _still_running(self) -> None:
        if self._why is not None:
            raise self._why
