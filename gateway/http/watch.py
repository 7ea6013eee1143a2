"""Deadlines of a connection: the preface, frames that have begun, idleness, PING while owing.

Pure but for the timer: `due` is a function of what the connection tells and of the time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from gateway.http.h2core import H2Options

_PING_EARLY = 0.75
"""A PING leaves somewhat before its time: a tick late would be a PING late."""


class Due(Enum):
    """What a tick finds to do."""

    NOTHING = auto()
    PING = auto()
    CLOSE = auto()


@dataclass(slots=True)
class Watch:
    """When things happened on a connection, in seconds of the event loop."""

    options: H2Options
    active_at: float
    began_at: float | None
    """since when a frame or a header block is unfinished; the preface counts from the start"""
    pinged_at: float = 0.0

    def due(self, now: float, *, streams: int, owes: bool) -> Due:
        """What is due at ``now``, with so many streams open, of which some owe or none."""
        options = self.options
        if self.began_at is not None and now - self.began_at > options.header_s:
            return Due.CLOSE
        if not streams and now - self.active_at > options.idle_s:
            return Due.CLOSE
        if owes and now - self.pinged_at >= options.ping_s * _PING_EARLY:
            self.pinged_at = now
            return Due.PING
        return Due.NOTHING

    @property
    def period_s(self) -> float:
        """Between two looks."""
        return min(self.options.ping_s / 4, self.options.header_s / 2, self.options.idle_s / 2, 0.5)


class Ticker:
    """Calls back again and again until it is stopped."""

    def __init__(self, period_s: float, tick: Callable[[], None]) -> None:
        self._period_s = period_s
        self._tick = tick
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._timer = asyncio.get_running_loop().call_later(self._period_s, self._run)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self.start()
        self._tick()
