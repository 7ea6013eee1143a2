"""The shell of one query response: a running query in, frames out.

The header leaves before any row exists. A query that breaks after it ends with an error line; a
client that leaves closes the query.
"""

from collections.abc import AsyncGenerator

from gateway.seams import Queries, RunningQuery
from protocol.arguments import QueryArguments
from protocol.errors import KsqlError
from protocol.framing import Framing
from protocol.inserts import coalesces
from protocol.queries import QueryStream


class QuerySession:
    """One request to ``/query-stream``."""

    def __init__(self, framing: Framing, arguments: QueryArguments) -> None:
        self.framing = framing
        self._arguments = arguments
        self._stream = QueryStream(framing, coalesced=coalesces(arguments.properties))
        self._query: RunningQuery | None = None

    async def start(self, queries: Queries) -> None:
        """Start the query. Raises `KsqlError`, which is still a status."""
        self._query = await queries.start(self._arguments)

    async def frames(self) -> AsyncGenerator[list[bytes], None]:
        """Frames of the response; leaving early closes the query."""
        query = self._query
        assert query is not None
        try:
            columns = [(column.name, column.type) for column in query.columns]
            yield self._stream.header(query.id, columns)
            try:
                async for lines in query.rows():
                    yield self._stream.rows(lines.raw)
            except KsqlError as error:
                yield self._stream.error(error)
            else:
                yield self._stream.end()
        finally:
            await query.close()
