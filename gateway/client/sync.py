"""The client for code without an event loop: the same verbs, over a loop in a thread of its own.

Owns: nothing but the crossing between threads; what is done is `gateway.client.client`'s.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.client.address import Token
from gateway.client.client import RECONNECT_MAX_S, RESEND_LIMIT_BYTES, Client
from gateway.client.connecting import CONNECT_TIMEOUT_S, DEAD_AFTER_S
from gateway.client.exchanges import Row
from gateway.client.loop_thread import LoopThread
from gateway.client.queries import Query
from gateway.client.resuming_query import ResumingQuery
from gateway.client.statements import ChannelOffsets
from gateway.client.sync_insert import SyncInsert
from protocol.types import Column


class SyncQuery:
    """A running query: iterate over it for its rows, as over `Query` and `ResumingQuery`."""

    def __init__(self, thread: LoopThread, query: Query | ResumingQuery) -> None:
        self._thread = thread
        self._query = query
        self._rows: Iterator[list[Any]] = iter(())

    @property
    def columns(self) -> tuple[Column, ...]:
        """The result's columns, once the query is open."""
        return self._query.columns

    @property
    def query_id(self) -> str:
        """What `SyncClient.close_query` takes, once the query is open."""
        return self._query.query_id

    @property
    def continuation_token(self) -> str | None:
        """The newest token that the server sent, if it sends them."""
        return self._query.continuation_token

    def __enter__(self) -> Self:
        self._thread.call(self._query.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the query up; may be called twice, and from another thread."""
        self._rows = iter(())
        if self._thread.runs:
            self._thread.call(self._query.aclose())

    def __iter__(self) -> Iterator[list[Any]]:
        return self

    def __next__(self) -> list[Any]:
        for row in self._rows:
            return row
        try:
            self._rows = iter(self._thread.call(self._query.batch()))
        except KeyboardInterrupt:
            self.close()
            raise
        return next(self._rows)


class SyncClient:
    """A client of one gateway, to be used from any number of threads.

    ::

        with SyncClient("http://127.0.0.1:8088") as client:
            for acks in client.insert("EVENTS", rows, channel="edge-7"):
                print(acks.last_seq)

    The options are those of `Client`. Ctrl-C ends the call that waits; leaving the ``with`` ends
    the rest. A token that is a callable is called in the client's own thread.
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
        self._client = Client(
            url,
            username=username,
            password=password,
            token=token,
            tls=tls,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            connect_timeout_s=connect_timeout_s,
            dead_after_s=dead_after_s,
            reconnect_max_s=reconnect_max_s,
        )
        self._thread = LoopThread("headrace-client")

    def __repr__(self) -> str:
        return f"<Sync{repr(self._client)[1:]}"

    def __enter__(self) -> Self:
        try:
            self._thread.call(self._client.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; what still runs fails."""
        if self._thread.runs:
            try:
                self._thread.call(self._client.close())
            finally:
                self._thread.stop()

    # ── rows ──

    def insert(
        self,
        target: str,
        rows: Iterable[Row],
        *,
        ack: str = "committed",
        channel: str | None = None,
        offset: int | None = None,
        on_error: str | None = None,
        properties: Mapping[str, Any] | None = None,
        resend_limit_bytes: int = RESEND_LIMIT_BYTES,
    ) -> SyncInsert:
        """As `Client.insert`; the rows are read by the thread that takes the acks."""
        return SyncInsert(
            self._thread,
            lambda wanted: self._client.insert(
                target,
                wanted,
                ack=ack,
                channel=channel,
                offset=offset,
                on_error=on_error,
                properties=properties,
                resend_limit_bytes=resend_limit_bytes,
            ),
            rows,
        )

    def query(
        self, sql: str, *, properties: Mapping[str, Any] | None = None, resume: bool = True
    ) -> SyncQuery:
        """As `Client.query`."""
        return SyncQuery(
            self._thread, self._client.query(sql, properties=properties, resume=resume)
        )

    def close_query(self, query_id: str) -> None:
        """As `Client.close_query`."""
        self._thread.call(self._client.close_query(query_id))

    # ── statements and state ──

    def ksql(
        self,
        text: str,
        *,
        properties: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """As `Client.ksql`."""
        return self._thread.call(
            self._client.ksql(text, properties=properties, variables=variables)
        )

    def streams(self) -> list[dict[str, Any]]:
        """As `Client.streams`."""
        return self._thread.call(self._client.streams())

    def describe(self, name: str) -> dict[str, Any]:
        """As `Client.describe`."""
        return self._thread.call(self._client.describe(name))

    def queries(self) -> list[dict[str, Any]]:
        """As `Client.queries`."""
        return self._thread.call(self._client.queries())

    def terminate(self, query_id: str) -> None:
        """As `Client.terminate`."""
        self._thread.call(self._client.terminate(query_id))

    def channel(self, target: str, name: str) -> ChannelOffsets | None:
        """As `Client.channel`."""
        return self._thread.call(self._client.channel(target, name))

    def info(self) -> dict[str, Any]:
        """As `Client.info`."""
        return self._thread.call(self._client.info())

    def healthcheck(self) -> dict[str, Any]:
        """As `Client.healthcheck`."""
        return self._thread.call(self._client.healthcheck())
