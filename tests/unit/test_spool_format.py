"""The file and its format: an older one goes on as this one, a newer one is refused, space goes
back to the disk."""

import contextlib
import gzip
import sqlite3
from pathlib import Path

import pytest

from gateway.ingest import layout
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import LetterState
from gateway.ingest.layout import SpoolUnusable
from gateway.ingest.log import SpoolLog
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from gateway.seams import TaskState
from tests.fakes import Changes, ScriptedWarehouse, Task
from tests.ingest_house import house, lines, source

OLD = Path(__file__).parents[1] / "data" / "spool-format-1.db.gz"
"""Queues S (ds) and T (dt); 1 COMMITTED with a dead letter, 2 and 5 SEALED, 3 HELD, 4 FAILED; two
chunks in no batch."""
ID = "hr-c4565849-0000000"
ARRIVED = b'{"__arrival":1700000000000,"A":%d,"S":"x"}\n'


def rows(first: int, count: int) -> bytes:
    return b"".join(ARRIVED % number for number in range(first, first + count))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "spool.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    return path


def pragma(path: Path, name: str) -> object:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


# ── from format 1 ────────────────────────────────────────────────────────────────────────────


def test_all_that_a_spool_of_format_1_held_is_there(old: Path) -> None:
    spool, reader = SpoolFile(old), SpoolReader(old)
    try:
        assert spool.spool_id == "c4565849"
        assert [(queue.source, queue.spec) for queue in reader.queues()] == [
            ("S", source().spec),
            ("T", source(datasource="dt").spec),
        ]
        batches = {number: reader.batch(f"{ID}{number}") for number in range(1, 6)}
        found = [
            (batch.state, batch.attempt, batch.error, b"".join(reader.content(batch)))
            for batch in batches.values()
            if batch is not None
        ]
        assert found == [
            (BatchState.COMMITTED, 1, None, rows(0, 5)),
            (BatchState.SEALED, 2, "the worker went away", rows(0, 4)),
            (BatchState.HELD, 1, "1 of 3 rows are in the warehouse", rows(5, 3)),
            (BatchState.FAILED, 1, "INSERT is not allowed here", rows(8, 1)),
            (BatchState.SEALED, 1, None, rows(4, 2)),
        ]
        assert [chunk.id for chunk in reader.unsealed()] == [7, 8]
        (letter,) = reader.letters()
        assert (letter.batch, letter.line, letter.code, letter.raw) == (1, 2, "BadRow", rows(1, 1))
        assert (letter.state, letter.spooled, letter.channel) == (LetterState.OPEN, True, None)
        assert letter.sealed_bytes == len(rows(1, 1))
        assert spool.letters.open_bytes == len(rows(1, 1))
        assert (reader.log_start(), reader.log_end()) == (0, 1)
        assert reader.stored_bytes() == sum(map(len, (rows(0, 5), rows(0, 4), rows(5, 3)))) + sum(
            map(len, (rows(8, 1), rows(4, 2), rows(9, 2), rows(6, 1)))
        )
    finally:
        spool.close()
    assert pragma(old, "auto_vacuum") == 2
    assert pragma(old, "integrity_check") == "ok"


async def test_a_spool_of_format_1_goes_on_where_it_stood(old: Path) -> None:
    warehouse = ScriptedWarehouse(Changes())
    failed = f"{ID}2-a2"
    async with house(old, warehouse, start=False) as made:
        (queue,) = [queue for queue in made.reader.queues() if queue.source == "T"]
        del queue
        made.start()
        await made.until_recovered()
        await made.until_idle()
        assert warehouse.published["dt", f"{ID}2"] == rows(0, 4).splitlines()
        assert warehouse.published["dt", f"{ID}5"] == rows(4, 2).splitlines()
        assert failed in warehouse.submissions
        late = [row for row in warehouse.rows if row in (rows(9, 2) + rows(6, 1)).splitlines()]
        assert len(late) == 3
        assert [batch.id for batch in made.committer.held] == [f"{ID}3", f"{ID}4"]
        assert made.committed[0].batch.commit_seq == 2
        await made.room.batches.retry(f"{ID}4")
        await made.room.batches.drop(f"{ID}3")
        (old_letter, *dropped) = made.reader.letters()
        await made.room.dead_letters.retry(old_letter.id)
        await made.until_idle()
        assert len(dropped) == 3
        assert warehouse.published["ds", f"{ID}4"] == rows(8, 1).splitlines()
        assert warehouse.rows.count(rows(1, 1).strip()) == 2  # of S again, and T's own
        assert all(task.state is TaskState.SUCCESS for task in warehouse.tasks.values())
        assert isinstance(warehouse.tasks[failed], Task)
        sink = await made.spool(lines(20, 1))
        await made.changes.until(lambda: sink.settled_rows == {0})
        log = SpoolLog(made.reader)
        log.recovered(made.reader.queues(), made.reader.log_end(), "id")
        (first, *_) = await log.after(0)
        assert b"".join(first.pieces()) == rows(0, 1) + rows(2, 3)


