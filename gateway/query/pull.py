"""Pull queries: the text goes to the warehouse, its rows come back with declared types.

Laws: what ends before the warehouse proved it whole ends with an error, whoever ended it: the
warehouse, the clock, the row limit, ``/close-query``. And what nobody reads any more runs nowhere:
every end, a caller's cancellation before the first row among them, stops the query at the
warehouse.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.query.options import TIMEOUT, PullOptions, pull_options
from gateway.query.values import Convert, convert, converter
from gateway.seams import (
    QueryBroken,
    QueryEnd,
    QueryKind,
    QueryRefused,
    Result,
    ResultColumn,
    RowLines,
    Source,
    SourceKind,
    Sources,
    Warehouse,
    WarehouseQuery,
    WarehouseUnreachable,
)
from protocol.errors import (
    BadRequest,
    BadStatement,
    InternalError,
    KsqlError,
    TooManyRequests,
    WarehouseAway,
)
from protocol.names import Origin, ResolvedQuery, resolve_query
from protocol.types import STRING, Column, SqlType

_GRACE_MS = 5000
"""What the warehouse gets beyond the query's timeout, so that it is we who say what happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullLimits:
    """``timeout_s`` where the request names none, 0: none. ``rows_max``: None is no limit."""

    queries_max: int = 100
    timeout_s: float = 300.0
    rows_max: int | None = None


class PullQueries:
    """Starts pull queries on a warehouse, and ends those that are closed by their ids."""

    def __init__(
        self, warehouse: Warehouse, sources: Sources, limits: PullLimits | None = None
    ) -> None:
        self._warehouse = warehouse
        self._sources = sources
        self._limits = limits or PullLimits()
        self._starting = 0
        self._live: dict[str, RunningPull] = {}

    async def start(self, sql: str, properties: Mapping[str, Any]) -> "RunningPull":
        """Run one SELECT. Raises `protocol.errors.KsqlError`."""
        options = pull_options(properties)
        resolved = resolve_query(sql, self._sources.names)
        if len(self._live) + self._starting >= self._limits.queries_max:
            raise TooManyRequests(
                f"{self._limits.queries_max} pull queries are running, and query.pull_queries_max "
                "allows no more: try again later"
            )
        self._starting += 1
        try:
            running = await self._started(sql, resolved, options)
        finally:
            self._starting -= 1
        self._live[running.id] = running
        return running

    def terminate(self, query_id: str) -> bool:
        """End a live pull query, with an error to its reader; False if there is none of this id."""
        query = self._live.get(query_id)
        if query is None:
            return False
        query.end(BadRequest("The query was closed before its result was complete"))
        return True

    async def close(self) -> None:
        """End every live pull query."""
        for query in list(self._live.values()):
            await query.close()

    async def _started(
        self, sql: str, resolved: ResolvedQuery, options: PullOptions
    ) -> "RunningPull":
        timeout_ms = options.timeout_ms
        if timeout_ms is None:
            timeout_ms = int(self._limits.timeout_s * 1000)
        context = {**options.context, "timeout": timeout_ms + _GRACE_MS if timeout_ms else 0}
        query = WarehouseQuery(
            sql=resolved.sql,
            query_id=f"query_{secrets.token_hex(12)}",
            context=context,
            engine=options.engine,
            shows=self._shown_as(resolved),
        )
        late = _too_late(timeout_ms)
        ends_at = asyncio.get_running_loop().time() + timeout_ms / 1000 if timeout_ms else None
        try:
            async with asyncio.timeout_at(ends_at):
                result = await self._run(query, resolved)
        except TimeoutError:
            raise late from None
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"The warehouse does not answer: {lost}") from lost
        except QueryBroken as broken:
            raise InternalError(f"The query failed: {broken}") from broken
        except QueryRefused as refused:
            raise BadStatement(str(refused), sql) from refused
        if result is None:
            shown: _Shown = (self._expected(resolved), ())
        else:
            shown = self._declared(result, resolved)
        return RunningPull(
            query.query_id,
            result,
            self._kind_of(resolved),
            shown,
            rows_max=self._limits.rows_max,
            ends=(ends_at, late),
            gone=lambda: self._live.pop(query.query_id, None),
        )

    async def _run(self, query: WarehouseQuery, resolved: ResolvedQuery) -> Result | None:
        """The running query; None where a declared stream has nothing stored yet (ruling 8)."""
        try:
            return await self._warehouse.query(query)
        except QueryRefused:
            if not resolved.sources:
                raise
        for names in resolved.sources:
            if await self._warehouse.columns(names.datasource) is None:
                return None
        # All are there now. One may have appeared since the refusal, so the user's text gets a
        # second chance before it is at fault.
        return await self._warehouse.query(query)

    def _declared_source(self, name: str) -> Source:
        source = self._sources.declared(name)
        assert source is not None
        return source

    def _column(self, origin: Origin) -> Column:
        columns = self._declared_source(origin.source).columns
        return next(column for column in columns if column.name == origin.column)

    def _shown_as(self, resolved: ResolvedQuery) -> tuple[SqlType | None, ...]:
        """What its outputs are declared as; none where they are not known before they come."""
        origins = resolved.outputs or ()
        return tuple(self._column(origin).type if origin else None for origin in origins)

    def _kind_of(self, resolved: ResolvedQuery) -> SourceKind | None:
        kinds = {self._declared_source(names.name).kind for names in resolved.sources}
        return SourceKind.STREAM if SourceKind.STREAM in kinds else next(iter(kinds), None)

    def _expected(self, resolved: ResolvedQuery) -> tuple[ResultColumn, ...]:
        columns = []
        for number, origin in enumerate(resolved.outputs or ()):
            if origin is None:
                columns.append(ResultColumn(f"EXPR${number}", STRING))
            else:
                column = self._column(origin)
                columns.append(ResultColumn(origin.column, column.type, key=column.key))
        return tuple(columns)

    def _declared(self, result: Result, resolved: ResolvedQuery) -> "_Shown":
        origins = resolved.outputs
        if origins is None or len(origins) != len(result.columns):
            return result.columns, ()
        columns: list[ResultColumn] = []
        converters: list[Convert | None] = []
        for column, origin in zip(result.columns, origins, strict=True):
            if origin is None:
                columns.append(column)
                converters.append(None)
                continue
            declared = self._column(origin)
            stored_as = column.stored_as or str(column.type)
            columns.append(ResultColumn(column.name, declared.type, stored_as, key=declared.key))
            is_done = column.as_declared
            converters.append(None if is_done else converter(declared.type, stored_as))
        return tuple(columns), tuple(converters) if any(converters) else ()


