"""The client that users hold: inserts, queries, statements, over one connection that renews itself.

Owns: which connection a request goes out on, and the requests that have a whole reply.
Must never know: frames and windows (`connection`), the form of lines (`wire`).

A connection that broke or is going away is replaced at the next request; what ran on it fails
with `ConnectionLost`, for only the caller knows whether rows may be sent twice.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from gateway.client.connection import Connection, connect
from gateway.client.errors import AnswerBroken
from gateway.client.exchanges import Insert, Query, Row, whole_reply
from gateway.client.stream import Stream
from gateway.client.wire import InsertTerms


class Client:
    """A client of one gateway, for use in one event loop.

    ::

        async with Client("http://127.0.0.1:8088") as client:
            async with client.insert("FLIGHTS", rows) as inserts:
                async for acks in inserts:
                    print(acks.last_seq)
    """

    def __init__(self, url: str, *, connect_timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"expected a URL such as http://127.0.0.1:8088, got {url!r}")
        self._host = parts.hostname
        self._port = parts.port or 8088
        self._connect_timeout_s = connect_timeout_s
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._left_behind: list[Connection] = []

    async def __aenter__(self) -> Self:
        await self._usable_connection()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; inserts and queries that still run fail."""
        last = [self._connection] if self._connection is not None else []
        connections, self._left_behind, self._connection = [*self._left_behind, *last], [], None
        for connection in connections:
            await connection.close()

    def insert(
        self,
        target: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        *,
        ack: str = "committed",
        channel: str | None = None,
        offset: int | None = None,
        on_error: str | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> Insert:
        """Rows into a stream (`POST /inserts-stream`); the acks come while rows are being sent.

        ``ack`` is ``spooled``, ``committed`` or ``queryable``. ``channel`` numbers the rows, the
        first by ``offset`` (None: where the channel stands): what is sent again is not stored
        again. ``on_error`` is ``stop`` (the first refused row ends the insert, the default) or
        ``continue``. An ordinary iterable is run on the event loop: if getting its next row takes
        long, give an async one. See `Insert`.
        """
        terms = InsertTerms(
            ack=ack,
            channel=channel,
            offset=offset,
            on_error=on_error,
            properties=properties or {},
        )
        return Insert(self._open_stream, target, rows, terms)

    def query(self, sql: str, *, properties: Mapping[str, Any] | None = None) -> Query:
        """A pull or push query (`POST /query-stream`). See `Query`."""
        return Query(self._open_stream, sql, properties or {})

    async def close_query(self, query_id: str) -> None:
        """End a push query, here or anywhere (`POST /close-query`).

        Raises `KsqlResponseError` with code 40000 if no such query runs.
        """
        await self._call("POST", "/close-query", {"queryId": query_id})

    async def ksql(self, text: str) -> list[dict[str, Any]]:
        """Run statements (`POST /ksql`): one entity for each. Raises `KsqlResponseError`."""
        reply = await self._call("POST", "/ksql", {"ksql": text, "streamsProperties": {}})
        if not isinstance(reply, list):
            raise AnswerBroken(f"/ksql answered no list: {str(reply)[:200]}")
        return reply

    async def info(self) -> dict[str, Any]:
        """What the server says of itself (`GET /info`), without the outer ``KsqlServerInfo``."""
        reply = await self._call("GET", "/info")
        if not isinstance(reply, dict) or not isinstance(reply.get("KsqlServerInfo"), dict):
            raise AnswerBroken(f"/info answered no KsqlServerInfo: {str(reply)[:200]}")
        return dict(reply["KsqlServerInfo"])

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        """One request with a whole JSON reply; None where the reply is empty."""
        stream = await self._open_stream(method, path)
        try:
            if body is not None:
                await stream.send(orjson.dumps(body))
            stream.end()
            reply = await whole_reply(stream)
        finally:
            stream.close()
        try:
            return orjson.loads(reply) if reply.strip() else None
        except orjson.JSONDecodeError as exc:
            raise AnswerBroken(f"{path} answered no JSON: {reply[:200]!r}") from exc

    async def _open_stream(self, method: str, path: str) -> Stream:
        connection = await self._usable_connection()
        headers = [("user-agent", "headrace-client")]
        if method == "POST":
            headers.append(("content-type", "application/json"))
        return await connection.request(method, path, headers)

    async def _usable_connection(self) -> Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                if self._connection is not None:
                    # It may be going away with streams still on it: they are let finish.
                    old, self._connection = self._connection, None
                    self._left_behind = [c for c in (*self._left_behind, old) if not c.closed]
                self._connection = await connect(
                    self._host, self._port, timeout_s=self._connect_timeout_s
                )
            return self._connection
