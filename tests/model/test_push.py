"""Subscriptions against a list: any interleaving of rows, batches, readers, resumes and restarts.

Real spool files, the real query room; a seed decides what happens next. What a reader must get is
worked out from the list alone: the rows of its stream in the order of its level, from where it
started, that pass its WHERE, each once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.ingest.entries import BatchRecord, ChunkRecord
from gateway.query import evaluations
from gateway.query.mailbox import MailboxLimits
from gateway.query.push import SubscriptionLimits
from tests.push_house import DEADLINE_S, PushHouse, Reader, numbered, push_house

STREAMS = ("S", "T")
SEEDS = 25
STEPS = 60
SENTINEL = 1_000_000

STATEMENTS: dict[str, Callable[[int], bool]] = {
    "SELECT A FROM {} EMIT CHANGES;": lambda n: True,
    "SELECT A, S FROM {} WHERE A % 3 = 1 EMIT CHANGES;": lambda n: n % 3 == 1,
    "SELECT A FROM {} WHERE A > 999999 EMIT CHANGES;": lambda n: n > 999_999,
}


@dataclass
class Expected:
    """A reader and what it has to get."""

    reader: Reader
    stream: str
    passes: Callable[[int], bool]
    log: list[tuple[str, int]]
    """the order of its level, which goes on growing"""
    start: int
    """how much of it there was when a latest reader came; 0 for earliest"""

    def numbers(self) -> list[int]:
        rows = self.log[self.start :]
        return [n for name, n in rows if name == self.stream and self.passes(n)]

    def check(self) -> None:
        got, due = self.reader.numbers, self.numbers()
        assert got == due[: len(got)]


class World:
    """The house, and the lists that say what it must do."""

    def __init__(self, house: PushHouse, seed: int) -> None:
        self.house = house
        self.dice = random.Random(seed)
        self.next_number = 0
        self.spooled: list[tuple[str, int]] = []
        self.committed: list[tuple[str, int]] = []
        self.unsealed: dict[str, list[tuple[ChunkRecord, list[int]]]] = {s: [] for s in STREAMS}
        self.sealed: list[tuple[str, BatchRecord, list[int]]] = []
        self.readers: list[Expected] = []

    # ── what may happen ──

    async def write(self) -> None:
        name = self.dice.choice(STREAMS)
        count = self.dice.choice((1, 2, 5, 30))
        numbers = list(range(self.next_number, self.next_number + count))
        self.next_number += count
        chunk = self.house.write(name, numbered(numbers[0], count))
        self.unsealed[name].append((chunk, numbers))
        self.spooled += [(name, n) for n in numbers]

    async def seal(self) -> None:
        name = self.dice.choice(STREAMS)
        waiting = self.unsealed[name]
        if not waiting:
            return
        taken = waiting[: self.dice.randint(1, len(waiting))]
        del waiting[: len(taken)]
        numbers = [n for _, several in taken for n in several]
        batch = self.house.seal([chunk for chunk, _ in taken])
        if len(numbers) > 1 and self.dice.random() < 0.3:
            cut = self.dice.randrange(1, len(numbers))
            first, second = self.house.split(batch, cut)
            self.sealed += [(name, first, numbers[:cut]), (name, second, numbers[cut:])]
        else:
            self.sealed.append((name, batch, numbers))

    async def commit(self) -> None:
        if not self.sealed:
            return
        at = self.dice.randrange(len(self.sealed))
        name, batch, numbers = self.sealed.pop(at)
        dead = self.dice.randint(1, len(numbers)) if self.dice.random() < 0.2 else None
        self.house.commit(batch, dead)
        if dead is not None:
            del numbers[dead - 1]
        self.committed += [(name, n) for n in numbers]

    async def come(self) -> None:
        if len(self.readers) >= 8:
            return
        sql, passes = self.dice.choice(list(STATEMENTS.items()))
        name = self.dice.choice(STREAMS)
        level = self.dice.choice(("committed", "spooled"))
        offset = self.dice.choice(("latest", "earliest"))
        log = self.committed if level == "committed" else self.spooled
        properties = {"auto.offset.reset": offset, "headrace.push.at": level}
        reader = Reader(self.house, sql.format(name), properties)
        start = 0 if offset == "earliest" else len(log)
        await reader.connect()
        self.readers.append(Expected(reader, name, passes, log, start))

    async def read(self) -> None:
        """Someone takes some of what is due, and never waits for what is not."""
        if not self.readers:
            return
        one = self.dice.choice(self.readers)
        if one.reader.running is None:
            await one.reader.connect()
        for _ in range(self.dice.randint(1, 6)):
            if len(one.reader.numbers) >= len(one.numbers()):
                break
            assert await one.reader.take()
        one.check()

    async def leave(self) -> None:
        if self.readers:
            await self.dice.choice(self.readers).reader.disconnect()

    async def restart(self) -> None:
        for one in self.readers:
            await one.reader.disconnect()
        await self.house.restart()

    # ── the end ──

    async def finish(self) -> None:
        """Commit everything, then a last row of each stream, and read up to it."""
        for name in STREAMS:
            chunk = self.house.write(name, numbered(SENTINEL, 1))
            self.unsealed[name].append((chunk, [SENTINEL]))
            self.spooled.append((name, SENTINEL))
        for name in STREAMS:
            while self.unsealed[name]:
                chunk, numbers = self.unsealed[name].pop(0)
                self.sealed.append((name, self.house.seal([chunk]), numbers))
        for name, batch, numbers in self.sealed:
            self.house.commit(batch)
            self.committed += [(name, n) for n in numbers]
        for one in self.readers:
            if one.reader.running is None:
                await one.reader.connect()
            if SENTINEL not in one.reader.numbers:
                await one.reader.take_until(SENTINEL)
            got, due = one.reader.numbers, one.numbers()
            assert got == due, (one.reader.sql, one.reader.properties, set(got) ^ set(due))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows fill a part, a few more a block: every cut is met."""
    monkeypatch.setattr(evaluations, "PART_BYTES", 24)
    monkeypatch.setattr(evaluations, "BLOCK_BYTES", 160)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_reader_gets_each_row_of_its_stream_once_in_the_order_of_its_level(
    tmp_path: Path, seed: int
) -> None:
    limits = SubscriptionLimits(
        mailbox=MailboxLimits(rows=12, size_bytes=64), slow_reader_s=DEADLINE_S, token_s=0.001
    )
    async with push_house(tmp_path / "spool.db", limits) as house:
        world = World(house, seed)
        actions = (
            [world.write] * 6 + [world.seal] * 4 + [world.commit] * 4 + [world.come] * 3
            + [world.read] * 8 + [world.leave] * 2 + [world.restart]
        )  # fmt: skip
        for _ in range(STEPS):
            await world.dice.choice(actions)()
        await world.finish()
        for one in world.readers:
            await one.reader.disconnect()
