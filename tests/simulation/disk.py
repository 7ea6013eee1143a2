"""A disk that fails as the dice say, and the spool's writer without its thread.

Owns when a transaction is taken, when it is on disk and when it is told. The file is a real one and
so is its SQL; only its syncing is off, since durability is proven elsewhere. Must never know what
is written.

A transaction fails before it begins, at its commit, or *torn*: its commit fails in the gateway's
eyes, while what it wrote is found after a crash. A torn disk takes nothing more until that crash.
"""

import asyncio
import queue
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import SpoolWriter
from tests.simulation.chronicle import Chronicle
from tests.simulation.loop import Dice


class Fate(Enum):
    """What becomes of a transaction."""

    WRITTEN = auto()
    FAILS_AT_ONCE = auto()
    FAILS_AT_COMMIT = auto()
    TORN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFaults:
    """``single``, ``torn``: probability per transaction. ``windows``: (start, end) of failing."""

    single: float = 0.0
    torn: float = 0.0
    windows: tuple[tuple[float, float], ...] = ()
    slow_s: float = 0.1


class Disk:
    """The disk of one seed: it outlives the gateway's crashes."""

    def __init__(self, dice: Dice, chronicle: Chronicle, faults: DiskFaults) -> None:
        self.dice = dice
        self.chronicle = chronicle
        self._faults = faults
        self._torn = False
        self.on_torn: Callable[[], None] = lambda: None

    @property
    def is_torn(self) -> bool:
        """Whether it takes nothing more until the gateway crashes."""
        return self._torn

    def heal(self) -> None:
        """No faults from now on."""
        self._faults = DiskFaults(slow_s=self._faults.slow_s)

    def restarted(self) -> None:
        """The gateway has crashed: what was torn is whole or gone."""
        self._torn = False

    @property
    def slow_s(self) -> float:
        """How long a step takes at the most."""
        return self._faults.slow_s

    def fate(self) -> Fate:
        """Of the next transaction."""
        now = self.chronicle.now()
        if self._torn or any(start <= now < end for start, end in self._faults.windows):
            return self.dice.choice((Fate.FAILS_AT_ONCE, Fate.FAILS_AT_COMMIT))
        if self._faults.torn and self.dice.chance(self._faults.torn):
            self._torn = True
            self.on_torn()
            return Fate.TORN
        if self.dice.chance(self._faults.single):
            return self.dice.choice((Fate.FAILS_AT_ONCE, Fate.FAILS_AT_COMMIT))
        return Fate.WRITTEN


class FaultyFile(SpoolFile):
    """A spool file whose transactions meet their fate."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fate = Fate.WRITTEN
        self._db.execute("PRAGMA synchronous = OFF")

    def begin(self) -> None:
        """See `SpoolFile`."""
        if self.fate is Fate.FAILS_AT_ONCE:
            raise sqlite3.OperationalError("disk I/O error")
        super().begin()

    def commit(self) -> None:
        """See `SpoolFile`."""
        if self.fate is Fate.FAILS_AT_COMMIT:
            raise sqlite3.OperationalError("database or disk is full")
        super().commit()
        if self.fate is Fate.TORN:
            raise sqlite3.OperationalError("disk I/O error")


class _Bell:
    """The writer's queue, ringing when something is put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._items: deque[Any] = deque()
        self._ring = ring

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """Add an item."""
        self._items.append(item)
        self._ring()

    def get_nowait(self) -> Any:
        """Take the oldest; raises `queue.Empty`."""
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    get = get_nowait


class SimulatedWriter(SpoolWriter):
    """Takes, writes and reports groups as the thread does, by callbacks of the loop.

    Between taking and commit, and between commit and report, time passes: a crash in the one loses
    the group, in the other it leaves a group on disk that nobody was told of.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._bell = _Bell(self._rung)
        self._waiting = self._bell  # type: ignore[assignment]
        self._disk = disk
        self._file: FaultyFile | None = None
        self._taken: list[Any] = []
        self._words: deque[list[Any]] = deque()
        self._busy = False
        self._told = asyncio.Event()

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and everything is told."""
        return not self._busy and not self._words

    async def open(self) -> None:
        """See `SpoolWriter`."""
        self._loop = asyncio.get_running_loop()
        self._file = FaultyFile(self._path)
        self.spool_id = self._file.spool_id
        await asyncio.to_thread(lambda: None)

    async def close(self) -> None:
        """See `SpoolWriter`."""
        while not self.quiet:
            self._told.clear()
            await self._told.wait()
        self._let_go()

    def crash(self) -> None:
        """The process dies: the group that was being written is on disk or it is not."""
        if self._file is not None and self._taken and self._disk.dice.chance(0.5):
            self._file.fate = self._disk.fate()
            self._disk.chronicle.note(f"disk: {self._file.fate.name} at the crash")
            self._write(self._file, self._taken)
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # ── the thread that is none ──

    def _later(self, act: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_later(self._disk.dice.delay_s(self._disk.slow_s), act)

    def _rung(self) -> None:
        if not self._busy and self._file is not None:
            self._busy = True
            self._later(self._take)

    def _take(self) -> None:
        if self._file is not None:
            self._taken, _ = self._take_group()
            self._later(self._commit)

    def _commit(self) -> None:
        if self._file is None:
            return
        group, self._taken = self._taken, []
        self._file.fate = self._disk.fate()
        self._disk.chronicle.note(f"disk: {self._file.fate.name} {len(group)} items")
        self._words.append(self._write(self._file, group))
        self._later(self._tell)
        if self._bell:
            self._later(self._take)
        else:
            self._busy = False

    def _tell(self) -> None:
        words = self._words.popleft()
        if self._file is not None:
            self._report(words)
        self._told.set()