def test_a_step_that_fails_leaves_the_format_that_was_there(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken = layout._FROM_1.replace("DROP TABLE dead_letter_1;", "DROP TABLE nowhere;")
        assert broken != layout._FROM_1
        patch.setitem(layout._MIGRATIONS, 1, broken)
        with pytest.raises(SpoolUnusable, match="no such table: nowhere"):
            SpoolFile(old)
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert layout.meta(db, "format") == "1"
        assert db.execute("SELECT line FROM dead_letter").fetchall() == [(2,)]
    test_all_that_a_spool_of_format_1_held_is_there(old)


def test_a_crash_between_the_migration_and_the_vacuum_is_made_good_at_the_next_opening(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, contextlib.closing(sqlite3.connect(old)) as db:
        db.isolation_level = None
        layout._migrate(db, old)
        patch.undo()
    assert pragma(old, "auto_vacuum") == 0
    SpoolFile(old).close()
    assert pragma(old, "auto_vacuum") == 2


# ── what is no spool of ours ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("found", ["3", "99", "x"])
def test_a_newer_format_is_refused_with_what_to_do_and_left_alone(
    tmp_path: Path, found: str
) -> None:
    path = tmp_path / "spool.db"
    SpoolFile(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'format'", (found,))
    with pytest.raises(SpoolUnusable) as refused:
        SpoolFile(path)
    text = str(refused.value)
    assert f"has spool format {found}, this version reads up to {layout.FORMAT}" in text
    assert "run the version of the gateway that wrote it" in text
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert layout.meta(db, "format") == found


@pytest.mark.parametrize("raw", [b"no database\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_spool_is_refused_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(raw)
    with pytest.raises(SpoolUnusable, match="not a spool or is damaged"):
        SpoolFile(path)
    assert path.read_bytes() == raw


def test_another_database_is_not_taken_for_a_spool(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    with pytest.raises(SpoolUnusable, match="it has no format"):
        SpoolFile(path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="cannot be opened"):
        SpoolFile(tmp_path / "nowhere" / "spool.db")


# ── space ────────────────────────────────────────────────────────────────────────────────────


async def test_the_file_shrinks_once_its_rows_are_past_their_retention(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with house(path) as made:
        large = lines(0, 1, "x" * 900_000)
        for number in range(8):
            sink = await made.spool(large)
            await made.changes.until(lambda sink=sink: sink.settled_rows == {0})  # type: ignore[misc]
            assert made.reader.log_end() == number + 1
        assert await made.writer.record(lambda spool: spool.forget(1 << 62, 0)) == 8 * len(large)
    assert path.stat().st_size < len(large)
    async with house(path) as made:
        assert (made.reader.log_start(), made.reader.log_end()) == (8, 8)
        sink = await made.spool(lines(1, 1))
        await made.changes.until(lambda: sink.settled_rows == {0})
        assert made.reader.log_end() == 9


async def test_what_one_sweep_gives_back_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ingest.spool.GIVE_BACK_PAGES", 8)
    async with house(tmp_path / "spool.db") as made:
        sink = await made.spool(lines(0, 1, "x" * 900_000))
        await made.changes.until(lambda: sink.settled_rows == {0})

        def sweep(spool: SpoolFile) -> tuple[int, int]:
            pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
            spool.forget(1 << 62, 0)
            return pages, spool._db.execute("PRAGMA page_count").fetchone()[0]

        for _ in range(3):
            before, after = await made.writer.record(sweep)
            assert before - after == 8