_Shown = tuple[tuple[ResultColumn, ...], tuple[Convert | None, ...]]


def _too_late(timeout_ms: int) -> InternalError:
    return InternalError(
        f"The query was ended because it took longer than {timeout_ms} ms: the property "
        f"'{TIMEOUT}' sets another limit for one query, query.pull_timeout_s for all"
    )


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
        result: Result | None,
        source_kind: SourceKind | None,
        shown: _Shown,
        *,
        rows_max: int | None,
        ends: tuple[float | None, KsqlError],
        gone: Callable[[], object],
    ) -> None:
        self.id = query_id
        self.source_kind = source_kind
        self.columns, self._converters = shown
        self._result = result
        self._rows_max = rows_max
        self._gone = gone
        self._why: KsqlError | None = None
        self._closing: asyncio.Task[None] | None = None
        at, late = ends
        loop = asyncio.get_running_loop()
        self._clock = loop.call_at(at, self.end, late) if at is not None else None

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        count = 0
        try:
            if self._result is None:
                return
            async for lines in self._result.rows():
                self._still_running()
                count += lines.count
                if self._rows_max is not None and count > self._rows_max:
                    raise BadRequest(
                        f"The result has more than {self._rows_max} rows, and query.pull_rows_max "
                        "allows no more: ask for fewer, by WHERE or LIMIT"
                    )
                yield convert(lines, self._converters) if self._converters else lines
        except (QueryBroken, WarehouseUnreachable) as broken:
            self._still_running()
            raise InternalError(f"The result is not complete: {broken}") from broken
        finally:
            await self.close()

    def end(self, why: KsqlError) -> None:
        """End it: its reader gets the rows that are on their way to it, then this error."""
        if self._why is None:
            self._why = why
            # Kept, or nobody holds it; nobody waits for it, since the reader hears of it.
            self._closing = asyncio.create_task(self.close())

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self._gone()
        if self._clock is not None:
            self._clock.cancel()
        if self._result is not None:
            await self._result.close()

    def _still_running(self) -> None:
        if self._why is not None:
            raise self._why
