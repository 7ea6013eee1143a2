"""One seed: a world is drawn, lives through its faults, calms down, and is looked at.

Owns the order of events: faults and crashes for a while, then none, then everything must come to
its end, then the balance. Must never know how a row is committed.
"""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.ingest.batches import BatchState
from gateway.seams import AckLevel, Intake
from tests.simulation.chronicle import Chronicle
from tests.simulation.clients import SOURCES, ChannelClient, Client, Habits, PlainClient
from tests.simulation.disk import Disk
from tests.simulation.loop import Deadlock, Dice, VirtualLoop, run_virtually, without_chance
from tests.simulation.plans import FOR_EVER, Plan, draw_plan
from tests.simulation.process import Process
from tests.simulation.rows import Book, Warehoused
from tests.simulation.warehouse import FaultyWarehouse

CALM_LIMIT_S = 1800.0
"""Virtual time within which everything must have come to its end once nothing fails any more"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a seed came to."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    rows: int
    published: int
    dead: int
    crashes: int
    tasks: int
    virtual_s: float


class World:
    """The seed's scene: implements `tests.simulation.clients.Scene`."""

    def __init__(self, dice: Dice, chronicle: Chronicle, plan: Plan, path: Path) -> None:
        self.dice = dice
        self.chronicle = chronicle
        self.plan = plan
        self.is_calm = False
        self.crashes = 0
        self.holds = Warehoused()
        self.book = Book(chronicle, self.holds)
        self.disk = Disk(dice, chronicle, plan.disk)
        self.warehouse = FaultyWarehouse(
            dice, chronicle, plan.warehouse, plan.slots, plan.task_s, self.holds
        )
        self._path = path
        self._process: Process | None = None
        self._opening: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._positions: dict[int, str] = {}
        self.clients = self._draw_clients()

    async def intake(self) -> Intake:
        """See `Scene`."""
        await self._opened.wait()
        assert self._process is not None
        return self._process.room.intake

    async def run(self) -> None:
        """The whole life."""
        loop = asyncio.get_running_loop()
        self._start()
        self.disk.on_torn = lambda: self._soon(self.dice.random() * 5.0)
        for at_s in self.plan.crashes:
            loop.call_later(at_s, self._crash)
        lives = [asyncio.ensure_future(client.live()) for client in self.clients]
        await asyncio.sleep(self.plan.wild_s)
        self._calm_down()
        await self._until(lambda: all(life.done() for life in lives) and self._is_still())
        for client, life in zip(self.clients, lives, strict=True):
            if life.done():
                life.result()
            else:
                self.chronicle.wrong(f"stuck: {client.describe()}")
        if self._process is not None:
            await self._look(self._process)
            await self._process.close()

    # ── crashes ──

    def _start(self) -> None:
        process = Process(self._path, self.disk, self.warehouse, self.chronicle, self.plan.ingest)
        self._process = process
        self._opening = asyncio.ensure_future(self._open(process))

    async def _open(self, process: Process) -> None:
        await process.open()
        self.chronicle.note("gateway: open")
        self._opened.set()

    def _soon(self, longest_s: float) -> None:
        asyncio.get_running_loop().call_later(longest_s, self._crash)

    def _crash(self) -> None:
        """The gateway dies; another one starts a little later."""
        if self._process is None or self.is_calm:
            return
        self.chronicle.note("gateway: CRASH")
        self.crashes += 1
        self._opened.clear()
        assert self._opening is not None
        self._opening.cancel()
        self._process.crash()
        self.warehouse.outlive()
        self._remember(self._process)
        self._process = None
        for client in self.clients:
            client.cut()
        self.disk.restarted()
        asyncio.get_running_loop().call_later(self.dice.delay_s(10.0), self._start)

    def _calm_down(self) -> None:
        if self.disk.is_torn:
            self._crash()
        self.chronicle.note("calm")
        self.is_calm = True
        self.warehouse.heal()
        self.disk.heal()

    # ── the end ──

    def _is_still(self) -> bool:
        process = self._process
        return (
            process is not None
            and self._opened.is_set()
            and process.is_idle
            and self.warehouse.quiet
            and not process.reader.unsealed()
            and all(batch.state is BatchState.HELD for batch in process.reader.unfinished())
        )

    async def _until(self, holds: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CALM_LIMIT_S
        while not holds() and not self.chronicle.violations:
            if loop.time() > deadline:
                self.chronicle.wrong(f"nothing came to its end within {CALM_LIMIT_S:.0f} s")
                return
            await asyncio.sleep(1.0)

    async def _look(self, process: Process) -> None:
        demand = self.chronicle.demand
        for batch in (*process.reader.unfinished(), *process.reader.refused()):
            self.chronicle.wrong(f"stuck: {batch.id} is {batch.state} ({batch.error})")
        self._remember(process)
        await self._check_log(process)
        stored = process.reader.stored_bytes()
        counted = process.room.capacity.stored_bytes
        demand(stored == counted, f"{stored} bytes are stored, {counted} are counted")
        left = {queue: list(chunks) for queue, chunks in process.room.receipts._queues.items()}
        demand(not left, f"receipts are left in chunks {left}")
        self.book.balance(self._dead_letters(), self._owed_on_channels())

    def _remember(self, process: Process) -> None:
        """A position of the log names one batch for ever, and positions come in order."""
        numbers = [number for number, _ in process.positions]
        self.chronicle.demand(numbers == sorted(set(numbers)), f"positions came as {numbers}")
        for number, batch in process.positions:
            other = self._positions.setdefault(number, batch)
            self.chronicle.demand(other == batch, f"position {number} is {other} and {batch}")

    async def _check_log(self, process: Process) -> None:
        """What is retained is dense, known by the same names, and holds what was published."""
        demand, end = self.chronicle.demand, process.log.end()
        kept = process.reader.committed_after(0, 1_000_000)
        numbers = [batch.commit_seq for batch in kept]
        first = end + 1 - len(numbers)
        demand(numbers == list(range(first, end + 1)), f"positions {numbers} up to {end}")
        for batch in kept:
            known = self._positions.get(batch.commit_seq or 0, batch.id)
            demand(known == batch.id, f"position {batch.commit_seq} is {known} and {batch.id}")
        if self.plan.ingest.retention is FOR_EVER:
            rows, position = 0, 0
            while position < end:
                for entry in await process.log.after(position):
                    rows += sum(piece.count(b"\n") for piece in entry.pieces())
                    position = entry.position
            there = len(self.holds.published)
            demand(rows == there, f"the log holds {rows} rows, {there} are published")

    def _dead_letters(self) -> list[bytes]:
        db = sqlite3.connect(self._path)
        try:
            return [bytes(raw) for (raw,) in db.execute("SELECT raw FROM dead_letter")]
        finally:
            db.close()

    def _owed_on_channels(self) -> set[int]:
        return {
            row.id
            for client in self.clients
            if isinstance(client, ChannelClient) and client.is_done
            for row in client.rows
        }

    # ── drawing ──

    def _draw_clients(self) -> list[Client]:
        dice, plan = self.dice, self.plan
        clients: list[Client] = []
        for number in range(plan.clients):
            habits = Habits(
                bad=plan.bad,
                kinds=plan.kinds,
                loses=dice.choice((0.0, 0.05, 0.2)),
                pause_s=dice.choice((0.5, 5.0, 20.0)),
            )
            is_on_channel = plan.channels and dice.chance(0.7)
            made = ChannelClient if is_on_channel else PlainClient
            name = f"{'channel' if is_on_channel else 'plain'}-{number}"
            level = dice.choice(tuple(AckLevel))
            rows = dice.randint(1, 24)
            clients.append(made(name, self, dice.choice(SOURCES), level, habits, rows))
        return clients


def _memory() -> str | None:
    """Where a file costs no disk; durability is not what is looked at here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"


@contextlib.contextmanager
def _logging_to(chronicle: Chronicle) -> Iterator[None]:
    """The gateway's log goes into the trace where one is shown, and nowhere else."""

    def show(_: Any, __: str, event: MutableMapping[str, Any]) -> Any:
        chronicle.log(" ".join(f"{key}={value}" for key, value in event.items()))
        raise structlog.DropEvent

    level = logging.DEBUG if chronicle.is_shown else logging.CRITICAL
    known = structlog.get_config()
    structlog.configure(
        processors=[show],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**known)


def simulate(seed: int, echo: Callable[[str], None] | None = None) -> Verdict:
    """Run one seed. ``echo`` gets its trace, line by line."""
    dice, chronicle = Dice(seed), Chronicle(echo)
    folder = Path(tempfile.mkdtemp(prefix="headrace-simulation-", dir=_memory()))
    loop = VirtualLoop(dice)
    chronicle.now = loop.time
    loop.set_exception_handler(lambda _, context: chronicle.wrong(_told(context)))
    try:
        with without_chance(loop, dice), _logging_to(chronicle):
            world = World(dice, chronicle, draw_plan(dice), folder / "spool.db")
            try:
                run_virtually(loop, world.run())
            except Deadlock as dead:
                chronicle.wrong(f"deadlock: {dead}")
    finally:
        shutil.rmtree(folder)
    return Verdict(
        seed=seed,
        violations=tuple(chronicle.violations),
        digest=chronicle.digest,
        rows=len(world.book.rows),
        published=len(world.holds.published),
        dead=len(world.book.failed),
        crashes=world.crashes,
        tasks=len(world.warehouse.tasks),
        virtual_s=loop.time(),
    )
