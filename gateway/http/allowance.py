"""What one insert stream takes of its principal's allowance: one of its streams, and its rows.

Rows that were taken are never refused for their rate. While the principal is in debt its streams
are not read, and a new one is refused; how long that is, is asked again and again, since other
streams of the same principal add to the debt, and limits may change. Memory: a timer a stream.
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import ExitStack

from gateway.seams import Permit, Right, Use
from protocol.errors import TooManyRequests

LOOK_S = 1.0
"""Between two looks at a debt, at the most."""

GRACE_S = 1.0
"""A new stream is taken, and held at once, where the debt is no larger: at the limit of its rate a
principal is always a little over it."""

DEBT_MAX_S = 10.0
"""How far a sender that ignores its window may run into debt before its stream is ended."""


class StreamAllowance:
    """Of one stream. ``released`` is called each time it may be read again."""

    def __init__(self, permit: Permit, released: Callable[[], None]) -> None:
        self.permit = permit
        self.debt_s = 0.0
        """for how long no more should be read, when it was last asked"""
        self._released = released
        self._uses = ExitStack()
        self._timer: asyncio.TimerHandle | None = None
        self._target: str | None = None

    def open(self, target: str) -> None:
        """One more stream, into ``target``. `close` it. Raises `TooManyRequests`."""
        self._target = target
        debt_s = self.permit.took(0, 0, _now())
        if debt_s > GRACE_S:
            raise TooManyRequests(
                f"`{self.permit.principal.name}` has sent more rows than access.limits allows: "
                f"begin another stream in {math.ceil(debt_s)} s",
                math.ceil(debt_s),
            )
        self._uses.enter_context(self.permit.using(Use.INSERT_STREAM))
        self._hold(debt_s)

    @property
    def held(self) -> bool:
        """Whether the stream is not to be read for now."""
        return self._timer is not None

    @property
    def withdrawn(self) -> bool:
        """Whether an open stream's principal may insert no more: rules change, tokens expire."""
        return self._target is not None and not self.permit.may(Right.INSERT, self._target)

    def took(self, rows: int, size_bytes: int) -> None:
        """Rows came."""
        debt_s = self.permit.took(rows, size_bytes, _now())
        if debt_s or self.debt_s:
            self._hold(debt_s)

    def close(self) -> None:
        """The stream is over. May be called twice."""
        self._target = None
        self._uses.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hold(self, debt_s: float) -> None:
        self.debt_s = debt_s
        if debt_s > 0 and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(debt_s, LOOK_S), self._look)

    def _look(self) -> None:
        self._timer = None
        self._hold(self.permit.took(0, 0, _now()))
        if not self.held:
            self._released()


def _now() -> float:
    return asyncio.get_running_loop().time()
