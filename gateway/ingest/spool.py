"""The spool: rows on disk between the client and the warehouse, and the log push queries read.

`layout` has its tables, `entries` the values in them. This is the writing side: one thread owns
it, and each change happens between `begin` and `commit`. `reader` is the other side.

Laws:
1. A row is in exactly one batch: batches of a queue cover its rows in order, without a gap. A
   batch that is bisected is replaced by its two halves in one transaction.
2. A sealed batch never changes, but for rows that went to the dead letters one by one.
3. Chunks go only after every batch that lies in them is final and its retention is over.
4. ``commit_seq`` is dense and grows in the order of commits: a position in it is a position in the
   log of this gateway.
"""

import hashlib
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.ingest import layout
from gateway.ingest.batches import BatchState
from gateway.ingest.channel_table import ChannelTable
from gateway.ingest.entries import (
    BatchRecord,
    ChunkRecord,
    DeadLetter,
    LetterState,
    Place,
    QueueRecord,
    Stretch,
)
from gateway.ingest.letter_table import LetterTable
from gateway.seams import InsertSpec

FORGET_BATCHES_MAX = 512
"""Batches that one sweep drops at the most: rows do not wait long for it."""
GIVE_BACK_PAGES = 1024
"""Free pages that one sweep gives back to the file system: the writer is busy for as long."""
CARRIED_KEPT_MS = 3600 * 1000
"""How long past the retention a committed batch is asked for that nobody has seen queryable."""
LETTERS_KEPT_MS = 30 * 24 * 3600 * 1000
"""How long a decided dead letter is remembered for a client that sends its row again."""


@dataclass(frozen=True, slots=True)
class _Doomed:
    """A batch past its retention."""

    COLUMNS: ClassVar = "number, queue, first_chunk, last_chunk, root IS NOT NULL, state = 'SPLIT'"

    number: int
    queue: int
    first_chunk: int
    last_chunk: int
    is_half: int
    is_split: int
    retained_bytes: int


