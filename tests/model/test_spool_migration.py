"""A spool of format 1 on its way to this format, with a crash and a fault at every disk call."""

import contextlib
import gzip
import random
import shutil
from pathlib import Path

import pytest

from gateway.ingest import layout
from gateway.ingest.layout import SpoolUnusable
from gateway.ingest.spool import SpoolFile
from tests.disk.disk import Disk, Fault, Planned
from tests.disk.medium import Medium, write_out
from tests.model.spool_model import Dump, dump, read_contents

OLD = gzip.decompress((Path(__file__).parents[1] / "data" / "spool-format-1.db.gz").read_bytes())
NAME = "spool.db"


def migrated(folder: Path, planned: Planned | None = None) -> Disk:
    """Put the old spool there and open it; the disk tells what was done."""
    write_out({NAME: OLD}, folder)
    with Disk(folder, planned) as disk:
        SpoolFile(folder / NAME).close()
    return disk


def check(folder: Path, expected: Dump) -> None:
    """The spool is whole, and all in it; the folder goes."""
    with Disk(folder):
        spool = SpoolFile(folder / NAME)
        assert spool._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert spool._db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert dump(folder / NAME) == expected
        spool.close()
    shutil.rmtree(folder)


def test_an_old_spool_is_taken_over_with_all_its_rows(tmp_path: Path) -> None:
    write_out({NAME: OLD}, tmp_path / "old")
    with contextlib.closing(layout.open_to_read(tmp_path / "old" / NAME)) as db:
        stored = db.execute("SELECT sum(bytes), count(*) FROM chunk").fetchone()
        ids = db.execute("SELECT id FROM batch ORDER BY number").fetchall()
        letters = db.execute("SELECT raw FROM dead_letter ORDER BY batch, line").fetchall()
    migrated(tmp_path / "new")
    found = read_contents(tmp_path / "new" / NAME)
    assert (found.stored_bytes, len(found.chunks)) == stored
    assert [(name,) for name, _ in found.states] == ids
    assert [(letter.raw,) for letter in found.letters] == letters


def test_a_crash_at_any_disk_call_of_the_migration_costs_nothing(tmp_path: Path) -> None:
    disk = migrated(tmp_path / "sound")
    expected = dump(tmp_path / "sound" / NAME)
    medium, draw = Medium({NAME: OLD}), random.Random(1)
    for number, change in enumerate(disk.changes):
        for files in (medium.after_process_crash(), medium.after_power_loss(draw)):
            write_out(files, tmp_path / f"{number}")
            check(tmp_path / f"{number}", expected)
        medium.apply(change)


@pytest.mark.parametrize("fault", Fault)
def test_a_disk_fault_at_any_call_of_the_migration_refuses_the_start_and_costs_nothing(
    tmp_path: Path, fault: Fault
) -> None:
    disk = migrated(tmp_path / "sound")
    expected = dump(tmp_path / "sound" / NAME)
    refused = 0
    for number in range(disk.calls):
        folder = tmp_path / f"{number}"
        try:
            migrated(folder, Planned(fault, number, lasting=True))
        except SpoolUnusable as unusable:
            refused += 1
            assert str(folder / NAME) in str(unusable)  # noqa: PT017
        check(folder, expected)
    assert refused > disk.calls / 4
