"""The spool against plain lists on a disk that fails: a crash, and a fault, at every disk call.

A run is a random sequence of transactions, named by its seed. Its disk calls are recorded; then,
for each of them, the folder is made again as a crash just before that call leaves it, once by the
death of the process and twice by a loss of power, and the spool must be what was promised: all that
`commit` returned for, at most the one transaction more that was being committed, and fit for use.
The faults are met live: the same run again, with each call in turn failing.

``HEADRACE_DISK_SEEDS=200`` does so many runs instead of a few, each a test with its own number.
"""

import copy
import itertools
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.ingest.layout import SpoolUnusable
from gateway.ingest.spool import SpoolFile
from tests.disk.disk import Disk, Fault, Planned
from tests.disk.medium import Medium, write_out
from tests.model.spool_model import Dump, SpoolModel, dump, read_contents
from tests.model.spool_steps import SpoolSteps

T = TypeVar("T")

SEEDS = range(int(os.environ.get("HEADRACE_DISK_SEEDS", "2")))
STEPS = 8
CHECKPOINT_PAGES = 10
"""A checkpoint every few transactions: it is where the file itself is written."""
TRIES_ON_A_BROKEN_DISK = 3
FAULTS = list(itertools.product(Fault, (False, True)))
CRASH_AFTER_FAULTS = 3
"""Every so many of the runs with a fault are also left by a crash, somewhere."""
NAME = "spool.db"


def opened(folder: Path) -> SpoolFile:
    """The spool in a folder, with checkpoints that come often."""
    spool = SpoolFile(folder / NAME)
    spool._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return spool


@dataclass
class Run:
    """A run on a disk that may fail at some call: what fails is done again, until it succeeds.

    ``models[n]`` and ``dumps[n]`` are as after the n-th commit; ``committed[k]`` is how many
    commits had returned before change ``k`` of the disk.
    """

    folder: Path
    disk: Disk
    draw: random.Random
    spool_id: str = ""
    models: list[SpoolModel] = field(default_factory=list)
    dumps: list[Dump] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    failures: int = 0

    @property
    def path(self) -> Path:
        """Of the spool."""
        return self.folder / NAME

    def go(self) -> None:
        """From the making of the spool to its closing."""
        steps = SpoolSteps(self._insist(self._open), SpoolModel())
        self.spool_id = steps.spool.spool_id
        self._note(steps.model)
        for _ in range(STEPS):
            self._insist(self._again(steps))
            self._note(steps.model)
            if not self.failures:
                assert read_contents(self.path) == steps.model.contents()
        steps.spool.close()
        self._count_changes()
        self.disk.mend()
        spool = opened(self.folder)
        assert read_contents(self.path) == steps.model.contents()
        assert spool._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        spool.close()

    def _open(self) -> SpoolFile:
        return opened(self.folder)

    def _again(self, steps: SpoolSteps) -> Callable[[], None]:
        """The next step: called again, it does the same."""
        state = self.draw.getstate()

        def step() -> None:
            self.draw.setstate(state)
            try:
                steps.any_step(self.draw)
            except sqlite3.Error:
                assert dump(self.path) == self.dumps[-1]
                steps.check_sums()
                raise

        return step

    def _insist(self, work: Callable[[], T]) -> T:
        while True:
            failed_before = self.disk.failed
            try:
                return work()
            except (SpoolUnusable, sqlite3.Error):
                assert self.disk.failed > failed_before, "the disk did nothing wrong"
                self.failures += 1
                if self.failures >= TRIES_ON_A_BROKEN_DISK:
                    self.disk.mend()

    def _note(self, model: SpoolModel) -> None:
        self._count_changes()
        self.models.append(copy.deepcopy(model))
        self.dumps.append(dump(self.path))

    def _count_changes(self) -> None:
        more = len(self.disk.changes) - len(self.committed)
        self.committed += [max(0, len(self.dumps) - 1)] * more


def run(folder: Path, seed: int, planned: Planned | None = None) -> Run:
    """Do a run in a folder that is made for it."""
    folder.mkdir()
    with Disk(folder, planned) as disk:
        done = Run(folder, disk, random.Random(seed))
        done.go()
    return done


def check_left(
    left: dict[str, bytes], folder: Path, done: Run, committed: int, *, thorough: bool
) -> None:
    """What a crash left is a spool that lost nothing, and it can be used."""
    write_out(left, folder)
    with Disk(folder):
        spool = opened(folder)
        assert spool._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert spool.spool_id == done.spool_id or committed == 0
        found = dump(folder / NAME)
        possible = range(committed, min(committed + 2, len(done.dumps)))
        at = next((n for n in possible if done.dumps[n] == found), None)
        assert at is not None, f"{found} is not {[done.dumps[n] for n in possible]}"
        steps, draw = SpoolSteps(spool, copy.deepcopy(done.models[at])), random.Random(committed)
        # A new spool may have been made, with a new id; its model has no batches yet.
        for _ in range(3 if thorough else 1):
            steps.any_step(draw)
        if thorough:
            assert read_contents(folder / NAME) == steps.model.contents()
        spool.close()
    shutil.rmtree(folder)


def check_crashes(folder: Path, done: Run, draw: random.Random, at: set[int]) -> None:
    """Crash before each of the changes ``at``; the number of changes stands for the end."""
    medium = Medium()
    committed = [*done.committed, STEPS]
    for number, change in enumerate([*done.disk.changes, None]):
        if number in at:
            left = [medium.after_process_crash()]
            left += [medium.after_power_loss(draw) for _ in range(2)]
            for way, files in enumerate(left):
                try:
                    here = folder / f"{number}-{way}"
                    check_left(files, here, done, committed[number], thorough=way == 0)
                except BaseException as failure:
                    failure.add_note(f"crash {way} before change {number}: {change}"[:200])
                    raise
        if change is not None:
            medium.apply(change)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: what is synced here is a matter of the record."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="headrace-") as made:
        yield Path(made)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_before_any_disk_call_loses_nothing_that_was_committed(
    folder: Path, seed: int
) -> None:
    done = run(folder / "run", seed)
    calls = len(done.committed)
    assert done.committed[-1] == STEPS
    check_crashes(folder, done, random.Random(seed), set(range(calls + 1)))


@pytest.mark.parametrize("seed", SEEDS[: (len(SEEDS) + 1) // 2])
def test_a_disk_fault_at_any_call_fails_a_transaction_cleanly_and_a_crash_after_it_loses_nothing(
    folder: Path, seed: int
) -> None:
    draw = random.Random(seed)
    calls = run(folder / "sound", seed).disk.calls
    failures = 0
    for number in range(calls):
        fault, lasting = FAULTS[(number + seed) % len(FAULTS)]
        here = folder / f"{number}"
        here.mkdir()
        try:
            done = run(here / "run", seed, Planned(fault, number, lasting))
            if number % CRASH_AFTER_FAULTS == 0:
                check_crashes(here, done, draw, {draw.randint(0, len(done.committed))})
        except BaseException as failure:
            failure.add_note(f"{fault} at call {number}, lasting: {lasting}")
            raise
        failures += done.failures
        shutil.rmtree(here)
    assert failures > calls / 3, "the faults did not reach the transactions"
