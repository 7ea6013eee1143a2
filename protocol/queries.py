"""The ``/query-stream`` response: a header, rows, perhaps an error, an end.

It turns intents into frames and knows neither where rows come from nor where frames go. The
header leaves at once, before any row exists: clients wait for it to say that the query runs.

Laws:
1. One header first; after an error or an end nothing leaves; in both JSON framings the body is one
   valid array, and in the others whole lines.
2. A row leaves as the bytes it came in: a line holding one JSON array.
3. A continuation token stands behind the rows that it covers, as an element of its own.

Protocol: ksqlDB API, "Streaming queries"; facts in the protocol notes §1.5.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto

import orjson

from protocol.errors import KsqlError
from protocol.framing import Framing, LineWriter
from protocol.streamed_rows import StreamedRows
from protocol.types import Column

LIMIT_REACHED = "Limit Reached"
QUERY_COMPLETED = "Query Completed"


class State(StrEnum):
    """Where a query response stands."""

    STARTING = auto()
    STREAMING = auto()
    ENDED = auto()


class Intent(StrEnum):
    """What the shell wants to say."""

    HEADER = auto()
    ROWS = auto()
    TOKEN = auto()
    ERROR = auto()
    END = auto()


TRANSITIONS: Mapping[tuple[State, Intent], State] = {
    (State.STARTING, Intent.HEADER): State.STREAMING,
    (State.STREAMING, Intent.ROWS): State.STREAMING,
    (State.STREAMING, Intent.TOKEN): State.STREAMING,
    (State.STREAMING, Intent.ERROR): State.ENDED,
    (State.STREAMING, Intent.END): State.ENDED,
}


class IllegalIntent(Exception):
    """The shell wanted to say something that cannot be said in this state."""


class _PlainRows:
    """The two framings whose elements stand for themselves: delimited and JSON."""

    def __init__(self, framing: Framing, *, coalesced: bool) -> None:
        self._writer = LineWriter(framing, coalesced=coalesced)

    def header(self, query_id: str, columns: Sequence[Column]) -> list[bytes]:
        document = orjson.dumps(
            {
                "queryId": query_id,
                "columnNames": [column.name for column in columns],
                "columnTypes": [str(column.type) for column in columns],
            }
        )
        return self._writer.write([document])

    def rows(self, raw: bytes) -> list[bytes]:
        return self._writer.write_lines(raw)

    def token(self, token: str) -> list[bytes]:
        return self._writer.write([orjson.dumps({"continuationToken": token})])

    def error(self, error: KsqlError) -> list[bytes]:
        return self._writer.write([error.body()]) + self._writer.end()

    def end(self, message: str) -> list[bytes]:
        """Says nothing: here a body just ends."""
        return self._writer.end()


class QueryStream:
    """Writes one query's response.

    ``coalesced`` packs the rows of one call into one frame; both JSON framings always do.
    ``final_message``: whether v1+json ends with one, as it does but for a pull query of a table.
    """

    def __init__(self, framing: Framing, *, coalesced: bool, final_message: bool = False) -> None:
        self.state = State.STARTING
        self._body: _PlainRows | StreamedRows
        if framing is Framing.V1_JSON:
            self._body = StreamedRows(final_message=final_message)
        else:
            self._body = _PlainRows(framing, coalesced=coalesced)

    def header(self, query_id: str, columns: Sequence[Column]) -> list[bytes]:
        """The first line: the query's id, its columns and their ksqlDB types."""
        self._move(Intent.HEADER)
        return self._body.header(query_id, columns)

    def rows(self, raw: bytes) -> list[bytes]:
        """Rows: JSON arrays, each on a line that ends in a newline."""
        self._move(Intent.ROWS)
        return self._body.rows(raw)

    def token(self, token: str) -> list[bytes]:
        """A continuation token: it names the place after all rows so far."""
        self._move(Intent.TOKEN)
        return self._body.token(token)

    def error(self, error: KsqlError) -> list[bytes]:
        """The query broke after its header: an error line, then the end of the body."""
        self._move(Intent.ERROR)
        return self._body.error(error)

    def end(self, message: str = QUERY_COMPLETED) -> list[bytes]:
        """The result is complete, its LIMIT is reached, or it was closed: ``message`` says so."""
        self._move(Intent.END)
        return self._body.end(message)

    def _move(self, intent: Intent) -> None:
        try:
            self.state = TRANSITIONS[self.state, intent]
        except KeyError:
            raise IllegalIntent(f"{intent} in {self.state}") from None
