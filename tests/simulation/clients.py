"""Clients: streams of rows that come and go, on channels and without.

Owns what a client knows: its rows, how far it was acked, its connections. It talks to the intake
like the front door does: rows below the stream's ``duplicates`` are not appended. Must never know
what lies behind the intake.

A client without a channel never sends a row again. One on a channel goes on, after whatever cut it
off, from where it was acked, from somewhere before, or from where the gateway says it stands; and
sometimes an older connection of it still sends.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from gateway.seams import (
    AckLevel,
    ChannelClaim,
    InsertSpec,
    Intake,
    IntakeStream,
    Source,
    SourceKind,
    SpoolFull,
)
from protocol.errors import BadRequest, InternalError, RowRejected, SpoolAway
from protocol.types import BIGINT, STRING, Column
from tests.simulation.chronicle import Chronicle
from tests.simulation.loop import Dice
from tests.simulation.rows import Book, Kind, Row
from tests.simulation.sinks import Sink, is_appended

COLUMNS = (Column("A", BIGINT), Column("S", STRING))
SOURCES = tuple(
    Source(
        name=name,
        kind=SourceKind.STREAM,
        columns=COLUMNS,
        spec=InsertSpec(datasource=datasource, columns=COLUMNS),
    )
    for name, datasource in (("S", "ds"), ("T", "other"))
)
LINGER_S = 30.0
"""How long a client waits for acks at the most before it gives a connection up, while it is wild"""


class Scene(Protocol):
    """The world as a client sees it."""

    dice: Dice
    chronicle: Chronicle
    book: Book
    is_calm: bool
    """no client loses a connection any more"""

    async def intake(self) -> Intake:
        """The door of the gateway that runs, once one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """``bad``: probability of a row that is at fault, by ``kinds``; the rest per connection."""

    bad: float
    kinds: tuple[Kind, ...]
    loses: float
    pause_s: float
    rows_max: int = 4


class Connection:
    """A stream that is open, and what the front door does with its rows."""

    def __init__(self, stream: IntakeStream, sink: Sink) -> None:
        self.sink = sink
        self._stream = stream
        self.duplicates = stream.duplicates
        self.next_offset = stream.next_offset

    def send(self, rows: list[Row]) -> None:
        """Hand rows over as they come: refused ones alone, the others in one piece."""
        run: list[Row] = []
        for row in rows:
            if not is_appended(row) or len(self.sink.rows) < self.duplicates:
                self._append(run)
                run = []
                self._one(row)
            else:
                run.append(row)
                self.sink.rows.append(row)
        self._append(run)

    def lose(self) -> None:
        """The connection is gone."""
        self.sink.deaf = True
        self._stream.close()

    def _one(self, row: Row) -> None:
        seq = len(self.sink.rows)
        self.sink.rows.append(row)
        if seq >= self.duplicates:
            rejected = RowRejected("a STRING is no BIGINT", 40000)
            self._stream.refuse(seq, row.raw, rejected, len(row.raw))

    def _append(self, run: list[Row]) -> None:
        if run:
            raw = b"".join(row.raw for row in run)
            self._stream.append(len(self.sink.rows) - len(run), len(run), raw, len(raw))


class Client:
    """What both kinds have in common: one connection task that a crash cuts off."""

    def __init__(self, name: str, scene: Scene, source: Source, level: AckLevel, habits: Habits):
        self.name = name
        self.is_done = False
        self.scene = scene
        self.source = source
        self.level = level
        self.habits = habits
        self._connection: asyncio.Task[None] | None = None
        self._open: list[Connection] = []
        self._count = 0

    def cut(self) -> None:
        """The gateway is gone, and every connection with it."""
        for connection in self._open:
            connection.sink.deaf = True
        self._open = []
        if self._connection is not None:
            self._connection.cancel()

    async def live(self) -> None:
        """Connect again and again until everything is done."""
        dice = self.scene.dice
        await asyncio.sleep(dice.random() * 5.0)
        while not self.is_done:
            self._connection = asyncio.ensure_future(self._connect())
            await asyncio.wait({self._connection})
            if not self._connection.cancelled():
                self._connection.result()
            self._connection = None
            await asyncio.sleep(dice.delay_s(5.0))

    def describe(self) -> str:
        """What it still waits for."""
        owed = {connection.sink.name: connection.sink.owed for connection in self._open}
        return f"{self.name} waits for {owed}"

    async def _connect(self) -> None:
        raise NotImplementedError

    async def _opened(self, channel: ChannelClaim | None = None) -> Connection | None:
        """A stream, or None where the gateway has no room or no disk now. Raises `BadRequest`."""
        intake = await self.scene.intake()
        self._count += 1
        name = f"{self.name}.{self._count}"
        sink = Sink(name, self.level, self.scene.book, self.scene.chronicle)
        try:
            stream = await intake.open_stream(self.source, self.level, sink, channel)
        except (SpoolFull, SpoolAway, InternalError) as refused:
            self.scene.chronicle.note(f"{name} is not opened: {refused}")
            return None
        connection = Connection(stream, sink)
        self._open.append(connection)
        self.scene.chronicle.note(
            f"{name} opened at {stream.next_offset}, {connection.duplicates} duplicates"
        )
        return connection

    def _close(self, connection: Connection) -> None:
        self.scene.chronicle.note(f"{connection.sink.name} closes")
        connection.lose()
        if connection in self._open:
            self._open.remove(connection)

    def _draw(self, *, on_channel: bool) -> Row:
        dice, habits = self.scene.dice, self.habits
        bad = habits.kinds and dice.chance(habits.bad)
        kind = dice.choice(habits.kinds) if bad else Kind.GOOD
        return self.scene.book.new(kind, on_channel=on_channel)

    async def _heard_all(self, sink: Sink) -> None:
        """Until every row that was sent has its word; a wild client does not wait for ever."""
        changed = asyncio.Event()
        sink.on_word = changed.set
        loop = asyncio.get_running_loop()
        patience = loop.time() + self.scene.dice.random() * LINGER_S
        while sink.owed and not (sink.is_stopped and not self.scene.is_calm):
            if loop.time() > patience and not self.scene.is_calm:
                return
            changed.clear()
            try:
                async with asyncio.timeout(5.0):
                    await changed.wait()
            except TimeoutError:
                continue


