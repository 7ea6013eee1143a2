"""Turns: a batch that is to be submitted again waits for a slot like one that is new.

The committer gives as many turns as the warehouse has slots for.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Who waits for a slot, the one that waits longest first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], Callable[[], None]]] = deque()
        self.on_wanted: Callable[[], None] = _nothing
        """called when somebody begins to wait"""

    def __len__(self) -> int:
        return sum(not turn.done() for turn, _ in self._waiting)

    async def wait(self, given: Callable[[], None]) -> None:
        """Wait for a slot. ``given`` is called when it is, before anybody else may ask for one."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, given))
        self.on_wanted()
        await turn

    def give(self, slots: int) -> int:
        """Let so many go on; returns how many did."""
        count = 0
        while self._waiting and count < slots:
            turn, given = self._waiting.popleft()
            if not turn.done():
                given()
                turn.set_result(None)
                count += 1
        return count


def _nothing() -> None:
    """Nobody gives turns yet."""
