"""The spool: rows on disk between the client and the warehouse, and the log push queries read.

Format 1, one SQLite file (WAL, synchronous FULL: a commit is on disk when it returns)::

    meta   (key, value)            format, spool_id (random, names the batches of this spool)
    queue  (id, source, digest, spec)          rows that are inserted alike: source + InsertSpec
    chunk  (id, queue, rows, bytes, arrival_ms, raw)   what one group commit took for one queue
    batch  (number, id, queue, first_chunk, last_chunk, rows, bytes,
            state, attempt, sealed_ms, final_ms, commit_seq, error)
    dead_letter (batch, line, code, message, at_ms, raw)   rows cut out of a batch, 1-based line

Laws:
1. A chunk is in exactly one batch: batches of a queue cover its chunks in order, without a gap.
2. A sealed batch never changes, but for rows that went to the dead letters one by one.
3. Chunks go only after their batch is final and its retention is over.
4. ``commit_seq`` is dense and grows in the order of commits: a position in it is a position in the
   log of this gateway.

`SpoolFile` writes and belongs to one thread; `SpoolReader` reads from any thread, on a snapshot.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.ingest.batches import BatchState
from gateway.seams import InsertSpec

FORMAT = 1
PAGE_BYTES = 16384
CHECKPOINT_PAGES = 8192
READ_STEP_CHUNKS = 16

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE queue (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, digest TEXT NOT NULL, spec BLOB NOT NULL,
    UNIQUE (source, digest));
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, arrival_ms INTEGER NOT NULL, raw BLOB NOT NULL);
CREATE INDEX chunk_of_queue ON chunk (queue, id, rows, bytes, arrival_ms);
CREATE TABLE batch (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue INTEGER NOT NULL,
    first_chunk INTEGER NOT NULL, last_chunk INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    sealed_ms INTEGER NOT NULL, final_ms INTEGER, commit_seq INTEGER UNIQUE, error TEXT);
CREATE INDEX batch_of_queue ON batch (queue, last_chunk);
CREATE TABLE dead_letter (
    batch INTEGER NOT NULL, line INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    at_ms INTEGER NOT NULL, raw BLOB NOT NULL, PRIMARY KEY (batch, line)) WITHOUT ROWID;
"""


class SpoolUnusable(Exception):
    """The spool cannot be opened; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """A chunk without its bytes."""

    id: int
    queue: int
    rows: int
    size_bytes: int
    arrival_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A sealed range of a queue. ``rows`` and ``size_bytes`` are those of the sealing."""

    number: int
    id: str
    queue: int
    first_chunk: int
    last_chunk: int
    rows: int
    size_bytes: int
    state: BatchState
    attempt: int
    commit_seq: int | None = None
    error: str | None = None

    @property
    def task_id(self) -> str:
        """The warehouse's handle of the current attempt: the batch id itself for the first."""
        return self.id if self.attempt == 1 else f"{self.id}-a{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """Rows of ``source`` that are inserted under one specification."""

    id: int
    source: str
    spec: InsertSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A row that was cut out of its batch. ``line`` is its 1-based place in the sealed batch."""

    batch: int
    line: int
    code: str
    message: str
    at_ms: int
    raw: bytes


_BATCH_COLUMNS = (
    "number, id, queue, first_chunk, last_chunk, rows, bytes, state, attempt, commit_seq, error"
)


def _batch(row: tuple[object, ...]) -> BatchRecord:
    return BatchRecord(
        number=int(row[0]),  # type: ignore[call-overload]
        id=str(row[1]),
        queue=int(row[2]),  # type: ignore[call-overload]
        first_chunk=int(row[3]),  # type: ignore[call-overload]
        last_chunk=int(row[4]),  # type: ignore[call-overload]
        rows=int(row[5]),  # type: ignore[call-overload]
        size_bytes=int(row[6]),  # type: ignore[call-overload]
        state=BatchState(str(row[7])),
        attempt=int(row[8]),  # type: ignore[call-overload]
        commit_seq=row[9],  # type: ignore[arg-type]
        error=row[10],  # type: ignore[arg-type]
    )


def _chunk(row: tuple[int, int, int, int, int]) -> ChunkRecord:
    return ChunkRecord(id=row[0], queue=row[1], rows=row[2], size_bytes=row[3], arrival_ms=row[4])


