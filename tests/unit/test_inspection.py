"""A spool looked at from outside: each broken law is named, and rows are rescued from damage."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ingest import inspection
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord, Place, Stretch
from gateway.ingest.layout import open_to_write
from gateway.ingest.spool import SpoolFile
from tests.commands import headrace
from tests.ingest_house import SPEC, lines


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Four chunks of a queue: a committed batch, one cut in two inside a chunk, one chunk open."""
    path = tmp_path / "spool.db"
    file = SpoolFile(path)
    file.begin()
    queue = file.queue("S", SPEC).id
    channel = file.channels.make("S", "edge", 9)
    assert channel is not None
    for number in range(4):
        chunk = file.append(queue, lines(10 * number, 4), 4, 1)
        assert file.channels.advance(channel, 2 * number, 2)
        place = Stretch(queue=queue, chunk=chunk.id, at_row=1, rows=2, first_offset=2 * number)
        file.channels.lay(channel, place)
    size = len(lines(0, 4))
    file.seal((1, 1), queue, 4, size, 1)
    file.finish(_batch(1, queue, 1, 1, 4, size), BatchState.COMMITTED, 2, None)
    file.seal((2, 3), queue, 8, 2 * size, 1)
    file.split(_batch(2, queue, 2, 3, 8, 2 * size), Place(2, 3), (3, len(lines(10, 3))), 3)
    file.commit()
    file.close()
    return path


def _batch(number: int, queue: int, first: int, last: int, rows: int, size: int) -> BatchRecord:
    return BatchRecord(
        number=number,
        id=f"b{number}",
        queue=queue,
        first_chunk=first,
        last_chunk=last,
        rows=rows,
        size_bytes=size,
        state=BatchState.SEALED,
        attempt=1,
    )


def test_a_sound_spool_has_nothing_wrong_and_tells_what_it_holds(spool: Path) -> None:
    assert list(inspection.verify(spool)) == []
    told = inspection.status(spool)
    assert told["batches"] == {"COMMITTED": 1, "SEALED": 2, "SPLIT": 1}
    assert (told["unsealedRows"], told["channels"], told["commits"]) == (4, 1, 1)


def test_it_is_looked_at_while_a_writer_is_at_work(spool: Path) -> None:
    with closing(open_to_write(spool)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM chunk")
        assert list(inspection.verify(spool)) == []
        db.execute("ROLLBACK")


BREACHES = {
    "UPDATE chunk SET raw = x'7b7d0a' WHERE id = 2": "chunk 2 does not hold the 4 rows",
    "UPDATE chunk SET queue = 77 WHERE id = 4": "chunk 4 belongs to no stream",
    "DELETE FROM chunk WHERE id = 3": "does not have the 5 rows that it was sealed with",
    "UPDATE batch SET first_row = 2, rows = 6 WHERE number = 4": "overlap",
    "UPDATE meta SET value = 7 WHERE key = 'commit_seq'": "the log ends at 7",
    "UPDATE channel SET next_offset = 1": "channel 'edge' of S stands at 1",
    "UPDATE stretch SET rows = 9 WHERE chunk = 4": "lie outside chunk 4",
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_law_that_is_broken_is_named(spool: Path, breach: str) -> None:
    with closing(sqlite3.connect(spool)) as db, db:
        db.execute(breach)
    found = list(inspection.verify(spool))
    assert any(BREACHES[breach] in sentence for sentence in found), found


def test_chunks_that_fell_between_two_batches_are_named(spool: Path) -> None:
    with closing(sqlite3.connect(spool)) as db, db:
        db.execute(
            "UPDATE batch SET first_chunk = 4, last_chunk = 4, first_row = 0 WHERE number = 4"
        )
        db.execute("UPDATE batch SET last_chunk = 2, end_row = NULL, rows = 4 WHERE number = 3")
    assert any("1 chunks between" in sentence for sentence in inspection.verify(spool))


def test_rows_that_are_not_committed_are_exported_with_their_place(spool: Path) -> None:
    found = list(inspection.rows(spool, None, committed=False))
    assert not [row for row in found if isinstance(row, str)]
    rows = [row for row in found if not isinstance(row, str)]
    assert b"".join(row.raw + b"\n" for row in rows) == b"".join(
        lines(10 * n, 4) for n in (1, 2, 3)
    )
    assert [(row.channel, row.offset) for row in rows[:4]] == [
        (None, None), ("edge", 2), ("edge", 3), (None, None),
    ]  # fmt: skip
    every = list(inspection.rows(spool, "S", committed=True))
    assert len(every) == 16
    assert list(inspection.rows(spool, "T", committed=True)) == []


def test_what_can_be_read_of_a_damaged_spool_is_rescued(spool: Path) -> None:
    """A chunk that lies on pages of its own is overwritten: the others are still exported."""
    file = SpoolFile(spool)
    file.begin()
    broken = file.append(1, b'{"A":1,"S":"' + b"M" * 100_000 + b'"}\n', 1, 1)
    kept = file.append(1, lines(77, 1), 1, 1)
    file.commit()
    file.close()
    raw = bytearray(spool.read_bytes())
    at = raw.index(b"M" * 16_000) + 8_000
    page = at - at % 16384
    raw[page : page + 4] = b"\xff\xff\xff\xff"  # the pointer to the next page of its row
    spool.write_bytes(raw)
    assert any("SQLite" in s or "cannot be read" in s for s in inspection.verify(spool))
    found = list(inspection.rows(spool, None, committed=False))
    told = [row for row in found if isinstance(row, str)]
    assert [f"chunk {broken.id} of S cannot be read" in sentence for sentence in told] == [True]
    rows = [row.raw + b"\n" for row in found if not isinstance(row, str)]
    assert rows[-1] == lines(77, 1)
    assert kept.rows == 1


def test_the_commands_tell_by_their_exit_codes(spool: Path) -> None:
    where = ["--data-dir", str(spool.parent)]
    sound = headrace("spool", "verify", *where)
    assert (sound.status, sound.stdout) == (0, f"{spool}: sound\n")
    export = headrace("spool", "export", *where)
    assert (export.status, len(export.stdout.splitlines())) == (0, 12)
    with closing(sqlite3.connect(spool)) as db, db:
        db.execute("UPDATE channel SET next_offset = 1")
    broken = headrace("spool", "verify", *where)
    assert broken.status == 1
    assert "stands at 1" in broken.stderr
    nowhere = headrace("spool", "status", "--data-dir", str(spool.parent / "nowhere"))
    assert nowhere.status == 1
    assert "--data-dir" in nowhere.stderr
