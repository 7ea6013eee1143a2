"""The duplex Python client: rows up, acks down, on one HTTP/2 stream at the same time.

Owns: the client's side of HTTP/2 (h2c by prior knowledge, TLS with ALPN), of `/inserts-stream`,
`/query-stream`, `/close-query`, `/ksql`, `/channels`, `/info` and `/healthcheck`.
Must never know: the rooms of the gateway. It speaks to any server of ksqlDB's delimited dialect
and imports `protocol` only (checked by import-linter).

Laws:

1. Acks are handed out in order and densely, whatever happened in between; an answer that is not
   in order is an error.
2. Whatever arrived before a failure is handed out before the failure is raised.
3. Memory is bounded: per stream by its receive window and by `stream.OUTBOX_LIMIT_BYTES`, per
   insert on a channel by its ``resend_limit_bytes``. Credit goes back to the server when its bytes
   are taken, so a slow caller slows the server.
4. Only the exceptions of `errors` leave this package, and those of the caller's own iterables.
5. What is sent again by itself is stored once (an insert on a channel), and what is asked for
   again by itself is handed out once (a push query). Nothing else is ever repeated.
6. A credential is in no message and no ``repr``.

`sync.SyncClient` is the same for code without an event loop.

Read in this order: `errors`, `wire`, `ledger`, `place`, `backoff` (pure), `address`, `stream`,
`connection`, `lifetime`, `exchanges`, `queries`, `resuming_insert`, `resuming_query`, `client`,
`sync`.
"""

from gateway.client.client import Client
from gateway.client.errors import (
    AnswerBroken,
    AnswerCut,
    ChannelTaken,
    ClientError,
    ConnectionLost,
    GoneAway,
    KsqlResponseError,
    QueryFailed,
    ReconnectFailed,
    RequestCancelled,
    ResumeRefused,
    RowRefused,
    StreamReset,
    TlsFailed,
)
from gateway.client.exchanges import Insert
from gateway.client.ledger import InsertProgress
from gateway.client.queries import Query
from gateway.client.resuming_insert import ResumingInsert
from gateway.client.resuming_query import ResumingQuery
from gateway.client.statements import ChannelOffsets
from gateway.client.sync import SyncClient
from gateway.client.wire import AckBatch

__all__ = [
    "AckBatch",
    "AnswerBroken",
    "AnswerCut",
    "ChannelOffsets",
    "ChannelTaken",
    "Client",
    "ClientError",
    "ConnectionLost",
    "GoneAway",
    "Insert",
    "InsertProgress",
    "KsqlResponseError",
    "Query",
    "QueryFailed",
    "ReconnectFailed",
    "RequestCancelled",
    "ResumeRefused",
    "ResumingInsert",
    "ResumingQuery",
    "RowRefused",
    "StreamReset",
    "SyncClient",
    "TlsFailed",
]
