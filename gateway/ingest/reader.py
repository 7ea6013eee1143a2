"""The spool's reading side: every call opens its own snapshot, so any thread may use it."""

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from gateway.ingest import layout
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import (
    BatchRecord,
    CarriedBatch,
    ChunkRecord,
    DeadLetter,
    LetterState,
    QueueRecord,
)
from gateway.ingest.letter_table import COLUMNS as LETTER_COLUMNS
from gateway.ingest.letter_table import FROM as LETTERS
from gateway.ingest.letter_table import letter
from gateway.seams import InsertSpec

READ_STEP_CHUNKS = 16

_BATCH_COLUMNS = (
    "number, id, queue, first_chunk, last_chunk, rows, bytes, state, attempt, sealed_ms,"
    " commit_seq, error, first_row, end_row, root"
)
_CHUNK_COLUMNS = "id, queue, rows, bytes, arrival_ms"


class SpoolReader:
    """Reads a spool that a `gateway.ingest.spool.SpoolFile` may be writing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file that it reads."""
        return self._path

    def queues(self) -> list[QueueRecord]:
        """Every queue."""
        with _Reading(self._path) as db:
            rows = db.execute("SELECT id, source, spec FROM queue ORDER BY id").fetchall()
        decode = msgspec.json.Decoder(InsertSpec).decode
        return [QueueRecord(id=row[0], source=row[1], spec=decode(row[2])) for row in rows]

    # ── chunks ──

    def unsealed(self) -> list[ChunkRecord]:
        """Chunks in no batch yet, in order of arrival."""
        with _Reading(self._path) as db:
            # A queue without a batch, or all of whose batches are forgotten, has no sealed chunk
            # left: chunks go with their batches.
            rows = db.execute(
                f"SELECT {_CHUNK_COLUMNS} FROM chunk WHERE id >"
                " coalesce((SELECT max(last_chunk) FROM batch b WHERE b.queue = chunk.queue), 0)"
                " ORDER BY id"
            ).fetchall()
        return [_chunk(row) for row in rows]

    def chunks(self, batch: BatchRecord) -> list[ChunkRecord]:
        """The chunks that a batch lies in, in its order, whole."""
        with _Reading(self._path) as db:
            rows = db.execute(
                f"SELECT {_CHUNK_COLUMNS} FROM chunk WHERE queue = ? AND id BETWEEN ? AND ?"
                " ORDER BY id",
                (batch.queue, batch.first_chunk, batch.last_chunk),
            ).fetchall()
        return [_chunk(row) for row in rows]

    def chunks_after(self, chunk: int, limit: int) -> list[ChunkRecord]:
        """Some chunks that were spooled after one, in order of arrival, batched or not."""
        with _Reading(self._path) as db:
            rows = db.execute(
                f"SELECT {_CHUNK_COLUMNS} FROM chunk WHERE id > ? ORDER BY id LIMIT ?",
                (chunk, limit),
            ).fetchall()
        return [_chunk(row) for row in rows]

    def chunk_end(self) -> int:
        """The id of the newest chunk that ever was, dropped or not."""
        with _Reading(self._path) as db:
            found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunk'").fetchone()
        return int(found[0]) if found else 0

    def chunk_bytes(self, chunk: int) -> bytes:
        """The rows of a chunk; empty once its retention is over.

        Raises `gateway.ingest.layout.ChunkDamaged`.
        """
        with _Reading(self._path) as db:
            found = db.execute("SELECT raw, crc FROM chunk WHERE id = ?", (chunk,)).fetchone()
        return layout.proven(chunk, *found) if found else b""

    def content(self, batch: BatchRecord) -> Iterator[bytes]:
        """The rows of a batch as it was sealed, chunk by chunk; whole lines.

        Raises `gateway.ingest.layout.ChunkDamaged`.
        """
        with _Reading(self._path) as db:
            cursor = db.execute(
                "SELECT id, raw, crc FROM chunk WHERE queue = ? AND id BETWEEN ? AND ? ORDER BY id",
                (batch.queue, batch.first_chunk, batch.last_chunk),
            )
            while rows := cursor.fetchmany(READ_STEP_CHUNKS):
                for chunk, raw, crc in rows:
                    start = batch.first_row if chunk == batch.first_chunk else 0
                    end = batch.end_row if chunk == batch.last_chunk else None
                    yield lines_between(layout.proven(chunk, raw, crc), start, end)

    def stored_bytes(self) -> int:
        """Bytes of all rows that the spool holds."""
        with _Reading(self._path) as db:
            return int(db.execute("SELECT sum(bytes) FROM chunk").fetchone()[0] or 0)

    # ── batches ──

    def unfinished(self) -> list[BatchRecord]:
        """Batches that are not final, in the order of their sealing."""
        return self._batches("final_ms IS NULL ORDER BY number", ())

    def refused(self) -> list[BatchRecord]:
        """FAILED batches: final, and still in need of the operator."""
        return self._batches("state = 'FAILED' ORDER BY number", ())

    def batch(self, batch_id: str) -> BatchRecord | None:
        """A batch by its id."""
        found = self._batches("id = ?", (batch_id,))
        return found[0] if found else None

    def batch_ids(self, numbers: Collection[int]) -> dict[int, str]:
        """The ids of batches by their numbers, those that are there."""
        places = ", ".join("?" * len(numbers))
        with _Reading(self._path) as db:
            found = db.execute(
                f"SELECT number, id FROM batch WHERE number IN ({places})", tuple(numbers)
            )
            return dict(found.fetchall())

    def committed_after(self, commit_seq: int, limit: int) -> list[BatchRecord]:
        """Retained committed batches after a position of the log, in its order."""
        return self._batches("commit_seq > ? ORDER BY commit_seq LIMIT ?", (commit_seq, limit))

    def log_end(self) -> int:
        """The position of the newest commit."""
        with _Reading(self._path) as db:
            return int(layout.meta(db, "commit_seq"))

    def log_start(self) -> int:
        """The position before the oldest commit that is retained: all after it are there."""
        with _Reading(self._path) as db:
            oldest = db.execute("SELECT min(commit_seq) FROM batch").fetchone()[0]
            return int(layout.meta(db, "commit_seq")) if oldest is None else int(oldest) - 1

    def _batches(self, where: str, values: tuple[int | str, ...]) -> list[BatchRecord]:
        with _Reading(self._path) as db:
            found = db.execute(f"SELECT {_BATCH_COLUMNS} FROM batch WHERE {where}", values)
            return [_batch(row) for row in found.fetchall()]

    # ── dead letters and channels ──

    def dead_letters(self, batch: int) -> list[DeadLetter]:
        """Rows that were cut out of a batch, in its order."""
        with _Reading(self._path) as db:
            rows = db.execute(
                f"SELECT {LETTER_COLUMNS} FROM {LETTERS} WHERE d.batch = ? ORDER BY d.line",
                (batch,),
            ).fetchall()
        return [letter(row) for row in rows]

    def letters(
        self,
        *,
        source: str | None = None,
        channel: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Dead letters that match, by id; None: any."""
        conditions = ["d.id > ?"]
        values: list[int | str] = [after_id]
        wanted = (("q.source", source), ("c.name", channel), ("d.state", state))
        for column, value in wanted:
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        with _Reading(self._path) as db:
            rows = db.execute(
                f"SELECT {LETTER_COLUMNS} FROM {LETTERS} JOIN queue q ON q.id = d.queue"
                f" WHERE {' AND '.join(conditions)} ORDER BY d.id LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [letter(row) for row in rows]

    def newest_letters(self, limit: int, row_bytes: int) -> tuple[int, list[DeadLetter]]:
        """How many are open, and the newest of them, newest first, each row cut to so many."""
        cut = LETTER_COLUMNS.replace("d.raw", "substr(d.raw, 1, ?)")
        with _Reading(self._path) as db:
            total = db.execute("SELECT count(*) FROM dead_letter WHERE state = 'open'").fetchone()
            rows = db.execute(
                f"SELECT {cut} FROM {LETTERS} WHERE d.state = 'open' ORDER BY d.id DESC LIMIT ?",
                (row_bytes, limit),
            ).fetchall()
        return total[0], [letter(row) for row in rows]

    def letter(self, letter_id: int) -> DeadLetter | None:
        """A dead letter by its id."""
        found = self.letters(state=None, after_id=letter_id - 1, limit=1)
        return found[0] if found and found[0].id == letter_id else None

    def channel(self, source: str, name: str) -> tuple[int, int, int] | None:
        """A channel's next offset as it is spooled, committed, and known to be queryable.

        A batch that is committed may be queryable without anybody having looked: `carrying`.
        """
        with _Reading(self._path) as db:
            found = db.execute(
                "SELECT next_offset, (SELECT min(first_offset) FROM stretch WHERE channel = n.id),"
                " (SELECT min(first_offset) FROM carried WHERE channel = n.id)"
                " FROM channel n WHERE source = ? AND name = ?",
                (source, name),
            ).fetchone()
        if found is None:
            return None
        spooled, unsettled, unseen = found
        committed = spooled if unsettled is None else min(spooled, unsettled)
        return spooled, committed, committed if unseen is None else min(committed, unseen)

    def carrying(self, source: str, name: str, limit: int) -> list[CarriedBatch]:
        """Committed batches with rows of a channel that nobody saw queryable, by offset."""
        with _Reading(self._path) as db:
            found = db.execute(
                "SELECT batch, id, queue, rows FROM carried WHERE channel ="
                " (SELECT id FROM channel WHERE source = ? AND name = ?)"
                " ORDER BY first_offset LIMIT ?",
                (source, name, limit),
            ).fetchall()
        return [CarriedBatch(number=r[0], id=r[1], queue=r[2], rows=r[3]) for r in found]


def lines_between(raw: bytes, start: int, end: int | None) -> bytes:
    """Lines ``[start, end)`` of a chunk; None: to its end."""
    if start == 0 and end is None:
        return raw
    # Not splitlines: a carriage return ends no line here.
    lines = raw.split(b"\n")[:-1]
    return b"".join(line + b"\n" for line in lines[start:end])


def _chunk(row: tuple[int, int, int, int, int]) -> ChunkRecord:
    return ChunkRecord(id=row[0], queue=row[1], rows=row[2], size_bytes=row[3], arrival_ms=row[4])


def _batch(row: tuple[object, ...]) -> BatchRecord:
    return BatchRecord(
        number=row[0],  # type: ignore[arg-type]
        id=str(row[1]),
        queue=row[2],  # type: ignore[arg-type]
        first_chunk=row[3],  # type: ignore[arg-type]
        last_chunk=row[4],  # type: ignore[arg-type]
        rows=row[5],  # type: ignore[arg-type]
        size_bytes=row[6],  # type: ignore[arg-type]
        state=BatchState(str(row[7])),
        attempt=row[8],  # type: ignore[arg-type]
        sealed_ms=row[9],  # type: ignore[arg-type]
        commit_seq=row[10],  # type: ignore[arg-type]
        error=row[11],  # type: ignore[arg-type]
        first_row=row[12],  # type: ignore[arg-type]
        end_row=row[13],  # type: ignore[arg-type]
        root=row[14],  # type: ignore[arg-type]
    )


class _Reading:
    """A read-only connection for the length of a ``with``."""

    def __init__(self, path: Path) -> None:
        self._db = layout.open_to_read(path)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()
