"""The Java client's two streams as its user holds them: a query that runs, an insert publisher.

Owns when bytes reach the readers of `java_records`, and when credit is given for them. Like the
real client it stops to read, and so to give credit, while 200 rows wait for its user, and never
sends more than 200 rows on one insert stream.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.clients.java_entities import failure
from tests.clients.java_records import (
    AckRecords,
    ClientFailure,
    Column,
    QueryRecords,
)
from tests.frames import Credit
from tests.peers import Peer
from tests.streams import DEADLINE_S, Stream

ROWS_WAITING_MAX = 200


def compact(value: Mapping[str, Any]) -> bytes:
    """JSON as the client writes it: no blanks, text as it is."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class StreamedQuery:
    """A query that runs, or ran; its header has come when it is there.

    ``stream`` must have been opened without credit: what it gets is given here.
    """

    def __init__(self, stream: Stream, records: QueryRecords) -> None:
        assert isinstance(stream.peer, Peer)
        self._peer = stream.peer
        self._stream = stream
        self._records = records
        self._fed = 0
        self._taken = 0
        self._paused_at = ROWS_WAITING_MAX
        self._over = False
        stream.read_headers()
        if stream.status != 200:
            stream.credit = Credit.GIVEN
            stream.read_to_end()
            raise failure(stream.status, stream.body)
        self._until(lambda: records.columns is not None, "the header")

    @property
    def query_id(self) -> str | None:
        """As the header has it."""
        return self._records.query_id

    @property
    def columns(self) -> list[Column]:
        """As the header has them."""
        assert self._records.columns is not None
        return self._records.columns

    @property
    def rows(self) -> list[list[Any]]:
        """All rows that came."""
        return self._records.rows

    @property
    def finals(self) -> list[str]:
        """The final messages, which the real client drops."""
        return self._records.finals

    @property
    def continuation(self) -> str | None:
        """The last continuation token."""
        return self._records.continuation

    @property
    def complete(self) -> bool:
        """Whether it ended well."""
        return self._records.complete

    def poll(self) -> list[Any] | None:
        """The next row; None at the end.

        Raises `ClientFailure` with the message of an error row even while rows wait: a user of the
        real client loses those too.
        """
        records = self._records
        self._until(
            lambda: self._taken < len(self.rows) or records.error is not None or self._over, "a row"
        )
        self._fail()
        if self._taken == len(self.rows):
            return None
        self._taken += 1
        return self.rows[self._taken - 1]

    def read_to_end(self) -> list[list[Any]]:
        """Take every row; all of them. Raises `ClientFailure`."""
        self._paused_at = 1 << 60
        self._until(lambda: self._over, "the end of the query")
        self._fail()
        return self.rows

    def bytes_while_paused(self, duration_s: float) -> int:
        """How much the server has sent in all while the user takes nothing more."""
        self._peer.read_for(duration_s)
        return len(self._stream.body)

    def _fail(self) -> None:
        if self._records.error is not None:
            raise ClientFailure(self._records.error)

    def _until(self, holds: Any, what: str) -> None:
        def fed_and_holds() -> bool:
            self._feed()
            return bool(holds())

        self._peer.read_until(fed_and_holds, DEADLINE_S, what)

    def _feed(self) -> None:
        """Give what has come to the reader, frame by frame, unless its user is behind."""
        stream = self._stream
        while self._fed < len(stream.frames):
            if len(self.rows) - self._taken >= self._paused_at:
                return
            payload = stream.frames[self._fed]
            self._fed += 1
            self._records.feed(payload)
            if payload:
                self._peer.open_window(len(payload))
                if not stream.over:
                    stream.open_window(len(payload))
        if self._over or not stream.over:
            return
        self._over = True
        if stream.ended:
            self._records.end()
        elif self._records.error is None:
            # A reset fails what no error row has failed before.
            self._records.error = f"Stream was reset with code {stream.reset_code}"


class InsertsPublisher:
    """`streamInserts` from its arguments line on."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._acks = AckRecords()
        self._fed = 0
        self._sent = 0
        # No row leaves the real client before it has seen the response's headers.
        stream.read_headers()
        if stream.status != 200:
            stream.read_to_end()
            raise failure(stream.status, stream.body)

    def accept(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send rows: a frame each, whatever the windows and the frame limit say."""
        frames = [compact(row) + b"\n" for row in rows]
        self._sent += len(frames)
        assert self._sent <= ROWS_WAITING_MAX, "the real client never sends more than 200"
        self._stream.send_frames(frames)

    def complete(self) -> None:
        """End the request."""
        self._stream.end()

    def acks(self, count: int) -> list[int]:
        """So many acks in all. Raises `ClientFailure` with the text of an error ack."""
        self._until(lambda: len(self._acks.acked) >= count, f"{count} acks")
        assert len(self._acks.acked) >= count, f"over after {self._acks.acked}"
        return self._acks.acked

    def wait(self) -> list[int]:
        """Wait for the end; all acks. Raises `ClientFailure`."""
        self._until(lambda: False, "the end")
        return self._acks.acked

    @property
    def acked(self) -> list[int]:
        """The acks so far."""
        return self._acks.acked

    def _until(self, holds: Any, what: str) -> None:
        acks = self._acks

        def fed_and_holds() -> bool:
            self._feed()
            return acks.complete or acks.error is not None or bool(holds())

        self._stream.peer.read_until(fed_and_holds, DEADLINE_S, what)
        if acks.error is not None:
            raise ClientFailure(acks.error)

    def _feed(self) -> None:
        stream, acks = self._stream, self._acks
        while self._fed < len(stream.frames):
            acks.feed(stream.frames[self._fed])
            self._fed += 1
        if stream.reset_code is not None and acks.error is None and not acks.complete:
            acks.error = f"Stream was reset with code {stream.reset_code}"
        elif stream.ended and acks.error is None and not acks.complete:
            acks.end()
