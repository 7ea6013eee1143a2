"""Channels on disk: where each stands, and which of its rows are not committed yet.

Laws:
1. A channel's next offset and the rows below it enter the spool in one transaction.
2. Each row of a channel that is in the spool and not committed lies in exactly one stretch, and
   each stretch in one batch or in none: a batch that is bisected has its stretches cut in two.
3. So the committed frontier of a channel is the lowest offset of its stretches.
"""

import sqlite3

from gateway.ingest.entries import BatchRecord, Place, Stretch

_OF_BATCH = (
    "queue = :queue AND chunk BETWEEN :first_chunk AND :last_chunk"
    " AND (chunk > :first_chunk OR at_row >= :first_row)"
    " AND (chunk < :last_chunk OR :end_row IS NULL OR at_row < :end_row)"
)


class ChannelTable:
    """Part of the spool's file; every call happens inside a transaction of the writer's."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def find(self, source: str, name: str) -> tuple[int, int] | None:
        """The channel's id and next offset; None if there is no such channel."""
        found: tuple[int, int] | None = self._db.execute(
            "SELECT id, next_offset FROM channel WHERE source = ? AND name = ?", (source, name)
        ).fetchone()
        return found

    def make(self, source: str, name: str, channels_max: int) -> int | None:
        """Make a channel that stands at 0; its id, or None where there are enough of them."""
        count = self._db.execute("SELECT count(*) FROM channel").fetchone()[0]
        if count >= channels_max:
            return None
        return self._db.execute(
            "INSERT INTO channel (source, name, next_offset) VALUES (?, ?, 0)", (source, name)
        ).lastrowid

    def advance(self, channel: int, first_offset: int, rows: int) -> bool:
        """Move a channel on by ``rows`` that begin at ``first_offset``; False if it is not there.

        Rows that a failed write left out must not be jumped over by those behind them.
        """
        moved = self._db.execute(
            "UPDATE channel SET next_offset = next_offset + ? WHERE id = ? AND next_offset = ?",
            (rows, channel, first_offset),
        )
        return moved.rowcount == 1

    def lay(self, channel: int, stretch: Stretch) -> None:
        """Remember where rows of a channel lie."""
        self._db.execute(
            "INSERT INTO stretch VALUES (?, ?, ?, ?, ?, ?)",
            (
                stretch.queue,
                stretch.chunk,
                stretch.at_row,
                stretch.rows,
                channel,
                stretch.first_offset,
            ),
        )

    def unsettled(self, channel: int, first_offset: int, end_offset: int) -> list[Stretch]:
        """Stretches of rows in ``[first_offset, end_offset)`` that are not committed."""
        found = self._db.execute(
            "SELECT queue, chunk, at_row, rows, first_offset FROM stretch WHERE channel = ?"
            " AND first_offset < ? AND first_offset + rows > ? ORDER BY first_offset",
            (channel, end_offset, first_offset),
        )
        return [
            Stretch(queue=row[0], chunk=row[1], at_row=row[2], rows=row[3], first_offset=row[4])
            for row in found
        ]

    def stuck(
        self, channel: int, first_offset: int, end_offset: int
    ) -> tuple[int, str, str] | None:
        """The first row in the range whose batch waits for the operator: its offset, the batch's
        id, and why; None if there is none."""
        found: tuple[int, str, str] | None = self._db.execute(
            "SELECT max(s.first_offset, ?), b.id, coalesce(b.error, '') FROM batch b"
            " JOIN stretch s ON s.queue = b.queue"
            " AND s.chunk BETWEEN b.first_chunk AND b.last_chunk"
            " AND (s.chunk > b.first_chunk OR s.at_row >= b.first_row)"
            " AND (s.chunk < b.last_chunk OR b.end_row IS NULL OR s.at_row < b.end_row)"
            " WHERE b.state IN ('HELD', 'FAILED') AND s.channel = ?"
            " AND s.first_offset < ? AND s.first_offset + s.rows > ?"
            " ORDER BY s.first_offset LIMIT 1",
            (first_offset, channel, end_offset, first_offset),
        ).fetchone()
        return found

    def unseen_from(self, channel: int) -> int | None:
        """The lowest offset that is committed and nobody saw queryable; None: there is none."""
        found = self._db.execute(
            "SELECT min(first_offset) FROM carried WHERE channel = ?", (channel,)
        )
        lowest: int | None = found.fetchone()[0]
        return lowest

    def place_of(self, queue: int, place: Place) -> tuple[int, int] | None:
        """Channel id and offset of a row; None if it came on no channel."""
        found = self._db.execute(
            "SELECT channel, first_offset, at_row, rows FROM stretch"
            " WHERE queue = ? AND chunk = ? AND at_row <= ? ORDER BY at_row DESC LIMIT 1",
            (queue, place.chunk, place.row),
        ).fetchone()
        if found is None or place.row >= found[2] + found[3]:
            return None
        return found[0], found[1] + place.row - found[2]

    def cut(self, queue: int, place: Place) -> None:
        """A batch was cut in two before ``place``: no stretch lies in both halves."""
        found = self._db.execute(
            "SELECT at_row, rows, channel, first_offset FROM stretch"
            " WHERE queue = ? AND chunk = ? AND at_row < ? AND at_row + rows > ?",
            (queue, place.chunk, place.row, place.row),
        ).fetchone()
        if found is None:
            return
        at_row, rows, channel, first_offset = found
        left = place.row - at_row
        self._db.execute(
            "UPDATE stretch SET rows = ? WHERE queue = ? AND chunk = ? AND at_row = ?",
            (left, queue, place.chunk, at_row),
        )
        rest = Stretch(
            queue=queue,
            chunk=place.chunk,
            at_row=place.row,
            rows=rows - left,
            first_offset=first_offset + left,
        )
        self.lay(channel, rest)

    def settle(self, batch: BatchRecord, now_ms: int, *, queryable: bool) -> None:
        """The batch is final: its rows hold nobody back, but from being queryable."""
        where = {
            "number": batch.number,
            "queue": batch.queue,
            "first_chunk": batch.first_chunk,
            "last_chunk": batch.last_chunk,
            "first_row": batch.first_row,
            "end_row": batch.end_row,
            "id": batch.id,
            "rows": batch.rows,
            "now_ms": now_ms,
        }
        if not queryable:
            self._db.execute(
                "INSERT INTO carried SELECT :number, :id, :queue, :rows - (SELECT count(*) FROM"
                " dead_letter WHERE batch = :number), :now_ms, channel, min(first_offset)"
                f" FROM stretch WHERE {_OF_BATCH} AND :rows >"
                " (SELECT count(*) FROM dead_letter WHERE batch = :number) GROUP BY channel",
                where,
            )
        self._db.execute(f"DELETE FROM stretch WHERE {_OF_BATCH}", where)

    def seen_queryable(self, batch: int) -> None:
        """A SELECT sees the batch's rows."""
        self._db.execute("DELETE FROM carried WHERE batch = ?", (batch,))

    def take_for_queryable(self, before_ms: int) -> None:
        """Batches that were committed so long ago are loaded, or never will be."""
        self._db.execute("DELETE FROM carried WHERE at_ms < ?", (before_ms,))
