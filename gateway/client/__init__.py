"""The duplex Python client: rows up, acks down, on one HTTP/2 stream at the same time.

Owns: the client's side of HTTP/2 (prior knowledge, h2c), of `/inserts-stream`, `/query-stream`,
`/close-query`, `/ksql` and `/info`.
Must never know: the rooms of the gateway. It speaks to any server of ksqlDB's delimited dialect
and imports `protocol` only (checked by import-linter).

Laws:

1. Acks are handed out in order and densely; an answer that is not in order is an error.
2. Whatever arrived before a failure is handed out before the failure is raised.
3. Memory is bounded: per stream by its receive window and by `connection.OUTBOX_LIMIT_BYTES`.
   Credit goes back to the server when its bytes are taken, so a slow caller slows the server.
4. Only the exceptions of `errors` leave this package, and those of the caller's own iterables.

Read in this order: `errors`, `wire` (pure), `stream`, `connection`,
`exchanges`, `client`.
"""

from gateway.client.client import Client
from gateway.client.errors import (
    AnswerBroken,
    ClientError,
    ConnectionLost,
    GoneAway,
    KsqlResponseError,
    QueryFailed,
    RequestCancelled,
    RowRefused,
    StreamReset,
)
from gateway.client.exchanges import Insert, Query
from gateway.client.wire import AckBatch

__all__ = [
    "AckBatch",
    "AnswerBroken",
    "Client",
    "ClientError",
    "ConnectionLost",
    "GoneAway",
    "Insert",
    "KsqlResponseError",
    "Query",
    "QueryFailed",
    "RequestCancelled",
    "RowRefused",
    "StreamReset",
]
