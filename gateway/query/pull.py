"""Pull queries: the text goes to the warehouse, its rows come back with declared types.

Laws: what ends before the warehouse proved it whole ends with an error, whoever ended it: the
warehouse, the clock, the row limit, ``/close-query``. And what nobody reads any more runs nowhere:
every end, a caller's cancellation before the first row among them, stops the query at the
warehouse.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.clock import now_ms
from gateway.query.measures import PullMeasure
from gateway.query.options import TIMEOUT, PullOptions, pull_options
from gateway.query.owners import owns
from gateway.query.running_pull import RunningPull, Shown
from gateway.query.values import Convert, converter
from gateway.seams import (
    Permit,
    QueryBroken,
    QueryRefused,
    Result,
    ResultColumn,
    Source,
    SourceKind,
    Sources,
    Warehouse,
    WarehouseQuery,
    WarehouseUnreachable,
    readable_names,
    require_readable,
)
from gateway.sql import names_read
from protocol.entities import LiveQuery
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
        self,
        warehouse: Warehouse,
        sources: Sources,
        limits: PullLimits | None = None,
        measure: PullMeasure | None = None,
    ) -> None:
        self._measure = measure or PullMeasure()
        self._warehouse = warehouse
        self._sources = sources
        self._limits = limits or PullLimits()
        self._starting: dict[str, _Start] = {}
        self._live: dict[str, RunningPull] = {}

    def relimit(self, limits: PullLimits) -> None:
        """Other limits, for queries that start from now on."""
        self._limits = limits

    async def start(self, sql: str, properties: Mapping[str, Any], permit: Permit) -> RunningPull:
        """Run one SELECT. Raises `protocol.errors.KsqlError`."""
        options = pull_options(properties)
        resolved = resolve_query(sql, readable_names(self._sources.names, permit))
        await require_readable(permit, resolved, names_read)
        if len(self._live) + len(self._starting) >= self._limits.queries_max:
            raise TooManyRequests(
                f"{self._limits.queries_max} pull queries are running, and query.pull_queries_max "
                "allows no more: try again later"
            )
        timeout_ms = options.timeout_ms
        if timeout_ms is None:
            timeout_ms = int(self._limits.timeout_s * 1000)
        start = _Start(sql, timeout_ms, permit.principal.name)
        self._starting[start.query_id] = start
        try:
            running = await self._started(start, resolved, options)
        except KsqlError:
            self._measure.ended("error", start.began_at)
            raise
        finally:
            del self._starting[start.query_id]
        self._live[running.id] = running
        return running

    def live(self, permit: Permit) -> list[LiveQuery]:
        """Pull queries that run, and those whose columns the warehouse has not told yet.

        Those of the permit's principal; of all with ``admin``.
        """
        queries: list[_Start | RunningPull] = [*self._starting.values(), *self._live.values()]
        return [query.described() for query in queries if owns(permit, query.owner)]

    def terminate(self, query_id: str, permit: Permit) -> bool:
        """End a live pull query, with an error to its reader; False if the principal has none."""
        query = self._live.get(query_id) or self._starting.get(query_id)
        if query is None or not owns(permit, query.owner):
            return False
        permit.record("close query", query_id)
        query.end(BadRequest("The query was closed before its result was complete"))
        return True

    async def close(self) -> None:
        """End every live pull query."""
        for start in self._starting.values():
            start.end(InternalError("The query was ended because the server shuts down"))
        for query in list(self._live.values()):
            await query.close()

    async def _started(
        self, start: "_Start", resolved: ResolvedQuery, options: PullOptions
    ) -> RunningPull:
        timeout_ms = start.timeout_ms
        context = {**options.context, "timeout": timeout_ms + _GRACE_MS if timeout_ms else 0}
        query = WarehouseQuery(
            sql=resolved.sql,
            query_id=start.query_id,
            context=context,
            engine=options.engine,
            shows=self._shown_as(resolved),
        )
        try:
            async with start.timer:
                result = await self._run(query, resolved)
        except TimeoutError:
            raise start.why from None
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"The warehouse does not answer: {lost}") from lost
        except QueryBroken as broken:
            raise InternalError(f"The query failed: {broken}") from broken
        except QueryRefused as refused:
            raise BadStatement(str(refused), start.sql) from refused
        if result is None:
            shown: Shown = (self._expected(resolved), ())
        else:
            shown = self._declared(result, resolved)
        return RunningPull(
            start.query_id,
            start.sql,
            start.since_ms,
            start.owner,
            result,
            self._kind_of(resolved),
            shown,
            rows_max=self._limits.rows_max,
            ends=(start.ends_at, start.why),
            gone=lambda: self._live.pop(start.query_id, None),
            measure=self._measure,
            began_at=start.began_at,
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

    def _declared(self, result: Result, resolved: ResolvedQuery) -> Shown:
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


class _Start:
    """A query that was sent to the warehouse, until its columns are known.

    ``why``: the error that it ends with if it is ended meanwhile, by its timer or `end`.
    """

    def __init__(self, sql: str, timeout_ms: int, owner: str) -> None:
        self.owner = owner
        self.query_id = f"query_{secrets.token_hex(12)}"
        self.sql = sql
        self.timeout_ms = timeout_ms
        self.since_ms = now_ms()
        self.began_at = time.monotonic()
        now = asyncio.get_running_loop().time()
        self.ends_at = now + timeout_ms / 1000 if timeout_ms else None
        self.timer = asyncio.timeout_at(self.ends_at)
        self.why: KsqlError = _too_late(timeout_ms)

    def end(self, why: KsqlError) -> None:
        """Give it up: what waits for it raises ``why``."""
        if self.timer.expired():
            return
        self.why = why
        self.timer.reschedule(asyncio.get_running_loop().time())

    def described(self) -> LiveQuery:
        """As it is listed."""
        return LiveQuery(
            query_id=self.query_id,
            sql=self.sql,
            kind="PULL",
            rows_delivered=0,
            since_ms=self.since_ms,
        )


def _too_late(timeout_ms: int) -> InternalError:
    return InternalError(
        f"The query was ended because it took longer than {timeout_ms} ms: the property "
        f"'{TIMEOUT}' sets another limit for one query, query.pull_timeout_s for all"
    )
