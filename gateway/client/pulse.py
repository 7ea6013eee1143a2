"""Whether the other side still lives: a PING where it is silent, the end where that brings nothing.

Owns: one timer of a connection. Must never know: frames and sockets.
Law: a peer that answers anything within ``dead_after_s`` is alive, however long the event loop was
busy: silence is counted from the PING that was sent, not from the last word.
"""

import asyncio
from collections.abc import Callable


class Pulse:
    """``ping`` is called after half of ``dead_after_s`` without a word, ``dead`` after the rest."""

    def __init__(
        self, dead_after_s: float, ping: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._half_s = dead_after_s / 2
        self._ping = ping
        self._dead = dead
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._asked_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The connection is there."""
        self.heard()
        self._timer = self._loop.call_later(self._half_s, self._look)

    def heard(self) -> None:
        """Something came. Costs no timer."""
        self._last_s = self._loop.time()
        self._asked_s = None

    def stop(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now_s = self._loop.time()
        if self._asked_s is not None and now_s - self._asked_s >= self._half_s:
            self._timer = None
            self._dead()
            return
        if self._asked_s is None and now_s - self._last_s >= self._half_s:
            self._asked_s = now_s
            self._ping()
        since_s = self._last_s if self._asked_s is None else self._asked_s
        self._timer = self._loop.call_later(since_s + self._half_s - now_s, self._look)