class SpoolFile:
    """The writing side of the file. Raises `gateway.ingest.layout.SpoolUnusable`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = layout.open_to_write(path)
        with layout.explained(self._db, path):
            self.spool_id = layout.meta(self._db, "spool_id")
            self.channels = ChannelTable(self._db)
            self.letters = LetterTable(self._db)
            found = self._db.execute("SELECT sum(bytes) FROM batch WHERE commit_seq IS NOT NULL")
            self._retained_bytes = int(found.fetchone()[0] or 0)
            self._undo = (self._retained_bytes, self.letters.open_bytes)

    def close(self) -> None:
        """Close the file. What was committed stays."""
        self._db.close()

    def begin(self) -> None:
        """Start a transaction."""
        self._undo = (self._retained_bytes, self.letters.open_bytes)
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable: it is on disk when this returns."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Give the transaction up, if one is open."""
        self._retained_bytes, self.letters.open_bytes = self._undo
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def touch(self) -> None:
        """Write something, to see whether the disk takes it."""
        self._db.execute("UPDATE meta SET value = value WHERE key = 'format'")

    # ── rows ──

    def queue(self, source: str, spec: InsertSpec) -> QueueRecord:
        """The queue of ``source`` under ``spec``, made if need be."""
        encoded = msgspec.json.encode(spec)
        digest = hashlib.sha256(encoded).hexdigest()
        self._db.execute(
            "INSERT OR IGNORE INTO queue (source, digest, spec) VALUES (?, ?, ?)",
            (source, digest, encoded),
        )
        found = self._db.execute(
            "SELECT id FROM queue WHERE source = ? AND digest = ?", (source, digest)
        ).fetchone()
        return QueueRecord(id=found[0], source=source, spec=spec)

    def append(self, queue: int, raw: bytes, rows: int, arrival_ms: int) -> ChunkRecord:
        """Add a chunk at the end of a queue."""
        cursor = self._db.execute(
            "INSERT INTO chunk (queue, rows, bytes, arrival_ms, raw, crc) VALUES (?,?,?,?,?,?)",
            (queue, rows, len(raw), arrival_ms, raw, zlib.crc32(raw)),
        )
        assert cursor.lastrowid is not None
        return ChunkRecord(
            id=cursor.lastrowid, queue=queue, rows=rows, size_bytes=len(raw), arrival_ms=arrival_ms
        )

    # ── batches ──

    def seal(self, chunks: tuple[int, int], queue: int, rows: int, size: int, now: int) -> str:
        """Make ``chunks`` (first, last) of ``queue`` a batch; returns its id."""
        sealed = self._db.execute(
            "SELECT max(last_chunk) FROM batch WHERE queue = ?", (queue,)
        ).fetchone()[0]
        assert chunks[0] > (sealed or 0), "a chunk would be in two batches"
        cursor = self._db.execute(
            "INSERT INTO batch (id, queue, first_chunk, last_chunk, rows, bytes, state, attempt,"
            " sealed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
            (secrets.token_hex(8), queue, *chunks, rows, size, BatchState.SEALED, now),
        )
        return self._name(cursor.lastrowid)

    def split(self, batch: BatchRecord, at: Place, left: tuple[int, int], now_ms: int) -> list[str]:
        """Replace a batch by its halves, cut before row ``at``; returns their ids.

        ``left`` is how many rows and bytes the first half has.
        """
        right = (batch.rows - left[0], batch.size_bytes - left[1])
        halves = (
            (batch.first_chunk, batch.first_row, *_end_before(at), *left),
            (at.chunk, at.row, batch.last_chunk, batch.end_row, *right),
        )
        ids = []
        for first, first_row, last, end_row, rows, size in halves:
            cursor = self._db.execute(
                "INSERT INTO batch (id, queue, first_chunk, first_row, last_chunk, end_row, rows,"
                " bytes, state, attempt, sealed_ms, root) VALUES (?,?,?,?,?,?,?,?,?,1,?,?)",
                (
                    secrets.token_hex(8), batch.queue, first, first_row, last, end_row, rows, size,
                    BatchState.SEALED, now_ms, batch.root or batch.number,
                ),
            )  # fmt: skip
            ids.append(self._name(cursor.lastrowid))
        numbers = [int(name.rpartition("-")[2]) for name in ids]
        self.channels.cut(batch.queue, at)
        self.letters.hand_down(batch.number, numbers[0], numbers[1], left[0])
        self._set(batch.number, BatchState.SPLIT, batch.attempt, batch.error, now_ms)
        return ids

    def move(self, number: int, state: BatchState, attempt: int, error: str | None) -> None:
        """Record where a batch stands that is not final."""
        self._set(number, state, attempt, error, None)

    def finish(
        self,
        batch: BatchRecord,
        state: BatchState,
        now_ms: int,
        error: str | None,
        *,
        queryable: bool = False,
    ) -> int | None:
        """Record a final state; a COMMITTED batch gets the next ``commit_seq``, returned.

        ``queryable``: in this warehouse committed rows are queryable at once.
        """
        self._set(batch.number, state, batch.attempt, error, now_ms)
        if state is not BatchState.COMMITTED:
            return None
        commit_seq = int(layout.meta(self._db, "commit_seq")) + 1
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'commit_seq'", (commit_seq,))
        self._db.execute(
            "UPDATE batch SET commit_seq = ? WHERE number = ?", (commit_seq, batch.number)
        )
        self.channels.settle(batch, now_ms, queryable=queryable)
        self._retained_bytes += batch.size_bytes
        return commit_seq

    def give_up(self, batch: BatchRecord, now_ms: int) -> None:
        """Record that the operator dropped a batch: its rows are dead letters by now."""
        self._set(batch.number, BatchState.DROPPED, batch.attempt, batch.error, now_ms)
        self.channels.settle(batch, now_ms, queryable=True)

    def tasks_of(self, root: int) -> int:
        """How many tasks were run for a batch and for all that it was cut into."""
        found = self._db.execute(
            "SELECT sum(attempt) FROM batch WHERE number = ? OR root = ?", (root, root)
        )
        return int(found.fetchone()[0] or 0)

    def _name(self, number: int | None) -> str:
        batch_id = f"hr-{self.spool_id}-{number:08d}"
        self._db.execute("UPDATE batch SET id = ? WHERE number = ?", (batch_id, number))
        return batch_id

    def _set(
        self, number: int, state: BatchState, attempt: int, error: str | None, final: int | None
    ) -> None:
        self._db.execute(
            "UPDATE batch SET state = ?, attempt = ?, error = ?, final_ms = ? WHERE number = ?",
            (state, attempt, error, final, number),
        )

    # ── dead letters ──

    def bury(self, letter: DeadLetter, place: Place) -> None:
        """Keep a row that was cut out of its batch; ``place`` is where it lies in the spool."""
        self.letters.bury(letter, self.channels.place_of(letter.queue, place))

    def retry(self, letter_id: int, queue: int, row: bytes, now_ms: int) -> ChunkRecord | None:
        """Spool a dead letter's row again in a queue, as ``row`` (a line); None if it is not open.

        None also while the batch that it was cut out of is on its way: till then its channel
        counts the row there.
        """
        letter = self.letters.get(letter_id)
        if letter is None or (letter.batch is not None and not self._is_over(letter.batch)):
            return None
        if not self.letters.decide(letter_id, LetterState.RETRIED):
            return None
        chunk = self.append(queue, row, 1, now_ms)
        on = self.letters.channel_of(letter_id)
        if on is not None:
            # Its channel stands beyond it, and is not committed to there before this is.
            place = Stretch(queue=chunk.queue, chunk=chunk.id, at_row=0, rows=1, first_offset=on[1])
            self.channels.lay(on[0], place)
        return chunk

    def _is_over(self, batch: int) -> bool:
        found = self._db.execute("SELECT state FROM batch WHERE number = ?", (batch,)).fetchone()
        return found is None or found[0] in (BatchState.COMMITTED, BatchState.DROPPED)

    # ── retention ──

    def forget(self, final_before_ms: int, keep_bytes: int) -> int:
        """Drop batches that are past both retentions, with their chunks; returns bytes freed.

        A committed batch goes when it is older than ``final_before_ms``, or when newer ones fill
        ``keep_bytes``; a batch that was cut in two or dropped goes when it is older.
        """
        freed = 0
        for batch in self._past_retention(final_before_ms, keep_bytes):
            freed += self._drop_chunks(batch)
            self._db.execute("DELETE FROM batch WHERE number = ?", (batch.number,))
            self.letters.forget(batch.number)
            self._retained_bytes -= batch.retained_bytes
        self.channels.take_for_queryable(final_before_ms - CARRIED_KEPT_MS)
        self.letters.purge(final_before_ms - LETTERS_KEPT_MS)
        self._give_back()
        return freed

    def _give_back(self) -> None:
        """Return free pages to the file system."""
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        for _ in range(min(free, GIVE_BACK_PAGES)):
            # A page a call: it is a statement of rows without columns, and the driver steps those
            # but once, whatever number of pages it is given.
            self._db.execute("PRAGMA incremental_vacuum(1)")

    def _past_retention(self, before_ms: int, keep_bytes: int) -> list[_Doomed]:
        oldest = self._db.execute(
            f"SELECT {_Doomed.COLUMNS}, bytes, final_ms FROM batch WHERE commit_seq IS NOT NULL"
            " ORDER BY commit_seq LIMIT ?",
            (FORGET_BATCHES_MAX,),
        )
        doomed = []
        retained = self._retained_bytes
        for *columns, final_ms in oldest.fetchall():
            if retained <= keep_bytes and final_ms >= before_ms:
                break
            doomed.append(_Doomed(*columns))
            retained -= doomed[-1].retained_bytes
        others = self._db.execute(
            f"SELECT {_Doomed.COLUMNS}, 0 FROM batch WHERE state IN ('SPLIT', 'DROPPED')"
            " AND final_ms < ? LIMIT ?",
            (before_ms, FORGET_BATCHES_MAX),
        )
        return doomed + [_Doomed(*columns) for columns in others.fetchall()]

    def _drop_chunks(self, batch: _Doomed) -> int:
        """Delete the chunks that no other batch lies in; returns their bytes."""
        if batch.is_split:
            return 0  # Its halves have them.
        where = "queue = ? AND id BETWEEN ? AND ?"
        values: tuple[int, ...] = (batch.queue, batch.first_chunk, batch.last_chunk)
        if batch.is_half:
            # Its neighbours may begin or end in the same chunk.
            where += (
                " AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.queue = chunk.queue"
                " AND b.root IS NOT NULL AND b.state <> 'SPLIT' AND b.number <> ?"
                " AND chunk.id BETWEEN b.first_chunk AND b.last_chunk)"
            )
            values += (batch.number,)
        gone = self._db.execute(f"DELETE FROM chunk WHERE {where} RETURNING bytes", values)
        return sum(size for (size,) in gone.fetchall())


def _end_before(at: Place) -> tuple[int, int | None]:
    """Last chunk and its end row of a range that ends before row ``at`` of a chunk."""
    assert at.row > 0, "a range that ends with a chunk is told by that chunk"
    return at.chunk, at.row
