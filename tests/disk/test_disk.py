"""The disk that fails on purpose, held against the real one that is under it."""

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from tests.disk.disk import Disk, Fault, Planned
from tests.disk.medium import SECTOR_BYTES, Call, Change, Medium


def write_some(path: Path, rows: int) -> None:
    """A database with a log and checkpoints, written in some transactions."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 3")
        db.execute("CREATE TABLE t (a)")
        for row in range(rows):
            db.execute("INSERT INTO t VALUES (?)", (f"{row}" * 900,))


def test_the_record_of_what_was_done_gives_the_very_files_again(tmp_path: Path) -> None:
    medium = Medium()
    with Disk(tmp_path) as disk:
        write_some(tmp_path / "a.db", 20)
    for change in disk.changes:
        medium.apply(change)
    assert medium.after_process_crash() == {"a.db": (tmp_path / "a.db").read_bytes()}
    assert {change.call for change in disk.changes} == set(Call) - {Call.SHARE}


def test_files_elsewhere_are_left_alone_and_the_real_disk_is_back_at_the_end(
    tmp_path: Path,
) -> None:
    (tmp_path / "watched").mkdir()
    with Disk(tmp_path / "watched", Planned(Fault.IO_ERROR, 0, lasting=True)) as disk:
        write_some(tmp_path / "elsewhere.db", 2)
        assert disk.calls == 0
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            write_some(tmp_path / "watched" / "a.db", 2)
        assert disk.failed > 0
    write_some(tmp_path / "watched" / "a.db", 2)


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_once_is_one_error_and_then_the_disk_is_well(tmp_path: Path, fault: Fault) -> None:
    with Disk(tmp_path) as disk, contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("CREATE TABLE t (a)")
        disk.planned = Planned(fault, disk.calls)
        with pytest.raises(sqlite3.OperationalError), db:
            db.execute("INSERT INTO t VALUES (1)")
        assert disk.failed == 1
        with db:
            db.execute("INSERT INTO t VALUES (2)")
        assert db.execute("SELECT a FROM t").fetchall() == [(2,)]


def test_a_write_is_torn_at_the_sectors_of_the_file() -> None:
    raw = bytes(range(256)) * 5
    pieces = Change(Call.WRITE, "f", 100, raw).sectors()
    assert b"".join(piece.raw for piece in pieces) == raw
    assert [piece.start for piece in pieces] == [100, SECTOR_BYTES, 2 * SECTOR_BYTES]
    assert Change(Call.WRITE, "f", SECTOR_BYTES, b"x").sectors() == [
        Change(Call.WRITE, "f", SECTOR_BYTES, b"x")
    ]


def test_a_power_loss_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    medium = Medium({"f": b"-" * 8})
    for change in (
        Change(Call.WRITE, "f", 0, b"AA"),
        Change(Call.SYNC, "f"),
        Change(Call.WRITE, "f", 2, b"BB"),
        Change(Call.WRITE, "f", 6, b"CC"),
    ):
        medium.apply(change)
    assert medium.after_process_crash() == {"f": b"AABB--CC"}
    left = {medium.after_power_loss(random.Random(seed))["f"] for seed in range(200)}
    assert left == {b"AA------", b"AABB----", b"AA----CC", b"AABB--CC"}


def test_a_name_is_safe_once_its_folder_was_synced() -> None:
    medium = Medium({"old": b""})
    for change in (
        Change(Call.CREATE, "log", folder=True),
        Change(Call.WRITE, "log", 0, b"1"),
        Change(Call.SYNC, "log"),
        Change(Call.DELETE, "old"),
    ):
        medium.apply(change)
    left = [medium.after_power_loss(random.Random(seed)) for seed in range(50)]
    assert {tuple(sorted(files)) for files in left} == {("log",), ("log", "old")}
    medium.apply(Change(Call.DELETE, "log", folder=True))
    assert medium.after_power_loss(random.Random(1)) == {}
