"""A producer: a channel of its own, rows without end, and a reconnect whatever happens.

Owns: one channel's sessions, one after the other, and how each of them starts, goes and ends, by
the dice of a seed. Must never know: which fault is being played, or when.

A row is made of its offset alone, so that it is the same whenever it is sent again. A session
starts at the lowest row without a verdict, somewhat earlier, or where the gateway says that the
channel stands. It ends well, or breaks, or is fenced off by the next one while it still sends.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from tests.crash.wire import Address, Exchange, Lost, Refused
from tests.crash.witness import Ledger

BAD_EVERY = 2503
"""One row in so many is one that the check refuses."""

UNACKED_MAX = 4000
CHUNK_ROWS_MAX = 250
EARLIER_MAX = 300
FENCED_S = 5.0
"""How long a session that was left behind is listened to."""
AGAIN_S = 0.1
WAITING = frozenset({42900, 50302, 50303, 50304})
"""Codes of a gateway that starts, ends or has no room: the producer tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What one producer does."""

    name: str
    target: str
    level: str
    goes_on: bool
    """``headrace.on_error=continue``: a bad row does not end the session"""
    pause_s: float
    """between two chunks; their size and this make its rate"""


class Line(msgspec.Struct):
    """A line of the response."""

    status: str = ""
    seq: int = -1
    duplicate: bool = False
    error_code: int = 0
    message: str = ""


@dataclass(slots=True)
class Told:
    """What sessions were told that is no verdict on a row: how often, by code or cause."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: object) -> None:
        """Once more."""
        self.counts[str(what)] = self.counts.get(str(what), 0) + 1


class Producer:
    """One channel. ``acked`` is called at each first ``ok`` of a row, with life and level."""

    def __init__(
        self,
        habits: Habits,
        address: Address,
        dice: random.Random,
        life: Callable[[], int],
        acked: Callable[[int, str], None],
    ) -> None:
        self.habits = habits
        self.told = Told()
        self.sessions = 0
        shift = dice.randrange(BAD_EVERY)
        self.ledger = Ledger(habits.name, lambda offset: offset % BAD_EVERY == shift)
        self._address = address
        self._dice = dice
        self._life = life
        self._acked = acked
        self._stopping = False
        self._fenced: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Send no new row; go on until every row that was sent has its verdict."""
        self._stopping = True

    async def run(self) -> None:
        """Sessions until `stop` and the last verdict."""
        try:
            while not (self._stopping and self.ledger.settled):
                try:
                    await self._one_session()
                except Lost as lost:
                    self.told.add(f"lost: {lost}" if self._stopping else "lost")
                except Refused as refused:
                    self._refused(refused)
                await asyncio.sleep(AGAIN_S * self._dice.random())
        finally:
            for task in self._fenced:
                task.cancel()
            await asyncio.gather(*self._fenced, return_exceptions=True)

    # ── a session ──

    async def _one_session(self) -> None:
        session = Session(self, self._life())
        await session.open(self._address, self._start())
        self.sessions += 1
        verdicts = asyncio.create_task(session.read())
        try:
            await session.write(self._dice, lambda: self._stopping)
            if session.ends_well:
                await verdicts
            elif self._dice.random() < 0.5:
                self._leave_behind(session, verdicts)
                return
        except BaseException:
            session.abort()
            raise
        finally:
            if verdicts not in self._fenced:
                session.abort()
                verdicts.cancel()
                # What it found is what ended the writing, or is in the ledger already.
                await asyncio.wait([verdicts])
                session.check(verdicts)

    def _start(self) -> int | None:
        """The offset of the next session's first row; None: where the gateway stands."""
        lowest = self.ledger.lowest
        if self._stopping:
            return lowest
        chance = self._dice.random()
        if chance < 0.25:
            return None
        if chance < 0.5:
            return max(0, lowest - self._dice.randrange(EARLIER_MAX))
        return lowest

    def _leave_behind(self, session: "Session", verdicts: asyncio.Task[None]) -> None:
        """Open the next session while this one still sends: it must be fenced off."""

        async def outlive() -> None:
            try:
                with contextlib.suppress(Lost):
                    await session.write_on(self._dice)
                await asyncio.wait([verdicts], timeout=FENCED_S)
            finally:
                session.abort()
                verdicts.cancel()

        task = asyncio.create_task(outlive())
        self._fenced |= {task, verdicts}
        task.add_done_callback(lambda _: self._fenced.difference_update({task, verdicts}))

    # ── what a session tells ──

    def verdict(self, life: int, offset: int, line: Line) -> bool:
        """A line of the response, of the row that it names; whether the session goes on."""
        if line.status == "ok":
            if self.ledger.acked(offset, duplicate=line.duplicate) and not line.duplicate:
                self._acked(life, self.habits.level)
            return True
        if line.error_code in WAITING or not self.ledger.bad(offset):
            # Not a verdict on the row: it was fenced, or the gateway has no room or stops.
            self.told.add(f"{line.error_code}: {line.message}")
            return False
        if self.habits.goes_on:
            self.ledger.refused(offset, line.message)
            return True
        self.ledger.mend(offset)
        return False

    def row(self, offset: int) -> bytes:
        """The row of an offset, always the same bytes unless it was mended."""
        number = f'"no number {offset}"' if self.ledger.bad(offset) else str(offset)
        pad = "x" * (offset * 7 % 90)
        head = f'{{"PRODUCER":"{self.habits.name}","N":{number}'
        return f'{head},"PAD":"{pad}","AT":"2024-02-29T12:00:00"}}\n'.encode()

    def _refused(self, refused: Refused) -> None:
        self.told.add(refused.code)
        if refused.code not in WAITING:
            self.ledger.violations.append(f"{self.habits.name}: refused: {refused}")


