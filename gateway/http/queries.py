"""The shell of one query response: a running query in, frames out.

The header leaves before any row exists, but for a pull query: that one ends by itself, so it is
worth waiting for what comes first, a row, its end or an error, which is still a status then. A
query that breaks later ends with an error line; a client that leaves closes the query.
"""

from collections.abc import AsyncGenerator, AsyncIterator

from gateway.seams import Permit, Queries, QueryEnd, QueryKind, RowLines, RunningQuery, SourceKind
from protocol.arguments import QueryArguments
from protocol.errors import KsqlError
from protocol.framing import Framing
from protocol.inserts import coalesces
from protocol.queries import LIMIT_REACHED, QUERY_COMPLETED, QueryStream
from protocol.types import Column


class QuerySession:
    """One request to ``/query-stream`` or ``/query``."""

    def __init__(self, framing: Framing, arguments: QueryArguments) -> None:
        self.framing = framing
        self.broken = False
        """the query failed after its header: the response must not end as a good one does"""
        self._arguments = arguments
        self._query: RunningQuery | None = None
        self._rows: AsyncIterator[RowLines] | None = None
        self._first: RowLines | None = None

    async def start(self, queries: Queries, permit: Permit) -> None:
        """Start the query. Raises `KsqlError`, which is still a status. `close` it afterwards."""
        self._query = query = await queries.start(self._arguments, permit)
        self._rows = query.rows()
        if query.kind is QueryKind.PULL:
            self._first = await anext(self._rows, None)

    async def close(self) -> None:
        """The request is over: the query is too. May be called twice, and before the start."""
        if self._query is not None:
            await self._query.close()

    async def frames(self) -> AsyncGenerator[list[bytes], None]:
        """Frames of the response; leaving early closes the query."""
        query, rows = self._query, self._rows
        assert query is not None
        assert rows is not None
        stream = QueryStream(
            self.framing,
            coalesced=coalesces(self._arguments.properties),
            final_message=_has_final_message(query),
        )
        try:
            yield stream.header(query.id, columns_of(query))
            try:
                if self._first is not None:
                    first, self._first = self._first, None
                    yield stream.rows(first.raw)
                async for lines in rows:
                    yield _frames_of(stream, lines)
            except KsqlError as error:
                self.broken = True
                yield stream.error(error)
            else:
                limited = query.ended_by is QueryEnd.LIMIT
                yield stream.end(LIMIT_REACHED if limited else QUERY_COMPLETED)
        finally:
            await query.close()


def _frames_of(stream: QueryStream, lines: RowLines) -> list[bytes]:
    """Rows, and behind them the token of the place after them."""
    frames = stream.rows(lines.raw)
    return frames if lines.token is None else frames + stream.token(lines.token)


def columns_of(query: RunningQuery) -> list[Column]:
    """The query's columns as its header shows them."""
    return [Column(column.name, column.type, column.key) for column in query.columns]


def _has_final_message(query: RunningQuery) -> bool:
    """In v1+json: all but pull queries of a table or an undeclared datasource (DESIGN §6, 3)."""
    return query.kind is QueryKind.PUSH or query.source_kind is SourceKind.STREAM