class PlainClient(Client):
    """Sends each of its rows once, on as many connections as it takes."""

    def __init__(
        self,
        name: str,
        scene: Scene,
        source: Source,
        level: AckLevel,
        habits: Habits,
        rows: int,
    ):
        super().__init__(name, scene, source, level, habits)
        self._left = rows

    async def _connect(self) -> None:
        dice, habits = self.scene.dice, self.habits
        connection = await self._opened()
        if connection is None:
            return
        sink = connection.sink
        while self._left and not sink.is_over:
            count = min(self._left, dice.randint(1, habits.rows_max))
            self._left -= count
            connection.send([self._draw(on_channel=False) for _ in range(count)])
            await asyncio.sleep(dice.delay_s(habits.pause_s))
            if dice.chance(habits.loses) and not self.scene.is_calm:
                break
        else:
            await self._heard_all(sink)
        self._close(connection)
        self.is_done = not self._left


class ChannelClient(Client):
    """Sends every row until it knows what became of it."""

    def __init__(
        self,
        name: str,
        scene: Scene,
        source: Source,
        level: AckLevel,
        habits: Habits,
        rows: int,
    ):
        super().__init__(name, scene, source, level, habits)
        self.rows = [self._draw(on_channel=True) for _ in range(rows)]
        self.done_to = 0
        """rows below are acked, or told to have failed: the gateway has them all"""
        self._sent_to = 0
        self._zombie: Connection | None = None

    async def _connect(self) -> None:
        if self.scene.dice.chance(0.1):
            await self._try_a_gap()
        offset = self._start()
        connection = await self._opened(ChannelClaim(name=self.name, offset=offset))
        if connection is None:
            return
        stands = self._check_stand(connection, offset)
        at = stands if offset is None else offset
        connection.sink.duplicates = self.rows[at:stands]
        await self._send_from(at, connection)
        sink = connection.sink
        self.done_to = max(self.done_to, at + sink.acked_to if at <= self.done_to else 0)
        self.is_done = self.done_to == len(self.rows)
        if not self.is_done and self.scene.dice.chance(0.2) and not sink.is_over:
            self._let_wander(connection, at)
        else:
            self._close(connection)

    def _start(self) -> int | None:
        """From where it was acked, from somewhere before, or from where the gateway stands."""
        dice = self.scene.dice
        if self.scene.is_calm:
            return self.done_to
        return dice.choice((self.done_to, self.done_to, dice.randint(0, self.done_to), None))

    def _check_stand(self, connection: Connection, offset: int | None) -> int:
        demand, sink = self.scene.chronicle.demand, connection.sink
        stands: int = connection.next_offset or 0
        demand(
            self.done_to <= stands <= self._sent_to,
            f"{sink.name}: stands at {stands}, acked to {self.done_to}, sent to {self._sent_to}",
        )
        older = self._zombie
        if older is not None and older in self._open:
            demand(older.sink.is_over, f"{sink.name} is open, and {older.sink.name} not fenced")
        expected = 0 if offset is None else stands - offset
        demand(
            connection.duplicates == expected,
            f"{sink.name}: {connection.duplicates} duplicates from {offset} to {stands}",
        )
        return stands

    async def _send_from(self, at: int, connection: Connection) -> None:
        dice, habits, sink = self.scene.dice, self.habits, connection.sink
        while at < len(self.rows) and not sink.is_over:
            end = min(len(self.rows), at + dice.randint(1, habits.rows_max))
            connection.send(self.rows[at:end])
            at = end
            self._sent_to = max(self._sent_to, end)
            await asyncio.sleep(dice.delay_s(habits.pause_s))
            if dice.chance(habits.loses) and not self.scene.is_calm:
                return
        await self._heard_all(sink)

    async def _try_a_gap(self) -> None:
        """A start above the next offset is refused, whatever else is wrong."""
        above = self._sent_to + self.scene.dice.randint(1, 3)
        try:
            connection = await self._opened(ChannelClaim(name=self.name, offset=above))
        except BadRequest as refused:
            self.scene.chronicle.note(f"{self.name}: {refused}")
            return
        if connection is not None:
            self.scene.chronicle.wrong(f"{self.name}: a start at {above} is above, and was taken")
            self._close(connection)

    def _let_wander(self, connection: Connection, first: int) -> None:
        """The client has lost it, the gateway has not: it sends on while a newer one comes."""
        if self._zombie is not None:
            self._close(self._zombie)
        self._zombie = connection
        loop, dice = asyncio.get_running_loop(), self.scene.dice
        for _ in range(dice.randint(1, 3)):
            loop.call_later(dice.random() * 8.0, self._wander, connection, first)

    def _wander(self, connection: Connection, first: int) -> None:
        at = first + len(connection.sink.rows)
        if connection in self._open and at < len(self.rows):
            end = min(len(self.rows), at + 2)
            connection.send(self.rows[at:end])
            self._sent_to = max(self._sent_to, end)
