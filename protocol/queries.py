"""The ``/query-stream`` response: a header, rows, perhaps an error, an end.

It turns intents into frames and knows neither where rows come from nor where frames go. The
header leaves at once, before any row exists: clients wait for it to say that the query runs.

Laws:
1. One header first; after an error or an end nothing leaves; JSON framing is a valid array.
2. A row leaves as the bytes it came in: a line holding one JSON array.

Protocol: ksqlDB API, "Streaming queries"; facts in the protocol notes §1.5.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto

import orjson

from protocol.errors import KsqlError
from protocol.framing import Framing, LineWriter
from protocol.types import SqlType


class State(StrEnum):
    """Where a query response stands."""

    STARTING = auto()
    STREAMING = auto()
    ENDED = auto()


class Intent(StrEnum):
    """What the shell wants to say."""

    HEADER = auto()
    ROWS = auto()
    ERROR = auto()
    END = auto()


TRANSITIONS: Mapping[tuple[State, Intent], State] = {
    (State.STARTING, Intent.HEADER): State.STREAMING,
    (State.STREAMING, Intent.ROWS): State.STREAMING,
    (State.STREAMING, Intent.ERROR): State.ENDED,
    (State.STREAMING, Intent.END): State.ENDED,
}


class IllegalIntent(Exception):
    """The shell wanted to say something that cannot be said in this state."""


class QueryStream:
    """Writes one query's response."""

    def __init__(self, framing: Framing, *, coalesced: bool) -> None:
        self.state = State.STARTING
        self._writer = LineWriter(framing, coalesced=coalesced)

    def header(self, query_id: str, columns: Sequence[tuple[str, SqlType]]) -> list[bytes]:
        """The first line: the query's id, its column names and their ksqlDB types."""
        self._move(Intent.HEADER)
        document = orjson.dumps(
            {
                "queryId": query_id,
                "columnNames": [name for name, _ in columns],
                "columnTypes": [str(kind) for _, kind in columns],
            }
        )
        return self._writer.write([document])

    def rows(self, raw: bytes) -> list[bytes]:
        """Rows: JSON arrays, each on a line that ends in a newline."""
        self._move(Intent.ROWS)
        return self._writer.write_lines(raw)

    def error(self, error: KsqlError) -> list[bytes]:
        """The query broke after its header: an error line, then the end."""
        self._move(Intent.ERROR)
        return self._writer.write([error.body()]) + self._writer.end()

    def end(self) -> list[bytes]:
        """The result is complete, its LIMIT is reached, or it was closed."""
        self._move(Intent.END)
        return self._writer.end()

    def _move(self, intent: Intent) -> None:
        try:
            self.state = TRANSITIONS[self.state, intent]
        except KeyError:
            raise IllegalIntent(f"{intent} in {self.state}") from None
