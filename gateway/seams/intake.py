"""Rows going down: the door of the ingest room, and who hears what becomes of rows."""

from dataclasses import dataclass
from typing import Protocol

from gateway.seams.sources import AckLevel, Source
from protocol.errors import RowRejected


class ReceiptSink(Protocol):
    """An insert stream as the intake sees it: who hears what becomes of its rows.

    Called on the event loop. Sequence numbers are the stream's own.
    """

    def spooled(self, credit_bytes: int) -> None:
        """Rows that took so many bytes on the wire are on disk: the client may send as many."""

    def settled(self, first_seq: int, end_seq: int) -> None:
        """Rows ``[first_seq, end_seq)`` hold the level that the stream asked for."""

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """Row ``seq`` alone is at fault and will never be stored; what follows it may be."""

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """From row ``seq`` on nothing is promised: the stream ends there."""

    def stopped(self, rejected: RowRejected) -> None:
        """No more rows are taken; those that were taken still get their verdicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClaim:
    """A stream's place on a channel: ``offset`` of its row 0; None: where the channel stands."""

    name: str
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOffsets:
    """The next offset of a channel at each level: rows below it hold what the level promises."""

    spooled: int
    committed: int
    queryable: int


class IntakeStream(Protocol):
    """One insert stream's way into the spool.

    On a channel, ``next_offset`` is where the channel stood when the stream was opened, and the
    first ``duplicates`` rows of the stream lie below it: they are not appended, and what became of
    them when they came first is told to the sink like that of any other row.
    """

    waiting_bytes: int
    """handed over and not on disk yet"""
    next_offset: int | None
    duplicates: int

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """Take ``count`` checked rows, lines in ``raw``. Returns at once; the sink hears more.

        ``credit_bytes`` is what they took on the wire: `ReceiptSink.spooled` gives it back.
        """

    def refuse(self, seq: int, raw: bytes, rejected: RowRejected, credit_bytes: int) -> None:
        """Row ``seq`` failed its check and the stream goes on: keep it among the dead letters.

        `ReceiptSink.failed` tells once that is on disk.
        """

    def close(self) -> None:
        """The stream is gone: its sink hears nothing more. Rows that were taken stay taken."""


class Intake(Protocol):
    """The door of the ingest room."""

    async def open_stream(
        self,
        source: Source,
        level: AckLevel,
        sink: ReceiptSink,
        channel: ChannelClaim | None = None,
    ) -> IntakeStream:
        """A way into the spool for rows of ``source`` that are acked at ``level``.

        A stream that holds the channel already is stopped: it is fenced. Raises `SpoolFull` if
        there is no room now, `protocol.errors.BadRequest` for a start above the channel's next
        offset, `protocol.errors.InternalError` if the spool cannot be written.
        """

    async def channel(self, source: Source, name: str) -> ChannelOffsets | None:
        """Where a channel stands; None if it never held a row."""
