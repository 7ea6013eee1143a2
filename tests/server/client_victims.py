"""A gateway on one address that is ended and started again while a client runs on it.

Owns: when that happens, by how far the client is and the dice of a seed; a `Victim` does it.
"""

import asyncio
import contextlib
import random
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.client import Client
from tests.crash.victim import Victim

COLUMNS = "ID BIGINT, NAME STRING, AT TIMESTAMP"
POLL_S = 0.002


@contextlib.asynccontextmanager
async def victim(folder: Path, **settings: object) -> AsyncIterator[Victim]:
    """A gateway that serves, and the stream EVENTS on it; up for the block."""
    made = Victim(folder, warehouse="embedded", settings=settings)
    made.start()
    try:
        await made.ready()
        async with Client(url_of(made)) as client:
            await client.ksql(
                f"CREATE STREAM EVENTS ({COLUMNS}) WITH (kafka_topic='events', "
                "value_format='JSON', timestamp='AT');"
            )
        yield made
        complaints = made.complaints()
        assert not complaints, "\n".join(complaints)
    finally:
        made.end()


def url_of(gateway: Victim) -> str:
    """Where it answers, in all its lives."""
    return f"http://{gateway.address[0]}:{gateway.address[1]}"


def dice() -> random.Random:
    """A new seed, on the captured error stream, which a failure shows."""
    seed = secrets.randbelow(1 << 32)
    print(f"seed {seed}", file=sys.stderr)
    return random.Random(seed)


class Ending:
    """Ends the gateway ``times`` times, each when ``done`` has passed a mark by the dice, and has
    moved on since the time before: so each hits a client that was at work. ``back`` says how often
    the client has come back by then: an end is not played before it has from the one before.

    ``at``: what `done` counts up to at least. ``gently``: by SIGTERM, as an operator does.
    """

    def __init__(
        self,
        gateway: Victim,
        times: int,
        at: int,
        done: Callable[[], int],
        chance: random.Random,
        *,
        back: Callable[[], int],
        gently: bool = False,
    ) -> None:
        self.times = 0
        self.over = False
        self._gateway = gateway
        width = at // (times + 1)
        self._marks = [number * width + chance.randrange(width) for number in range(times)]
        self._done = done
        self._chance = chance
        self._back = back
        self._gently = gently

    async def run(self) -> None:
        """Until the last time is over and the gateway serves again."""
        before = 0
        for mark in self._marks:
            goal = max(mark, before)
            await until(lambda goal=goal: self._moved_past(goal))  # type: ignore[misc]
            if self._gently:
                assert await asyncio.to_thread(self._gateway.end) == 0
            else:
                await asyncio.to_thread(self._gateway.kill)
            self.times += 1
            # Sometimes long enough to be refused more than once.
            await asyncio.sleep(0.05 + (self._chance.random() < 0.3) * 0.3 * self._chance.random())
            # By now the client has taken what had come before the end.
            before = self._done()
            self._gateway.start()
            if self._chance.random() < 0.7:
                # Otherwise the next one may come while it starts.
                await self._gateway.ready()
        await self._gateway.ready()
        self.over = True

    def _moved_past(self, goal: int) -> bool:
        self._gateway.check()
        return self._done() > goal and self._back() >= self.times


async def until(holds: Callable[[], bool]) -> None:
    """Look again until it holds; the test's own deadline is its end."""
    while not holds():  # noqa: ASYNC110 - what it is about is in another process
        await asyncio.sleep(POLL_S)


def row(number: int) -> dict[str, object]:
    """The row of a number."""
    return {"ID": number, "NAME": f"row {number}", "AT": "2024-02-29T12:00:00"}


async def ids(client: Client, target: str = "EVENTS") -> list[int]:
    """The ids that are stored, in order, each as often as it is there."""
    async with client.query(f"SELECT ID FROM {target};") as query:
        return sorted([one[0] async for one in query])