class SpoolFile:
    """The writing side. One thread owns it; each call happens inside `transaction`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SpoolUnusable(f"{path} cannot be opened: {error}") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise SpoolUnusable(
                f"{path} is not a spool or is damaged ({error}); move it away to start empty"
            ) from error
        except SpoolUnusable:
            self._db.close()
            raise

    def _prepare(self) -> None:
        _configure(self._db)
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables:
            # One transaction: a crash leaves an empty file or a whole spool.
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} INSERT INTO meta VALUES ('format', '{FORMAT}'),"
                f" ('spool_id', '{secrets.token_hex(4)}'); COMMIT;"
            )
        self.spool_id = self._meta("spool_id")
        found = self._meta("format")
        if found != str(FORMAT):
            raise SpoolUnusable(
                f"{self.path} has spool format {found}, this version reads {FORMAT}: "
                "run the version of the gateway that wrote it"
            )

    def _meta(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError(f"it has no {key}")
        return str(row[0])

    def close(self) -> None:
        """Close the file. What was committed stays."""
        self._db.close()

    def begin(self) -> None:
        """Start a transaction."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable: it is on disk when this returns."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Give the transaction up, if one is open."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

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
            "INSERT INTO chunk (queue, rows, bytes, arrival_ms, raw) VALUES (?, ?, ?, ?, ?)",
            (queue, rows, len(raw), arrival_ms, raw),
        )
        assert cursor.lastrowid is not None
        return ChunkRecord(
            id=cursor.lastrowid, queue=queue, rows=rows, size_bytes=len(raw), arrival_ms=arrival_ms
        )

    # ── batches ──

    def seal(self, chunks: tuple[int, int], queue: int, rows: int, size: int, now: int) -> str:
        """Make ``chunks`` (first, last) of ``queue`` a batch; returns its id."""
        cursor = self._db.execute(
            "INSERT INTO batch (id, queue, first_chunk, last_chunk, rows, bytes, state, attempt,"
            " sealed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
            (secrets.token_hex(8), queue, *chunks, rows, size, BatchState.SEALED, now),
        )
        batch_id = f"hr-{self.spool_id}-{cursor.lastrowid:08d}"
        self._db.execute("UPDATE batch SET id = ? WHERE number = ?", (batch_id, cursor.lastrowid))
        return batch_id

    def move(self, number: int, state: BatchState, attempt: int, error: str | None) -> None:
        """Record where a batch stands that is not final."""
        self._db.execute(
            "UPDATE batch SET state = ?, attempt = ?, error = ? WHERE number = ?",
            (state, attempt, error, number),
        )

    def finish(self, number: int, state: BatchState, now_ms: int, error: str | None) -> int | None:
        """Record a final state; a COMMITTED batch gets the next ``commit_seq``, returned."""
        commit_seq = None
        if state is BatchState.COMMITTED:
            last = self._db.execute("SELECT max(commit_seq) FROM batch").fetchone()[0]
            commit_seq = (last or 0) + 1
        self._db.execute(
            "UPDATE batch SET state = ?, final_ms = ?, commit_seq = ?, error = ? WHERE number = ?",
            (state, now_ms, commit_seq, error, number),
        )
        return commit_seq

    def bury(self, letter: DeadLetter) -> None:
        """Keep a row that was cut out of its batch."""
        self._db.execute(
            "INSERT OR IGNORE INTO dead_letter VALUES (?, ?, ?, ?, ?, ?)",
            (letter.batch, letter.line, letter.code, letter.message, letter.at_ms, letter.raw),
        )

    def forget(self, final_before_ms: int, keep_bytes: int) -> int:
        """Drop chunks of committed batches that are past both retentions; returns bytes freed.

        A batch goes when it is older than ``final_before_ms``, or when newer committed ones fill
        ``keep_bytes``. The newest batch's record stays, so that ``commit_seq`` goes on from it.
        """
        rows = self._db.execute(
            "SELECT number, queue, first_chunk, last_chunk, bytes, final_ms FROM batch"
            " WHERE commit_seq IS NOT NULL ORDER BY commit_seq DESC"
        )
        kept = freed = 0
        doomed: list[tuple[int, int, int, int]] = []
        for number, queue, first, last, size, final_ms in rows.fetchall():
            kept += size
            if kept > keep_bytes or final_ms < final_before_ms:
                doomed.append((number, queue, first, last))
        for number, queue, first, last in doomed:
            # Counted as they go: the newest batch's record outlives its chunks.
            gone = self._db.execute(
                "DELETE FROM chunk WHERE queue = ? AND id BETWEEN ? AND ? RETURNING bytes",
                (queue, first, last),
            )
            freed += sum(size for (size,) in gone.fetchall())
            self._db.execute(
                "DELETE FROM batch WHERE number = ? AND commit_seq <"
                " (SELECT max(commit_seq) FROM batch)",
                (number,),
            )
        return freed


