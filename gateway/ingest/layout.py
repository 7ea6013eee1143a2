"""The spool's file: its tables, its format number, how an older one becomes a newer one.

Format 2, one SQLite file (WAL, synchronous FULL: a commit is on disk when it returns)::

    meta    (key, value)     format; spool_id (random, names the batches of this spool);
                             commit_seq, the position of the newest commit
    queue   (id, source, digest, spec)         rows that are inserted alike: source + InsertSpec
    chunk   (id, queue, rows, bytes, arrival_ms, raw, crc)   what one group commit took for a queue,
             with its CRC-32; none where format 1 wrote it
    batch   (number, id, queue, first_chunk, first_row, last_chunk, end_row, rows, bytes, state,
             attempt, sealed_ms, final_ms, commit_seq, error, root)
    channel (id, source, name, next_offset)
    stretch (queue, chunk, at_row, rows, channel, first_offset)   of rows that are not committed
    carried (batch, id, queue, rows, at_ms, channel, first_offset)   lowest offset in a committed
             batch that nobody saw queryable yet; it outlives the batch
    dead_letter (id, queue, batch, line, channel, row_offset, code, message, at_ms, tasks, state,
             sealed_bytes, spooled, raw)

Format 1 had no channels, no dead letters but those cut out of a batch, and gave no space back.
"""

import secrets
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FORMAT = 2
PAGE_BYTES = 16384
CHECKPOINT_PAGES = 8192
WAL_KEPT_BYTES = 64 << 20
"""What the write-ahead log keeps of its size after a burst."""
_INCREMENTAL = 2


class SpoolUnusable(Exception):
    """The spool cannot be opened; the text says why and what to do."""


_STUCK = "CREATE INDEX batch_stuck ON batch (number) WHERE state IN ('HELD', 'FAILED');"


class ChunkDamaged(sqlite3.DatabaseError):
    """The rows of a chunk are not those that were written: the disk has changed them."""


def proven(chunk: int, raw: bytes, crc: int | None) -> bytes:
    """``raw``, if it is what was written. Raises `ChunkDamaged`."""
    if crc is not None and zlib.crc32(raw) != crc:
        raise ChunkDamaged(f"chunk {chunk} is not what was written: the disk has changed it")
    return raw


_CHANNELS = """
CREATE TABLE channel (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL,
    next_offset INTEGER NOT NULL, UNIQUE (source, name));
CREATE TABLE stretch (
    queue INTEGER NOT NULL, chunk INTEGER NOT NULL, at_row INTEGER NOT NULL,
    rows INTEGER NOT NULL, channel INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    PRIMARY KEY (queue, chunk, at_row)) WITHOUT ROWID;
CREATE INDEX stretch_of_channel ON stretch (channel, first_offset);
CREATE TABLE carried (
    batch INTEGER NOT NULL, id TEXT NOT NULL, queue INTEGER NOT NULL, rows INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, channel INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    PRIMARY KEY (batch, channel)) WITHOUT ROWID;
CREATE INDEX carried_of_channel ON carried (channel, first_offset);
"""

_DEAD_LETTERS = """
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, batch INTEGER, line INTEGER,
    channel INTEGER, row_offset INTEGER, code TEXT NOT NULL, message TEXT NOT NULL,
    at_ms INTEGER NOT NULL, tasks INTEGER NOT NULL, state TEXT NOT NULL,
    sealed_bytes INTEGER NOT NULL, spooled INTEGER NOT NULL, raw BLOB NOT NULL,
    UNIQUE (batch, line));
CREATE INDEX dead_letter_of_channel ON dead_letter (channel, row_offset);
CREATE INDEX dead_letter_in_state ON dead_letter (state, id);
"""

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE queue (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, digest TEXT NOT NULL, spec BLOB NOT NULL,
    UNIQUE (source, digest));
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, arrival_ms INTEGER NOT NULL, raw BLOB NOT NULL, crc INTEGER);
CREATE INDEX chunk_of_queue ON chunk (queue, id, rows, bytes, arrival_ms);
CREATE TABLE batch (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue INTEGER NOT NULL,
    first_chunk INTEGER NOT NULL, last_chunk INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    sealed_ms INTEGER NOT NULL, final_ms INTEGER, commit_seq INTEGER UNIQUE, error TEXT,
    first_row INTEGER NOT NULL DEFAULT 0, end_row INTEGER, root INTEGER);
