"""Dead letters on disk: rows that cannot be stored, with the reason, until somebody decides.

Laws:
1. A row that is cut out of a sealed batch stays known by its line as long as the batch is: the
   bytes of later attempts depend on it. What becomes of the letter changes nothing there.
2. A letter is decided on once: only an open one can be edited, retried or dropped.
"""

import sqlite3

from gateway.ingest.entries import DeadLetter, LetterState

COLUMNS = (
    "d.id, d.queue, d.batch, d.line, c.name, d.row_offset, d.code, d.message, d.at_ms, d.tasks,"
    " d.state, d.sealed_bytes, d.spooled, d.raw"
)
FROM = "dead_letter d LEFT JOIN channel c ON c.id = d.channel"


def letter(row: tuple[object, ...]) -> DeadLetter:
    """A row of `COLUMNS`."""
    return DeadLetter(
        id=row[0],  # type: ignore[arg-type]
        queue=row[1],  # type: ignore[arg-type]
        batch=row[2],  # type: ignore[arg-type]
        line=row[3],  # type: ignore[arg-type]
        channel=row[4],  # type: ignore[arg-type]
        offset=row[5],  # type: ignore[arg-type]
        code=str(row[6]),
        message=str(row[7]),
        at_ms=row[8],  # type: ignore[arg-type]
        tasks=row[9],  # type: ignore[arg-type]
        state=LetterState(str(row[10])),
        sealed_bytes=row[11],  # type: ignore[arg-type]
        spooled=bool(row[12]),
        raw=row[13],  # type: ignore[arg-type]
    )


class LetterTable:
    """Part of the spool's file; every call happens inside a transaction of the writer's."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        found = db.execute("SELECT sum(length(raw)) FROM dead_letter WHERE state = 'open'")
        self.open_bytes = int(found.fetchone()[0] or 0)
        """rows of letters that wait for somebody"""

    def bury(self, dead: DeadLetter, channel: tuple[int, int] | None) -> int:
        """Keep a letter; ``channel`` is the id and offset where its row came on one."""
        channel_id, offset = channel or (None, None)
        cursor = self._db.execute(
            "INSERT INTO dead_letter (queue, batch, line, channel, row_offset, code,"
            " message, at_ms, tasks, state, sealed_bytes, spooled, raw)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (batch, line) DO NOTHING",
            (
                dead.queue,
                dead.batch,
                dead.line,
                channel_id,
                offset,
                dead.code,
                dead.message,
                dead.at_ms,
                dead.tasks,
                LetterState.OPEN,
                len(dead.raw),
                dead.spooled,
                dead.raw,
            ),
        )
        self.open_bytes += len(dead.raw) if cursor.rowcount == 1 else 0
        return cursor.lastrowid or 0

    def refusals(
        self, channel: int, first_offset: int, end_offset: int, limit: int
    ) -> list[DeadLetter]:
        """What was refused of a channel's rows in ``[first_offset, end_offset)``, by offset."""
        found = self._db.execute(
            f"SELECT {COLUMNS} FROM {FROM} WHERE d.channel = ? AND d.row_offset >= ?"
            " AND d.row_offset < ? AND d.state <> 'retried' ORDER BY d.row_offset LIMIT ?",
            (channel, first_offset, end_offset, limit),
        )
        return [letter(row) for row in found]

    def get(self, letter_id: int) -> DeadLetter | None:
        """A letter by its id."""
        found = self._db.execute(
            f"SELECT {COLUMNS} FROM {FROM} WHERE d.id = ?", (letter_id,)
        ).fetchone()
        return None if found is None else letter(found)

    def channel_of(self, letter_id: int) -> tuple[int, int] | None:
        """Channel id and offset of a letter's row; None if it came on no channel."""
        found = self._db.execute(
            "SELECT channel, row_offset FROM dead_letter WHERE id = ?", (letter_id,)
        ).fetchone()
        return None if found is None or found[0] is None else (found[0], found[1])

    def edit(self, letter_id: int, raw: bytes) -> bool:
        """Put another row in its place; False if it is not open."""
        old = self._open_row(letter_id)
        if old is None:
            return False
        self._db.execute(
            "UPDATE dead_letter SET raw = ?, spooled = 0 WHERE id = ?", (raw, letter_id)
        )
        self.open_bytes += len(raw) - len(old)
        return True

    def decide(self, letter_id: int, state: LetterState) -> bool:
        """End an open letter; False if it is not open. Its row is not kept."""
        old = self._open_row(letter_id)
        if old is None:
            return False
        self._db.execute(
            "UPDATE dead_letter SET state = ?, raw = x'' WHERE id = ?", (state, letter_id)
        )
        self.open_bytes -= len(old)
        return True

    def _open_row(self, letter_id: int) -> bytes | None:
        found = self._db.execute(
            "SELECT raw FROM dead_letter WHERE id = ? AND state = 'open'", (letter_id,)
        ).fetchone()
        return None if found is None else bytes(found[0])

    def hand_down(self, batch: int, left: int, right: int, lines_left: int) -> None:
        """The batch was cut in two after ``lines_left`` lines: so are its letters."""
        self._db.execute(
            "UPDATE dead_letter SET batch = ?, line = line - ? WHERE batch = ? AND line > ?",
            (right, lines_left, batch, lines_left),
        )
        self._db.execute("UPDATE dead_letter SET batch = ? WHERE batch = ?", (left, batch))

    def forget(self, batch: int) -> None:
        """The batch is gone: its letters are known by their ids alone."""
        self._db.execute(
            "UPDATE dead_letter SET batch = NULL, line = NULL WHERE batch = ?", (batch,)
        )

    def purge(self, at_before_ms: int) -> None:
        """Forget letters that were decided on and are this old, and in no batch any more."""
        self._db.execute(
            "DELETE FROM dead_letter WHERE state IN ('retried', 'dropped') AND at_ms < ?"
            " AND batch IS NULL",
            (at_before_ms,),
        )