class SpoolReader:
    """The reading side: every call opens its own snapshot, so any thread may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def queues(self) -> list[QueueRecord]:
        """Every queue."""
        with _Reading(self._path) as db:
            rows = db.execute("SELECT id, source, spec FROM queue ORDER BY id").fetchall()
        decode = msgspec.json.Decoder(InsertSpec).decode
        return [QueueRecord(id=row[0], source=row[1], spec=decode(row[2])) for row in rows]

    def unsealed(self) -> list[ChunkRecord]:
        """Chunks in no batch yet, in order of arrival."""
        with _Reading(self._path) as db:
            rows = db.execute(
                "SELECT id, queue, rows, bytes, arrival_ms FROM chunk WHERE id >"
                " coalesce((SELECT max(last_chunk) FROM batch b WHERE b.queue = chunk.queue), 0)"
                " ORDER BY id"
            ).fetchall()
        return [_chunk(row) for row in rows]

    def chunks(self, batch: BatchRecord) -> list[ChunkRecord]:
        """The chunks of a batch, in its order."""
        with _Reading(self._path) as db:
            rows = db.execute(
                "SELECT id, queue, rows, bytes, arrival_ms FROM chunk"
                " WHERE queue = ? AND id BETWEEN ? AND ? ORDER BY id",
                (batch.queue, batch.first_chunk, batch.last_chunk),
            ).fetchall()
        return [_chunk(row) for row in rows]

    def unfinished(self) -> list[BatchRecord]:
        """Batches that are not final, in the order of their sealing."""
        return self._batches("final_ms IS NULL ORDER BY number", ())

    def refused(self) -> list[BatchRecord]:
        """FAILED batches: final, and still in need of the operator."""
        return self._batches("state = 'FAILED' ORDER BY number", ())

    def committed_after(self, commit_seq: int, limit: int) -> list[BatchRecord]:
        """Retained committed batches after a position of the log, in its order."""
        return self._batches("commit_seq > ? ORDER BY commit_seq LIMIT ?", (commit_seq, limit))

    def log_end(self) -> int:
        """The position after the newest commit."""
        with _Reading(self._path) as db:
            return int(db.execute("SELECT max(commit_seq) FROM batch").fetchone()[0] or 0)

    def stored_bytes(self) -> int:
        """Bytes of all rows that the spool holds."""
        with _Reading(self._path) as db:
            return int(db.execute("SELECT sum(bytes) FROM chunk").fetchone()[0] or 0)

    def dead_letters(self, batch: int) -> list[DeadLetter]:
        """Rows that were cut out of a batch, in its order."""
        with _Reading(self._path) as db:
            rows = db.execute(
                "SELECT batch, line, code, message, at_ms, raw FROM dead_letter"
                " WHERE batch = ? ORDER BY line",
                (batch,),
            ).fetchall()
        return [
            DeadLetter(batch=r[0], line=r[1], code=r[2], message=r[3], at_ms=r[4], raw=r[5])
            for r in rows
        ]

    def content(self, batch: BatchRecord) -> Iterator[bytes]:
        """The bytes of a batch as it was sealed, chunk by chunk."""
        with _Reading(self._path) as db:
            cursor = db.execute(
                "SELECT raw FROM chunk WHERE queue = ? AND id BETWEEN ? AND ? ORDER BY id",
                (batch.queue, batch.first_chunk, batch.last_chunk),
            )
            while rows := cursor.fetchmany(READ_STEP_CHUNKS):
                yield from (row[0] for row in rows)

    def _batches(self, where: str, values: tuple[int, ...]) -> list[BatchRecord]:
        with _Reading(self._path) as db:
            found = db.execute(f"SELECT {_BATCH_COLUMNS} FROM batch WHERE {where}", values)
            return [_batch(row) for row in found.fetchall()]


class _Reading:
    """A read-only connection for the length of a ``with``."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _configure(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
