"""A query on one stream: its header, its rows, its end.

Owns: the order of things in it. Must never know: the form of lines (`wire`), and what becomes of a
query whose connection broke (`resuming_query`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.client.errors import AnswerCut, ClientError
from gateway.client.exchanges import Exchange, OpenStream
from gateway.client.lifetime import RowQueue
from gateway.client.place import QueryPlace
from gateway.client.stream import Stream
from gateway.client.wire import QueryHeader, QueryReader, query_arguments
from protocol.types import Column

FIRST_TOKEN_S = 1.0
"""How long a server that knows tokens may take from a query's header to the first one."""


class Query(Exchange, RowQueue):
    """A running query: iterate over it for its rows, each a list of JSON values.

    ``columns`` and ``query_id`` are there after entry. A push query goes on until it is left, its
    LIMIT is reached, or it is closed by `Client.close_query`. The iteration raises `QueryFailed`
    where the server breaks off, after the rows before it. With a ``place`` it is one session of a
    query that is resumed.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        sql: str,
        properties: Mapping[str, Any],
        place: QueryPlace | None = None,
    ) -> None:
        Exchange.__init__(
            self, open_stream, "/query-stream", query_arguments(sql, properties, place)
        )
        RowQueue.__init__(self)
        self._place = place
        self._reader = QueryReader(place)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The result's columns, in the order of each row's values."""
        return self._header.columns

    @property
    def query_id(self) -> str:
        """What `Client.close_query` takes."""
        return self._header.query_id

    @property
    def continuation_token(self) -> str | None:
        """The newest token that the server sent, if it sends them."""
        return self._reader.continuation_token

    @property
    def ended_by_leaving(self) -> bool:
        """Whether the server had said that it goes away when the answer ended."""
        return self._stream is not None and self._stream.leaving

    async def _more(self) -> bool:
        """Wait for rows; False at the end of the answer."""
        if self._over:
            return False
        try:
            await self._fill(await self.opened())
        except ClientError:
            await self.aclose()
            raise
        if not self._waiting:
            await self.aclose()
        return bool(self._waiting)

    @property
    def _header(self) -> QueryHeader:
        if self._reader.header is None:
            raise RuntimeError("the query is not open yet: use `async with client.query(…) as q`")
        return self._reader.header

    def _sent_arguments(self, stream: Stream) -> None:
        stream.end()

    async def _begin(self, stream: Stream) -> None:
        while self._reader.header is None:
            data = await stream.receive()
            self._waiting.extend(self._reader.feed(data) if data else self._reader.end())
            if not data and self._reader.header is None:
                raise AnswerCut("the answer ended before its header")
        if self._place is not None and self._place.token is None:
            await self._first_token(stream)

    async def _first_token(self, stream: Stream) -> None:
        """From the first token on nothing is missed; a server without tokens sends none."""
        try:
            async with asyncio.timeout(FIRST_TOKEN_S):
                while self._reader.continuation_token is None and not self._waiting:
                    data = await stream.receive()
                    if not data:
                        return
                    self._waiting.extend(self._reader.feed(data))
        except TimeoutError:
            return

    async def _fill(self, stream: Stream) -> None:
        """At least one row into ``_waiting``, or none at the end of the answer."""
        while not self._waiting:
            if self._reader.failure is not None:
                raise self._reader.failure
            data = await stream.receive()
            self._waiting.extend(self._reader.feed(data) if data else self._reader.end())
            if not data:
                if not self._waiting and self._reader.failure is not None:
                    raise self._reader.failure
                return
