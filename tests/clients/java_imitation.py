"""ksqlDB's Java client, imitated frame by frame: what it sends, in its order, with its bad habits.

The real one cannot be installed here. This owns its requests (specification §6.1, §6.2, Appendix
A) and hands what comes back to readers as strict as its own (`java_records`, `java_entities`).
Like it:

* h2c by prior knowledge; SETTINGS with MAX_HEADER_LIST_SIZE=8192 only; no request before the
  SETTINGS exchange; GOAWAY(0) at the end; no PING, no retry;
* headers in its order, with a priority (flags 0x24), without content-type; GET with a body;
* `streamInserts`: the arguments line, rows only once the 200 is there, each row one raw DATA frame
  which no flow control and no frame limit ever sees; an empty frame at the end;
* `streamQuery` stops to read (and so to give credit) while 200 rows wait for its user.

Unlike it: methods wait, so that a test reads from top to bottom. `Dialect.OLD` is the client up to
ksqlDB 0.26: no Accept header, delimited rows.
"""

import struct
from collections.abc import Mapping
from enum import Enum
from types import TracebackType
from typing import Any, Self

import hpack

from tests.clients import java_entities as entities
from tests.clients.java_records import AckRecords, ClientFailure, DelimitedRows, StreamedRows
from tests.clients.java_streams import InsertsPublisher, StreamedQuery, compact
from tests.frames import END_HEADERS, PRIORITY, Credit, Kind, Setting, encode_frame
from tests.peers import Peer
from tests.streams import Stream

NO_WEIGHT = struct.pack(">IB", 0, 15)
"""the priority of a HEADERS frame: depends on nothing, weight 16"""


class Dialect(Enum):
    """Which client: the values are (user-agent, the Accept of a query)."""

    NEW = ("ksqlDB Java Client v7.9.0", "application/vnd.ksql.v1+json")
    OLD = ("ksqlDB Java Client v0.26.0", None)


