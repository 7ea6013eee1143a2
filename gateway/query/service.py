"""The door of the query room: what a text is, who is live, and how a query is closed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.query.evaluations import Evaluations
from gateway.query.pull import PullQueries
from gateway.query.push import RunningPush, start_position
from gateway.seams import (
    CommitLog,
    QueryEnd,
    QueryKind,
    QueryRefused,
    ResultColumn,
    RowLines,
    RunningQuery,
    SourceKind,
    Sources,
    Warehouse,
)
from gateway.sql import compile_push
from protocol.arguments import QueryArguments
from protocol.entities import LiveQuery
from protocol.errors import BadStatement, TooManyPushQueries
from protocol.query_text import PullQuery, PushQueryText, parse_query


class QueryService:
    """Implements `gateway.seams.Queries`."""

    def __init__(
        self,
        *,
        warehouse: Warehouse,
        sources: Sources,
        log: CommitLog,
        push_queries_max: int,
    ) -> None:
        self._sources = sources
        self._log = log
        self._push_queries_max = push_queries_max
        self._pulls = PullQueries(warehouse, sources)
        self._evaluations = Evaluations()
        self._live: dict[str, RunningPush] = {}

    async def start(self, arguments: QueryArguments) -> RunningQuery:
        """See `gateway.seams.Queries`."""
        query = parse_query(arguments.sql, arguments.session_variables)
        if isinstance(query, PullQuery):
            return await self._pulls.start(query.sql, {})
        return await self._start_push(query, arguments.properties)

    async def close_query(self, query_id: str) -> bool:
        """See `gateway.seams.Queries`."""
        return self.terminate(query_id)

    def terminate(self, query_id: str) -> bool:
        """Close a live push query; False if there is none of this id."""
        query = self._live.pop(query_id, None)
        if query is None:
            return False
        query.end()
        return True

    def live(self) -> list[LiveQuery]:
        """Push queries that run."""
        return [LiveQuery(query_id=query.id, sql=query.statement) for query in self._live.values()]

    def terminate_all(self) -> None:
        """Close every live push query: their streams end well."""
        for query_id in list(self._live):
            self.terminate(query_id)

    async def close(self) -> None:
        """Close every live query and stop evaluating."""
        self.terminate_all()
        self._evaluations.close()

    async def _start_push(
        self, query: PushQueryText, properties: Mapping[str, Any]
    ) -> RunningQuery:
        if query.source_text is None:
            raise BadStatement(
                "A push query reads one stream by its name: FROM a subquery is not supported",
                query.sql,
            )
        source = await self._sources.resolve(query.source_text)
        try:
            # Tens of milliseconds of parsing: not on the event loop.
            push = await asyncio.to_thread(compile_push, query.sql, source)
        except QueryRefused as refused:
            raise BadStatement(str(refused), query.sql) from refused
        if len(self._live) >= self._push_queries_max:
            raise TooManyPushQueries(
                f"Maximum number of push queries exceeded: {len(self._live)} are live, and "
                "query.push_queries_max allows no more"
            )
        position = start_position(properties, self._log)
        running = RunningPush(push, query.sql, source, position, self._log, self._evaluations)
        self._live[running.id] = running
        return _Registered(running, self._live)


class _Registered:
    """A push query that leaves the registry when it ends."""

    kind = QueryKind.PUSH

    def __init__(self, query: RunningPush, live: dict[str, RunningPush]) -> None:
        self.id = query.id
        self.columns: tuple[ResultColumn, ...] = query.columns
        self.source_kind: SourceKind | None = query.source_kind
        self._query = query
        self._live = live

    @property
    def ended_by(self) -> QueryEnd:
        """See `gateway.seams.RunningQuery`."""
        return self._query.ended_by

    def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        return self._query.rows()

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self._live.pop(self.id, None)
        await self._query.close()