CREATE INDEX batch_of_queue ON batch (queue, last_chunk);
CREATE INDEX batch_of_root ON batch (root) WHERE root IS NOT NULL;
{_STUCK}{_CHANNELS}{_DEAD_LETTERS}
"""

_FROM_1 = f"""
ALTER TABLE chunk ADD COLUMN crc INTEGER;
ALTER TABLE batch ADD COLUMN first_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN end_row INTEGER;
ALTER TABLE batch ADD COLUMN root INTEGER;
CREATE INDEX batch_of_root ON batch (root) WHERE root IS NOT NULL;
{_STUCK}{_CHANNELS}
ALTER TABLE dead_letter RENAME TO dead_letter_1;
{_DEAD_LETTERS}
INSERT INTO dead_letter (queue, batch, line, code, message, at_ms, tasks, state, sealed_bytes,
    spooled, raw)
    SELECT b.queue, d.batch, d.line, d.code, d.message, d.at_ms, 1, 'open', length(d.raw), 1, d.raw
    FROM dead_letter_1 d JOIN batch b ON b.number = d.batch ORDER BY d.batch, d.line;
DROP TABLE dead_letter_1;
INSERT INTO meta SELECT 'commit_seq', coalesce(max(commit_seq), 0) FROM batch;
"""

_MIGRATIONS = {1: _FROM_1}
"""By the format they start from; each leads to the next."""


def open_to_write(path: Path) -> sqlite3.Connection:
    """The spool at ``path``, made or brought to this format if need be. Raises `SpoolUnusable`."""
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{path} cannot be opened: {error}") from error
    with explained(db, path):
        _prepare(db, path)
    return db


_DISK_FAULTS = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip


@contextmanager
def explained(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """What goes wrong in the block closes the file and is raised as `SpoolUnusable`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        db.close()
        # An extended code says more in its upper bytes. Errors of ours have none.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_FAULTS:
            raise SpoolUnusable(f"{path} cannot be used: {error}") from error
        raise SpoolUnusable(
            f"{path} is not a spool or is damaged ({error}); see what is left of it with "
            "'headrace spool verify', and move it away to start empty"
        ) from error
    except SpoolUnusable:
        db.close()
        raise


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that sees a snapshot in each of its transactions and writes nothing."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)


def meta(db: sqlite3.Connection, key: str) -> str:
    """A value of ``meta``. Raises `sqlite3.DatabaseError` if it is not there."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"it has no {key}")
    return str(row[0])


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        # Before the first table, or it takes a VACUUM to have it: free pages can be given back.
        # Said to a spool that has it already, it writes to the file.
        db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        # Of a disk that refused the change SQLite tells by its answer only; in another mode a
        # commit might not be on disk when it returns.
        raise SpoolUnusable(
            f"{path} cannot be used: the disk does not take its write-ahead log (the journal mode "
            f"stays '{mode}')"
        )
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    if not tables:
        # One transaction: a crash leaves an empty file or a whole spool.
        db.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} INSERT INTO meta VALUES ('format', '{FORMAT}'),"
            f" ('spool_id', '{secrets.token_hex(4)}'), ('commit_seq', 0); COMMIT;"
        )
    _migrate(db, path)
    # SQLite opens a file that it can only read without a word, and even begins a transaction.
    db.execute("DELETE FROM meta WHERE 0")
    if db.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        db.execute("VACUUM")


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Each step in a transaction of its own: a crash leaves one format or the next."""
    found = meta(db, "format")
    while found != str(FORMAT):
        if found not in map(str, _MIGRATIONS):
            raise SpoolUnusable(
                f"{path} has spool format {found}, this version reads up to {FORMAT}: "
                "run the version of the gateway that wrote it"
            )
        step = int(found)
        db.executescript(
            f"BEGIN IMMEDIATE; {_MIGRATIONS[step]}"
            f" UPDATE meta SET value = '{step + 1}' WHERE key = 'format'; COMMIT;"
        )
        found = meta(db, "format")