class JavaClient:
    """One client, one connection. ``address`` is (host, port).

    Methods raise `ClientFailure` where the real one fails its future, `Breaks` where it hangs.
    """

    def __init__(
        self,
        address: tuple[str, int],
        dialect: Dialect = Dialect.NEW,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.dialect = dialect
        self.peer = Peer(address, settings={Setting.MAX_HEADER_LIST_SIZE: 8192})
        self.variables: dict[str, Any] = {}
        self._custom = dict(headers or {})
        self._authority = f"{address[0]}:{address[1]}"
        self._encoder = hpack.Encoder()
        self.peer.handshake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """GOAWAY, and the socket is gone."""
        self.peer.send_goaway()
        self.peer.close()

    def define(self, name: str, value: Any) -> None:
        """A variable: it stays in the client, and goes along with each request."""
        self.variables[name] = value

    # ── queries ──

    def stream_query(
        self, sql: str, properties: Mapping[str, Any] | None = None, token: str | None = None
    ) -> StreamedQuery:
        """A query that runs; ``token`` continues an earlier one."""
        wanted = {} if token is None else {"request.ksql.query.push.continuation.token": token}
        stream = self._query(sql, properties, wanted)
        return StreamedQuery(stream, self._records(batched=False))

    def execute_query(self, sql: str, properties: Mapping[str, Any] | None = None) -> StreamedQuery:
        """A query whose rows its user gets once it is over: `StreamedQuery.read_to_end`."""
        stream = self._query(sql, properties, {})
        return StreamedQuery(stream, self._records(batched=True))

    def terminate_push_query(self, query_id: str) -> None:
        """Looks at the status only."""
        self._whole("POST", "/close-query", {"queryId": query_id})

    def _records(self, *, batched: bool) -> StreamedRows | DelimitedRows:
        return StreamedRows(batched=batched) if self.dialect is Dialect.NEW else DelimitedRows()

    def _query(
        self, sql: str, properties: Mapping[str, Any] | None, wanted: Mapping[str, str]
    ) -> Stream:
        body = {
            "sql": sql,
            "properties": dict(properties or {}),
            "sessionVariables": self.variables,
            "requestProperties": dict(wanted),
        }
        accept = self.dialect.value[1]
        return self._request("POST", "/query-stream", compact(body), accept, Credit.WITHHELD)

    # ── inserts ──

    def insert_into(self, target: str, row: Mapping[str, Any]) -> None:
        """One row, one request with its length."""
        body = b"".join(compact(part) + b"\n" for part in ({"target": target}, row))
        stream = self._request("POST", "/inserts-stream", body)
        acks = AckRecords(numbered=False)
        stream.read_headers()
        stream.read_to_end()
        if stream.status != 200:
            raise entities.failure(stream.status, stream.body)
        for payload in stream.frames:
            acks.feed(payload)
        acks.end()
        if acks.error is not None:
            raise ClientFailure(acks.error)

    def stream_inserts(self, target: str) -> InsertsPublisher:
        """A stream of rows, of which at most 200 are ever sent."""
        stream = self._open("POST", "/inserts-stream")
        stream.send_frames([compact({"target": target}) + b"\n"])
        return InsertsPublisher(stream)

    # ── statements ──

    def execute_statement(
        self, sql: str, properties: Mapping[str, Any] | None = None
    ) -> str | None:
        """The id of the query that it started, if any."""
        body = {
            "ksql": sql,
            "streamsProperties": dict(properties or {}),
            "sessionVariables": self.variables,
        }
        return entities.statement_result(self._whole("POST", "/ksql", body))

    def list_streams(self) -> list[entities.Source]:
        """LIST STREAMS."""
        return entities.sources(self._listed("list streams;"), "streams")

    def list_tables(self) -> list[entities.Source]:
        """LIST TABLES."""
        return entities.sources(self._listed("list tables;"), "tables")

    def list_topics(self) -> dict[str, list[int]]:
        """LIST TOPICS."""
        return entities.topics(self._listed("list topics;"))

    def list_queries(self) -> list[entities.Query]:
        """LIST QUERIES."""
        return entities.queries(self._listed("list queries;"))

    def list_connectors(self) -> list[str]:
        """LIST CONNECTORS."""
        return entities.connectors(self._listed("list connectors;"))

    def describe_source(self, name: str) -> entities.Description:
        """DESCRIBE."""
        return entities.description(self._told(f"describe {name};"))

    def create_connector(self, name: str, properties: Mapping[str, str]) -> None:
        """CREATE SOURCE CONNECTOR, with the two blanks that its four-argument form leaves."""
        given = ",".join(f"'{key}'='{value}'" for key, value in properties.items())
        self._told(f"CREATE SOURCE CONNECTOR  {name} WITH ({given});")

    def drop_connector(self, name: str) -> None:
        """DROP CONNECTOR."""
        self._told(f"drop connector {name};")

    def describe_connector(self, name: str) -> None:
        """DESCRIBE CONNECTOR."""
        self._told(f"describe connector {name};")

    def assert_topic(self, topic: str, timeout_s: int, *, exists: bool = True) -> None:
        """ASSERT TOPIC; its text is all that it has."""
        sign = "" if exists else " not exists"
        told = self._told(f"assert{sign} topic '{topic}' timeout {timeout_s} seconds;")
        entities.assertion(told, "topicName", exists)

    def assert_schema(self, subject: str, timeout_s: int, *, exists: bool = True) -> None:
        """ASSERT SCHEMA."""
        sign = "" if exists else " not exists"
        told = self._told(f"assert{sign} schema subject '{subject}' timeout {timeout_s} seconds;")
        entities.assertion(told, "subject", exists)

    def _listed(self, sql: str) -> entities.Entity:
        return entities.single(self._whole("POST", "/ksql", {"ksql": sql}))

    def _told(self, sql: str) -> entities.Entity:
        body = {"ksql": sql, "sessionVariables": self.variables}
        return entities.single(self._whole("POST", "/ksql", body))

    # ── the rest ──

    def server_info(self) -> entities.Server:
        """GET /info, with a body."""
        return entities.server(self._whole("GET", "/info", {}))

    def send(self, method: str, path: str, payload: Mapping[str, Any]) -> tuple[int, bytes]:
        """`buildRequest(…).send()`: whatever came, as it came."""
        body = {"sessionVariables": self.variables, "properties": {}, **payload}
        stream = self._request(method, path, compact(body))
        stream.read_to_end()
        return stream.status, stream.body

    def _whole(self, method: str, path: str, body: Mapping[str, Any]) -> bytes:
        """The body of a reply that is a 200. Raises `ClientFailure`, `Breaks`."""
        stream = self._request(method, path, compact(body))
        stream.read_to_end()
        if stream.status != 200:
            raise entities.failure(stream.status, stream.body)
        return stream.body

    # ── frames ──

    def _request(
        self,
        method: str,
        path: str,
        body: bytes,
        accept: str | None = None,
        credit: Credit = Credit.GIVEN,
    ) -> Stream:
        """A request whose body has its length, in one DATA frame."""
        stream = self._open(method, path, accept, len(body), credit)
        stream.send_frames([body], end=True)
        return stream

    def _open(
        self,
        method: str,
        path: str,
        accept: str | None = None,
        length: int | None = None,
        credit: Credit = Credit.GIVEN,
    ) -> Stream:
        """HEADERS, in the order of the real ones; custom ones may replace."""
        headers = {"user-agent": self.dialect.value[0]}
        if accept is not None:
            headers["accept"] = accept
        headers |= self._custom
        if length is not None:
            headers["content-length"] = str(length)
        pseudo = [(":method", method), (":path", path), (":scheme", "http")]
        pseudo.append((":authority", self._authority))
        block = self._encoder.encode([*pseudo, *headers.items()])
        stream = self.peer.new_stream()
        stream.credit = credit
        raw = encode_frame(Kind.HEADERS, END_HEADERS | PRIORITY, stream.id, NO_WEIGHT + block)
        self.peer.write(raw)
        return stream
