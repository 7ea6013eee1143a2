"""A campaign: a gateway under load, faults by plan, then the verdict.

Owns: the order of things and every deadline. The load never pauses: producers run from before the
first fault to after the last one, and end only when each row that they sent has its verdict. Then
the gateway must come to rest, is restarted in good order once more, and all rows are read back.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.crash.plan import Kill, Moment, Step
from tests.crash.producer import Habits, Producer
from tests.crash.readback import channel, declare, held, stored, unfinished
from tests.crash.report import Report
from tests.crash.victim import Victim
from tests.crash.wire import Lost, Refused
from tests.crash.witness import Stored, judge

POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """``step_s``: one fault until rows are acked again. ``rest_s``: the producers' last verdicts,
    and again until nothing is under way. ``total_s``: all of it."""

    step_s: float
    rest_s: float
    total_s: float


class Stuck(AssertionError):
    """Something did not happen within its deadline."""


class Clock:
    """When the gateway was last killed, and how long until rows were acked again after it.

    In a burst only the last kill counts: nothing could be acked between the others.
    """

    def __init__(self, life: Callable[[], int]) -> None:
        self.recoveries_s: list[float] = []
        self._life = life
        self._killed_s: float | None = None
        self._acking = asyncio.Event()
        self._committing = asyncio.Event()

    def killed(self, at_s: float) -> None:
        """The gateway is gone."""
        self._killed_s = at_s
        self._acking.clear()

    def acked(self, life: int, level: str) -> None:
        """A row got its first ack, on a connection to that life of the gateway."""
        if level != "spooled":
            self._committing.set()
        if life != self._life() or self._acking.is_set():
            return
        if self._killed_s is not None:
            self.recoveries_s.append(time.monotonic() - self._killed_s)
        self._acking.set()

    async def acking(self, within_s: float) -> None:
        """Wait until rows are acked again after the last kill. Raises `Stuck`."""
        await _happens(self._acking, "row was acked", within_s)

    async def committing(self, within_s: float) -> None:
        """Wait until a row is acked as committed, from now on. Raises `Stuck`."""
        self._committing.clear()
        await _happens(self._committing, "row was acked as committed", within_s)


async def _happens(event: asyncio.Event, what: str, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        raise Stuck(f"no {what} within {within_s} s") from None


class Campaign:
    """``outside`` reads the rows from the warehouse itself, past the gateway, where that goes;
    ``scene`` tells what goes on there, for a report of what did not end. ``renew`` makes the
    warehouse look at its published rows anew, once, if committed ones do not become queryable."""

    def __init__(
        self,
        victim: Victim,
        dice: random.Random,
        deadlines: Deadlines,
        streams: dict[str, str],
        say: Callable[[str], None],
        outside: Callable[[], Awaitable[Stored]] | None = None,
        scene: Callable[[], Awaitable[list[str]]] | None = None,
        renew: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._renew = renew
        self.victim = victim
        self.kills = 0
        self.clock = Clock(lambda: victim.lives)
        self.deadlines = deadlines
        self._dice = dice
        self._streams = streams
        self._say = say
        self._outside = outside
        self._scene = scene
        self._producers: list[Producer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(
        self,
        habits: Sequence[Habits],
        steps: Sequence[Step],
        play: Callable[[Step], Awaitable[None]],
    ) -> Report:
        """The whole of it. ``play`` does a step, with `kill` for the gateway's part in it."""
        began_s = time.monotonic()
        report = Report()
        try:
            async with asyncio.timeout(self.deadlines.total_s):
                await self._begin()
                async with self._load(habits):
                    await self._play(steps, play)
                    await self._last_verdicts(report)
                await self._rest(report)
                await self._judge(report)
        except (Stuck, AssertionError, Lost, Refused, TimeoutError) as fault:
            report.faults.append(f"{type(fault).__name__}: {fault}")
            report.scene = await self._scene() if self._scene is not None else []
        finally:
            self.victim.end()
        self._sum_up(report)
        report.seconds = time.monotonic() - began_s
        return report

    async def kill(self, kill: Kill) -> None:
        """Wait for the moment, kill the gateway, start it again."""
        if kill.moment is Moment.LOADED:
            await self.clock.acking(self.deadlines.step_s)
        await asyncio.sleep(kill.after_s)
        self.clock.killed(self.victim.kill())
        self.kills += 1
        self.victim.start()

    # ── in order ──

    async def _begin(self) -> None:
        self.victim.start()
        await self.victim.ready()
        for number, (stream, datasource) in enumerate(self._streams.items()):
            await declare(self.victim.address, stream, datasource, timed=number % 2 == 1)

    @contextlib.asynccontextmanager
    async def _load(self, habits: Sequence[Habits]) -> AsyncIterator[None]:
        for one in habits:
            dice = random.Random(self._dice.random())
            made = Producer(one, self.victim.address, dice, self._life, self.clock.acked)
            self._producers.append(made)
        self._tasks = [asyncio.create_task(producer.run()) for producer in self._producers]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _play(self, steps: Sequence[Step], play: Callable[[Step], Awaitable[None]]) -> None:
        for number, step in enumerate(steps, 1):
            self._say(f"{number}/{len(steps)} {step}")
            await self._play_one(step, play)
            self._look_after_tasks()
        await self.clock.acking(self.deadlines.step_s)

    async def _play_one(self, step: Step, play: Callable[[Step], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(self.deadlines.step_s):
                await play(step)
        except TimeoutError:
            raise Stuck(f"{step} took longer than {self.deadlines.step_s} s") from None

    async def _last_verdicts(self, report: Report) -> None:
        self._say("producers finish")
        for producer in self._producers:
            producer.stop()
        await asyncio.wait(self._tasks, timeout=self.deadlines.rest_s / 2)
        if not all(task.done() for task in self._tasks):
            await self._look_anew(report)
            await asyncio.wait(self._tasks, timeout=self.deadlines.rest_s / 2)
        self._look_after_tasks()
        waiting = {p.habits.name: (p.ledger.lowest, p.ledger.end) for p in self._producers}
        waiting = {name: ends for name, ends in waiting.items() if ends[0] < ends[1]}
        if waiting or not all(task.done() for task in self._tasks):
            raise Stuck(f"no verdict within {self.deadlines.rest_s} s: {waiting}")

    async def _rest(self, report: Report) -> None:
        """Every channel queryable to its end, and no batch under way; then a restart."""
        self._say("the gateway comes to rest")
        deadline_s = time.monotonic() + self.deadlines.rest_s
        while open_ends := await self._open_ends():
            if time.monotonic() > deadline_s - self.deadlines.rest_s / 2:
                await self._look_anew(report)
            if time.monotonic() > deadline_s:
                report.faults.append(f"Stuck: not at rest: {open_ends}")
                break
            await asyncio.sleep(POLL_S)
        report.stuck = await held(self.victim.address)
        status = self.victim.end()
        if status != 0:
            report.faults.append(f"the gateway ended with status {status} on SIGTERM")
        report.stuck += unfinished(self.victim.spool)
        self.victim.start()
        await self.victim.ready()

    async def _look_anew(self, report: Report) -> None:
        """Once, and told: Druid 27 was seen to serve a published segment that it did not show."""
        if self._renew is not None and not report.renewed:
            self._say("the warehouse is made to look at its segments anew")
            report.renewed += 1
            await self._renew()

    async def _judge(self, report: Report) -> None:
        self._say("rows are read back")
        ledgers = [producer.ledger for producer in self._producers]
        report.verdict = judge(ledgers, await stored(self.victim.address, self._streams))
        if self._outside is not None:
            report.outside = judge(ledgers, await self._outside())

    def _sum_up(self, report: Report) -> None:
        report.kills = self.kills
        report.recoveries_s = self.clock.recoveries_s
        report.complaints = self.victim.complaints()
        if report.faults and not report.stuck and self.victim.spool.exists():
            report.stuck = unfinished(self.victim.spool)
        for producer in self._producers:
            report.add_producer(producer)

    # ── looks ──

    def _life(self) -> int:
        return self.victim.lives

    def _look_after_tasks(self) -> None:
        """A producer that died, or a gateway that did, ends the campaign."""
        self.victim.check()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _open_ends(self) -> list[str]:
        """Channels that are not queryable to their end, and batches that are under way."""
        self.victim.check()
        found: list[str] = []
        for producer in self._producers:
            target, name = producer.habits.target, producer.habits.name
            stands = await channel(self.victim.address, target, name)
            end = producer.ledger.end
            found += [f"{name} {level} {n} of {end}" for level, n in stands.items() if n != end]
        return found + unfinished(self.victim.spool)
