"""A spool looked at from outside: what is in it, whether its laws hold, its rows for rescue.

It reads the file and changes nothing, whether a gateway runs on it or not, and goes on as far as
it can where the file is damaged.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.ingest import layout

_UNCOMMITTED = (
    "NOT EXISTS (SELECT 1 FROM batch b WHERE b.queue = c.queue AND b.commit_seq IS NOT NULL"
    " AND c.id BETWEEN b.first_chunk AND b.last_chunk)"
)


@dataclass(frozen=True, slots=True)
class SpooledRow:
    """A row on disk, without its newline. ``channel`` and ``offset`` until it is committed."""

    stream: str
    raw: bytes
    channel: str | None = None
    offset: int | None = None


def status(path: Path) -> dict[str, Any]:
    """What the spool holds. Raises `sqlite3.Error` if it cannot be read at all."""
    with closing(_snapshot(path)) as db:
        free, page = _pragma(db, "freelist_count"), _pragma(db, "page_size")
        states = db.execute(
            "SELECT state, count(*), sum(rows) FROM batch GROUP BY state"
        ).fetchall()
        unsealed = db.execute(
            "SELECT count(*), sum(rows), sum(bytes), min(arrival_ms) FROM chunk c WHERE id >"
            " coalesce((SELECT max(last_chunk) FROM batch b WHERE b.queue = c.queue), 0)"
        ).fetchone()
        return {
            "file": str(path),
            "fileBytes": path.stat().st_size,
            "freeBytes": free * page,
            "format": int(layout.meta(db, "format")),
            "spoolId": layout.meta(db, "spool_id"),
            "commits": int(layout.meta(db, "commit_seq")),
            "streams": _one(db, "SELECT count(DISTINCT source) FROM queue"),
            "storedBytes": _one(db, "SELECT sum(bytes) FROM chunk"),
            "unsealedRows": unsealed[1] or 0,
            "unsealedBytes": unsealed[2] or 0,
            "oldestUnsealedMs": unsealed[3],
            "batches": {state: count for state, count, _ in states},
            "batchRows": {state: rows for state, _, rows in states},
            "channels": _one(db, "SELECT count(*) FROM channel"),
            "deadLetters": _one(db, "SELECT count(*) FROM dead_letter WHERE state = 'open'"),
        }


def verify(path: Path) -> Iterator[str]:
    """What is wrong with the spool, a sentence each; nothing if all is well."""
    try:
        with closing(_snapshot(path)) as db:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
            yield from (f"SQLite: {text}" for text in found if text != "ok")
            if layout.meta(db, "format") != str(layout.FORMAT):
                yield f"it has format {layout.meta(db, 'format')}: 'headrace serve' migrates it"
                return
            for check in (_chunks, _batches, _coverage, _commits, _channels, _letters):
                yield from check(db)
    except (sqlite3.Error, OSError) as error:
        yield f"it cannot be read further: {error}"


def rows(path: Path, stream: str | None, *, committed: bool) -> Iterator[SpooledRow | str]:
    """Rows in order of arrival; ``committed``: those of committed batches too.

    A chunk that cannot be read is told as a sentence between the rows. Rows of a batch that was
    bisected count as not committed as long as the half in which their chunk lies is not.
    """
    with closing(_snapshot(path)) as db:
        where = [] if committed else [_UNCOMMITTED]
        where += [] if stream is None else ["q.source = ?"]
        found = db.execute(
            "SELECT c.id, c.queue, q.source FROM chunk c JOIN queue q ON q.id = c.queue"
            + (f" WHERE {' AND '.join(where)}" if where else "")
            + " ORDER BY c.id",
            () if stream is None else (stream,),
        )
        for chunk, queue, source in found:
            try:
                yield from _rows_of(db, chunk, queue, source)
            except sqlite3.Error as error:
                yield f"chunk {chunk} of {source} cannot be read: {error}"


def _rows_of(db: sqlite3.Connection, chunk: int, queue: int, source: str) -> Iterator[SpooledRow]:
    raw = db.execute("SELECT raw FROM chunk WHERE id = ?", (chunk,)).fetchone()[0]
    stretches = db.execute(
        "SELECT s.at_row, s.rows, s.first_offset, n.name FROM stretch s JOIN channel n"
        " ON n.id = s.channel WHERE s.queue = ? AND s.chunk = ? ORDER BY s.at_row",
        (queue, chunk),
    ).fetchall()
    at = 0
    for number, line in enumerate(raw.split(b"\n")[:-1]):
        while at < len(stretches) and number >= stretches[at][0] + stretches[at][1]:
            at += 1
        if at < len(stretches) and number >= stretches[at][0]:
            at_row, _, first_offset, name = stretches[at]
            yield SpooledRow(source, line, name, first_offset + number - at_row)
        else:
            yield SpooledRow(source, line)


def document(row: SpooledRow) -> bytes:
    """A row with its place, as a line of JSON."""
    try:
        value = orjson.loads(row.raw)
    except orjson.JSONDecodeError:
        value = row.raw.decode(errors="replace")
    place = {"stream": row.stream, "channel": row.channel, "offset": row.offset, "row": value}
    return orjson.dumps(place)


# ── the laws ─────────────────────────────────────────────────────────────────────────────────


def _chunks(db: sqlite3.Connection) -> Iterator[str]:
    """Each chunk has as many lines and bytes as it says, and a queue."""
    found = db.execute("SELECT id, rows, bytes, raw, crc FROM chunk")
    for chunk, count, size, raw, crc in found:
        if crc is not None and zlib.crc32(raw) != crc:
            yield f"chunk {chunk} is not what was written: the disk has changed it"
        if raw.count(b"\n") != count or len(raw) != size or not raw.endswith(b"\n"):
            yield f"chunk {chunk} does not hold the {count} rows and {size} bytes that it says"
    for (chunk,) in db.execute(
        "SELECT id FROM chunk WHERE queue NOT IN (SELECT id FROM queue) LIMIT 20"
    ):
        yield f"chunk {chunk} belongs to no stream"


def _batches(db: sqlite3.Connection) -> Iterator[str]:
    """A batch that is not past its retention has the rows that it was sealed with."""
    found = db.execute(
        "SELECT b.id, b.rows, b.first_row, b.end_row, sum(c.rows), max(c.id) = b.last_chunk,"
        " (SELECT rows FROM chunk WHERE id = b.last_chunk) FROM batch b JOIN chunk c"
        " ON c.queue = b.queue AND c.id BETWEEN b.first_chunk AND b.last_chunk"
        " WHERE b.state <> 'SPLIT' GROUP BY b.number"
    )
    for batch, count, first_row, end_row, there, has_last, last_rows in found:
        cut = 0 if end_row is None else (last_rows or 0) - end_row
        if not has_last or there - first_row - cut != count:
            yield f"batch {batch} does not have the {count} rows that it was sealed with"


def _coverage(db: sqlite3.Connection) -> Iterator[str]:
    """Batches of a queue follow one another without a gap, and none lies in another."""
    found = db.execute(
        "SELECT queue, id, first_chunk, first_row, last_chunk, end_row FROM batch"
        " WHERE state <> 'SPLIT' ORDER BY queue, first_chunk, first_row"
    )
    before: tuple[Any, ...] | None = None
    for batch in found:
        if before is not None and before[0] == batch[0]:
            ends = (before[4], before[5] if before[5] is not None else float("inf"))
            if (batch[2], batch[3]) < ends:
                yield f"batches {before[1]} and {batch[1]} overlap"
            lost = db.execute(
                "SELECT count(*) FROM chunk WHERE queue = ? AND id > ? AND id < ?",
                (batch[0], before[4], batch[2]),
            ).fetchone()[0]
            if lost:
                yield f"{lost} chunks between batches {before[1]} and {batch[1]} are in no batch"
        before = batch


def _commits(db: sqlite3.Connection) -> Iterator[str]:
    """Positions of the log have no gap, and end where the log ends."""
    first, last, count = db.execute(
        "SELECT min(commit_seq), max(commit_seq), count(commit_seq) FROM batch"
    ).fetchone()
    if count and last - first + 1 != count:
        yield f"positions {first} to {last} of the log have {count} entries"
    if count and last != int(layout.meta(db, "commit_seq")):
        yield f"the log ends at {layout.meta(db, 'commit_seq')}, its newest entry is {last}"


def _channels(db: sqlite3.Connection) -> Iterator[str]:
    """A channel stands beyond all of its rows, and they lie where it says."""
    found = db.execute(
        "SELECT n.source, n.name, n.next_offset, max(s.first_offset + s.rows) FROM stretch s"
        " JOIN channel n ON n.id = s.channel GROUP BY n.id HAVING max(s.first_offset + s.rows)"
        " > n.next_offset"
    )
    for source, name, next_offset, beyond in found:
        yield f"channel {name!r} of {source} stands at {next_offset} and has rows up to {beyond}"
    found = db.execute(
        "SELECT s.queue, s.chunk FROM stretch s LEFT JOIN chunk c ON c.id = s.chunk"
        " WHERE c.id IS NULL OR c.queue <> s.queue OR s.at_row + s.rows > c.rows LIMIT 20"
    )
    for queue, chunk in found:
        yield f"rows of a channel lie outside chunk {chunk} of queue {queue}"


def _letters(db: sqlite3.Connection) -> Iterator[str]:
    """A dead letter's line is one of its batch's."""
    found = db.execute(
        "SELECT d.id, b.id FROM dead_letter d JOIN batch b ON b.number = d.batch"
        " WHERE d.line < 1 OR d.line > b.rows LIMIT 20"
    )
    for letter, batch in found:
        yield f"dead letter {letter} names a line that batch {batch} does not have"


def _snapshot(path: Path) -> sqlite3.Connection:
    """One state of the file for all questions, whatever a gateway writes meanwhile."""
    db = layout.open_to_read(path)
    db.isolation_level = None
    db.execute("BEGIN")
    return db


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return _one(db, f"PRAGMA {name}")


def _one(db: sqlite3.Connection, sql: str) -> int:
    return int(db.execute(sql).fetchone()[0] or 0)
