"""The client that users hold: inserts, queries, statements, over one connection that renews itself.

Owns: which connection a request goes out on, who asks, and the requests that have a whole reply.
Must never know: frames and windows (`connection`), the form of lines (`wire`).

A connection that broke or is going away is replaced at the next request. What ran on it goes on by
itself where sending again is safe: inserts on a channel, push queries. All else fails with
`ConnectionLost`, for only the caller knows whether it may be repeated.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import orjson

from gateway.client.address import Token, read_address, read_authorization, tls_context
from gateway.client.connecting import CONNECT_TIMEOUT_S, DEAD_AFTER_S, connect
from gateway.client.connection import Connection
from gateway.client.errors import AnswerBroken, KsqlResponseError, RequestCancelled
from gateway.client.exchanges import Insert, Row, whole_reply
from gateway.client.queries import Query
from gateway.client.resuming_insert import ResumingInsert
from gateway.client.resuming_query import ResumingQuery, push_text
from gateway.client.statements import ChannelOffsets, channel_offsets, entity_part, name_text
from gateway.client.stream import Stream
from gateway.client.wire import InsertTerms

RECONNECT_MAX_S = 300.0
RESEND_LIMIT_BYTES = 64 * 1024 * 1024


class Client:
    """A client of one gateway, for use in one event loop.

    ::

        async with Client("https://edge:secret@gateway.example:8088") as client:
            async for acks in client.insert("EVENTS", rows, channel="edge-7"):
                print(acks.last_seq)

    ``username`` and ``password`` (or the URL's userinfo) are shown as Basic, ``token`` as bearer,
    with every request; a callable is asked for the token each time. For https, ``tls`` is an SSL
    context, or ``ca_file``, ``cert_file`` and ``key_file`` (PEM) make one. A server that says
    nothing for ``dead_after_s``, not even to a PING, is given up. ``reconnect_max_s`` is how long
    inserts on a channel and push queries try to go on without success; None: for ever.

    Raises ValueError and OSError for options that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: Token | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        dead_after_s: float = DEAD_AFTER_S,
        reconnect_max_s: float | None = RECONNECT_MAX_S,
    ) -> None:
        self._authorization = read_authorization(url, username, password, token)
        self._address = read_address(url, partial(tls_context, tls, ca_file, cert_file, key_file))
        if self._address.tls is None and (tls or ca_file or cert_file or key_file):
            raise ValueError(f"TLS is for https, and {self._address} is not")
        self._connect_timeout_s = connect_timeout_s
        self._dead_after_s = dead_after_s
        self._reconnect_max_s = reconnect_max_s
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._left_behind: list[Connection] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<Client {self._address}>"

    async def __aenter__(self) -> Self:
        self._closed = False
        await self._usable_connection()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; inserts and queries that still run fail."""
        self._closed = True
        last = [self._connection] if self._connection is not None else []
        connections, self._left_behind, self._connection = [*self._left_behind, *last], [], None
        for connection in connections:
            await connection.close()

    # ── rows ─────────────────────────────────────────────────────────────────────────────────

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
        resend_limit_bytes: int = RESEND_LIMIT_BYTES,
    ) -> Insert | ResumingInsert:
        """Rows into a stream (`POST /inserts-stream`); the acks come while rows are being sent.

        ``ack`` is ``spooled``, ``committed`` or ``queryable``. ``on_error`` is ``stop`` (the first
        refused row ends the insert, the default) or ``continue``. An ordinary iterable is run on
        the event loop: if getting its next row takes long, give an async one.

        With a ``channel`` the insert survives lost connections and restarts of the gateway, and
        each row is stored once; see `ResumingInsert`. ``offset`` is that of the first row; None:
        where the channel stands. Rows without a verdict are kept, up to ``resend_limit_bytes``;
        while they are as much, no row is read. A channel is one producer's: rows that another
        source put on it meanwhile, under the same offsets, are taken for this one's. Without a
        channel see `Insert`.
        """
        terms = InsertTerms(
            ack=ack,
            channel=channel,
            offset=offset,
            on_error=on_error,
            properties=properties or {},
        )
        if channel is None:
            return Insert(self._open_stream, target, rows, terms)
        if {"headrace.channel", "headrace.offset"} & terms.properties.keys():
            raise ValueError("channel and offset are given as such, not among the properties")
        return ResumingInsert(
            self._open_stream,
            target,
            rows,
            terms,
            reconnect_max_s=self._reconnect_max_s,
            resend_limit_bytes=resend_limit_bytes,
        )

    def query(
        self, sql: str, *, properties: Mapping[str, Any] | None = None, resume: bool = True
    ) -> Query | ResumingQuery:
        """A pull or push query (`POST /query-stream`): iterate over it for its rows.

        A push query survives lost connections and restarts of the gateway, unless ``resume`` is
        False; see `ResumingQuery`. A pull query never does; see `Query`.
        """
        push = push_text(sql) if resume else None
        if push is None:
            return Query(self._open_stream, sql, properties or {})
        return ResumingQuery(
            self._open_stream,
            sql,
            properties or {},
            limit=push.limit,
            reconnect_max_s=self._reconnect_max_s,
        )

    async def close_query(self, query_id: str) -> None:
        """End a push query, here or anywhere (`POST /close-query`).

        Raises `KsqlResponseError` with code 40000 if no such query runs.
        """
        await self._call("POST", "/close-query", {"queryId": query_id})

    # ── statements ───────────────────────────────────────────────────────────────────────────

    async def ksql(
        self,
        text: str,
        *,
        properties: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Run statements (`POST /ksql`): one entity for each. Raises `KsqlResponseError`.

        ``variables`` fill ``${name}`` in the text.
        """
        body: dict[str, Any] = {"ksql": text, "streamsProperties": dict(properties or {})}
        if variables:
            body["sessionVariables"] = dict(variables)
        reply = await self._call("POST", "/ksql", body)
        if not isinstance(reply, list):
            raise AnswerBroken(f"/ksql answered no list: {str(reply)[:200]}")
        return reply

    async def streams(self) -> list[dict[str, Any]]:
        """The declared streams, each as ksqlDB lists it (LIST STREAMS)."""
        return list(entity_part(await self.ksql("LIST STREAMS;"), "streams"))

    async def describe(self, name: str) -> dict[str, Any]:
        """A stream with its columns: ksqlDB's ``sourceDescription``."""
        found = entity_part(await self.ksql(f"DESCRIBE {name_text(name)};"), "sourceDescription")
        return dict(found)

    async def queries(self) -> list[dict[str, Any]]:
        """The queries that run now, push and pull, with the rows delivered (LIST QUERIES)."""
        return list(entity_part(await self.ksql("LIST QUERIES;"), "queries"))

    async def terminate(self, query_id: str) -> None:
        """End a query that runs (TERMINATE)."""
        await self.ksql(f"TERMINATE {name_text(query_id)};")

    # ── state ────────────────────────────────────────────────────────────────────────────────

    async def channel(self, target: str, name: str) -> ChannelOffsets | None:
        """Where a channel stands at each level; None if it never held a row."""
        path = f"/channels/{quote(target, safe='')}/{quote(name, safe='')}"
        try:
            return channel_offsets(await self._call("GET", path))
        except KsqlResponseError as error:
            if error.status == 404 and error.message.startswith(f"Channel '{name}' "):
                return None
            raise

    async def info(self) -> dict[str, Any]:
        """What the server says of itself (`GET /info`), without the outer ``KsqlServerInfo``."""
        reply = await self._call("GET", "/info")
        if not isinstance(reply, dict) or not isinstance(reply.get("KsqlServerInfo"), dict):
            raise AnswerBroken(f"/info answered no KsqlServerInfo: {str(reply)[:200]}")
        return dict(reply["KsqlServerInfo"])

    async def healthcheck(self) -> dict[str, Any]:
        """``isHealthy`` and the details of it (`GET /healthcheck`)."""
        reply = await self._call("GET", "/healthcheck")
        if not isinstance(reply, dict):
            raise AnswerBroken(f"/healthcheck answered no object: {str(reply)[:200]}")
        return reply

    # ── requests ─────────────────────────────────────────────────────────────────────────────

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
        headers = [("user-agent", "headrace-client"), *await self._authorization.header()]
        if method == "POST":
            headers.append(("content-type", "application/json"))
        connection = await self._usable_connection()
        return await connection.request(method, path, headers)

    async def _usable_connection(self) -> Connection:
        async with self._connecting:
            if self._closed:
                raise RequestCancelled("the client is closed")
            if self._connection is None or not self._connection.usable:
                if self._connection is not None:
                    # It may be going away with streams still on it: they are let finish.
                    old, self._connection = self._connection, None
                    self._left_behind = [c for c in (*self._left_behind, old) if not c.closed]
                made = await connect(
                    self._address,
                    timeout_s=self._connect_timeout_s,
                    dead_after_s=self._dead_after_s,
                )
                if self._closed:
                    await made.close()
                    raise RequestCancelled("the client is closed")
                self._connection = made
            return self._connection
