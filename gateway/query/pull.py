"""Pull queries: the text goes to the warehouse, its rows come back with declared types."""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

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
from protocol.errors import BadStatement, InternalError, WarehouseAway
from protocol.names import Origin, ResolvedQuery, resolve_query
from protocol.types import STRING, Column


class PullQueries:
    """Starts pull queries on a warehouse."""

    def __init__(self, warehouse: Warehouse, sources: Sources) -> None:
        self._warehouse = warehouse
        self._sources = sources

    async def start(self, sql: str, context: Mapping[str, Any]) -> "RunningPull":
        """Run one SELECT. Raises `protocol.errors.KsqlError`."""
        resolved = resolve_query(sql, self._sources.names)
        query_id = f"query_{secrets.token_hex(12)}"
        query = WarehouseQuery(sql=resolved.sql, query_id=query_id, context=context)
        try:
            result = await self._run(query, resolved)
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"The warehouse does not answer: {lost}") from lost
        except QueryRefused as refused:
            raise BadStatement(str(refused), sql) from refused
        kind = self._kind_of(resolved)
        if result is None:
            return RunningPull(query_id, None, kind, self._expected(resolved), ())
        return RunningPull(query_id, result, kind, *self._declared(result, resolved))

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

    def _declared(
        self, result: Result, resolved: ResolvedQuery
    ) -> tuple[tuple[ResultColumn, ...], tuple[Convert | None, ...]]:
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
            converters.append(converter(declared.type, stored_as))
        return tuple(columns), tuple(converters) if any(converters) else ()


class RunningPull:
    """Implements `gateway.seams.RunningQuery`."""

    kind = QueryKind.PULL
    ended_by = QueryEnd.COMPLETED

    def __init__(
        self,
        query_id: str,
        result: Result | None,
        source_kind: SourceKind | None,
        columns: tuple[ResultColumn, ...],
        converters: tuple[Convert | None, ...],
    ) -> None:
        self.id = query_id
        self.source_kind = source_kind
        self.columns = columns
        self._result = result
        self._converters = converters

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        if self._result is None:
            return
        try:
            async for lines in self._result.rows():
                yield convert(lines, self._converters) if self._converters else lines
        except (QueryBroken, WarehouseUnreachable) as broken:
            raise InternalError(f"The result is not complete: {broken}") from broken

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        if self._result is not None:
            await self._result.close()