class Session:
    """One request of a producer, from its first row ``start`` on."""

    def __init__(self, producer: Producer, life: int) -> None:
        self.ends_well = False
        self._producer = producer
        self._ledger = producer.ledger
        self._life = life
        self._exchange: Exchange | None = None
        self._start = 0
        self._next = 0
        self._heard = 0
        self._over = False
        self._moved = asyncio.Event()

    async def open(self, address: Address, start: int | None) -> None:
        """Send the arguments and hear where the channel stands. Raises `Lost`, `Refused`."""
        habits = self._producer.habits
        properties: dict[str, object] = {
            "headrace.channel": habits.name,
            "headrace.ack": habits.level,
            "headrace.frames": "coalesced",
        }
        if start is not None:
            properties["headrace.offset"] = start
        if habits.goes_on:
            properties["headrace.on_error"] = "continue"
        document = {"target": habits.target, "properties": properties}
        self._exchange = await Exchange.open(address, "POST", "/inserts-stream")
        try:
            await self._exchange.send(json.dumps(document).encode() + b"\n")
            headers = await self._exchange.response()
        except BaseException:
            self.abort()
            raise
        stands_at = int(headers["headrace-next-offset"])
        self._ledger.stands_at(stands_at)
        self._start = self._next = self._heard = stands_at if start is None else start

    async def write(self, dice: random.Random, stopping: Callable[[], bool]) -> None:
        """Rows in chunks, for as long as the dice say; all that were sent before, if stopping."""
        chunks = int(dice.expovariate(1 / 40)) + 1
        while not self._over and chunks > 0 and not stopping():
            await self._send_chunk(dice, limit=None)
            await asyncio.sleep(self._producer.habits.pause_s * 2 * dice.random())
            chunks -= 1
        self.ends_well = stopping() or dice.random() < 0.3
        if self.ends_well:
            while not self._over and self._next < self._ledger.end:
                await self._send_chunk(dice, limit=self._ledger.end)
            await self._open.send(b"", end=True)

    async def write_on(self, dice: random.Random) -> None:
        """Rows that were all sent before, once the next session may be there."""
        for _ in range(10):
            if not self._over and self._next < self._ledger.end:
                await self._send_chunk(dice, limit=self._ledger.end)
            await asyncio.sleep(0.01)

    async def read(self) -> None:
        """Verdicts, to the end of the response or the connection."""
        decoder = msgspec.json.Decoder(Line)
        rest = b""
        try:
            while not self._over and (data := await self._open.receive()):
                lines, newline, rest = (rest + data).rpartition(b"\n")
                for line in decoder.decode_lines(lines + newline):
                    if not self._take(line):
                        self._over = True
                        break
                self._moved.set()
            if not self._over and self._heard < self._next:
                text = f"the response ended after {self._heard} of {self._next} rows, and no error"
                self._ledger.violations.append(f"{self._producer.habits.name}: {text}")
        finally:
            self._over = True
            self._moved.set()

    def check(self, verdicts: asyncio.Task[None]) -> None:
        """What the reading found that no producer expects is a fault of the campaign itself."""
        if verdicts.cancelled():
            return
        fault = verdicts.exception()
        if fault is not None and not isinstance(fault, Lost):
            raise fault

    def abort(self) -> None:
        """Break the connection."""
        if self._exchange is not None:
            self._exchange.abort()

    @property
    def _open(self) -> Exchange:
        assert self._exchange is not None, "it was not opened"
        return self._exchange

    async def _send_chunk(self, dice: random.Random, limit: int | None) -> None:
        end = self._next + dice.randint(1, CHUNK_ROWS_MAX)
        end = end if limit is None else min(end, limit)
        while not self._over and self._next - self._heard > UNACKED_MAX:
            self._moved.clear()
            await self._moved.wait()
        if self._over:
            return
        rows = b"".join(map(self._producer.row, range(self._next, end)))
        self._ledger.sent(self._next, end)
        self._next = end
        await self._open.send(rows)

    def _take(self, line: Line) -> bool:
        if line.seq != self._heard - self._start:
            text = f"expected seq {self._heard - self._start}, got {line}"
            self._ledger.violations.append(f"{self._producer.habits.name}: {text}")
            return False
        self._heard += 1
        return self._producer.verdict(self._life, line.seq + self._start, line)
