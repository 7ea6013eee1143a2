"""An event loop on virtual time: nobody waits, the clock jumps to what comes next.

Owns time, wall time, and the threads that are none: what is handed to a thread runs inline, and its
result is delivered after a delay that the dice draw. Must never know what runs in it.

Laws:
1. No real waiting, no real descriptor, no real thread: the same dice give the same run.
2. If nothing is left to happen, it is a deadlock, and is raised as one.
"""

import asyncio
import contextlib
import random
import secrets
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

WALL_START_S = 1_700_000_000.0


class Deadlock(Exception):
    """Nothing is left that could happen, and somebody waits."""


class Dice(random.Random):
    """The one source of chance of a seed."""

    def chance(self, probability: float) -> bool:
        """Whether it happens."""
        return self.random() < probability

    def delay_s(self, longest_s: float) -> float:
        """None at all, short or long: each is where other things slip in between."""
        kind = self.random()
        if kind < 0.4:
            return 0.0
        return self.random() * (longest_s if kind > 0.85 else longest_s / 20)


class _NoWires(selectors.SelectSelector):
    """A selector without descriptors: to wait for a time is to be there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Move the clock on. Raises `Deadlock`."""
        if timeout is None:
            raise Deadlock("nothing is left to happen")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop of one seed."""

    THREAD_S = 0.2

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._wires = _NoWires()
        super().__init__(self._wires)
        # Timers this close are due together: far out, two moments of a float lie further apart
        # than a clock's usual resolution, and a timer would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Seconds since the seed began."""
        return self._wires.now

    def wall_s(self) -> float:
        """What the wall clock shows."""
        return WALL_START_S + self._wires.now

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Run it now or a little later, and deliver the result later still."""
        future: asyncio.Future[T] = self.create_future()
        started_s = self._dice.delay_s(self.THREAD_S)

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - it belongs to who awaits the future
                self.call_later(delivered_s(), _break, future, error)
            else:
                self.call_later(delivered_s(), _deliver, future, result)

        def delivered_s() -> float:
            return self._dice.delay_s(self.THREAD_S)

        if started_s:
            self.call_later(started_s, run)
        else:
            run()
        return future

    # What a loop has to wake it from other threads and from signals: here there are none.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _deliver(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _break(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@contextlib.contextmanager
def without_chance(loop: VirtualLoop, dice: Dice) -> Iterator[None]:
    """Whoever asks for the time, a random number or a secret gets the seed's."""
    known = random.getstate()
    random.seed(dice.random())

    def secret(size: int = 8) -> str:
        return f"{dice.getrandbits(8 * size):0{2 * size}x}"

    try:
        with (
            mock.patch.object(time, "time", loop.wall_s),
            mock.patch.object(secrets, "token_hex", secret),
        ):
            yield
    finally:
        random.setstate(known)


def run_virtually(loop: VirtualLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end and close the loop. Raises `Deadlock`."""
    try:
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
