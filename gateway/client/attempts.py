"""Tries of something that is taken up again: how long to wait, when to give up.

Owns: the clock of a resuming insert or query. Must never know: what is tried.
"""

import asyncio

from gateway.client.backoff import ASKED_MAX, Backoff, Then, then
from gateway.client.errors import ClientError, KsqlResponseError, ReconnectFailed, RowRefused

STEADY_S = 30.0
"""A session that lasted so long was a good one, whatever came of it."""

_NO_ROW = -1


class Attempts:
    """Failures in a row. ``max_s`` is how long they may last; None: for ever."""

    def __init__(self, max_s: float | None) -> None:
        self.trouble: ClientError | None = None
        """what is waited for to pass; None: it goes well"""
        self._max_s = max_s
        self._backoff = Backoff()
        self._trouble_since_s = 0.0
        self._due_s = 0.0
        self._began_s: float | None = None
        self._asked: tuple[int, int] = (_NO_ROW, 0)
        """the row that a doubtful refusal named last, and how often; or no row, before one began"""

    async def due(self) -> None:
        """Wait until the next try. May be cancelled and called again."""
        delay_s = self._due_s - _now_s()
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def began(self) -> None:
        """A session is open."""
        self._began_s = _now_s()
        if self._asked[0] == _NO_ROW:
            self._asked = (_NO_ROW, 0)

    def went_on(self) -> None:
        """It is getting somewhere."""
        if self.trouble is not None:
            self.trouble = None
            self._backoff.reset()

    def failed(self, failure: ClientError, unfinished: str, *, goes_on: bool = False) -> None:
        """Plan the next try. Raises `ReconnectFailed`, naming what is ``unfinished``, or the
        failure itself where it is final.

        ``goes_on``: no refused row ends anything, so that one which did is asked for again.
        """
        what = then(failure)
        if goes_on and isinstance(failure, RowRefused) and what is Then.FINAL:
            what = Then.ASK_AGAIN
        match what:
            case Then.FINAL:
                raise failure
            case Then.ASK_AGAIN:
                named = failure.seq if isinstance(failure, RowRefused) else _NO_ROW
                row, times = self._asked
                self._asked = (named, times + 1 if named == row else 1)
                if self._asked[1] >= ASKED_MAX:
                    raise failure
        now_s = _now_s()
        if self._began_s is not None and now_s - self._began_s >= STEADY_S:
            self.went_on()
        self._began_s = None
        if self.trouble is None:
            self._trouble_since_s = now_s
        self.trouble = failure
        asked_s = failure.retry_after_s if isinstance(failure, KsqlResponseError) else None
        self._due_s = now_s + self._backoff.next_s(asked_s)
        if self._max_s is not None and self._due_s - self._trouble_since_s > self._max_s:
            raise ReconnectFailed(
                f"given up after {self._max_s:g} s (reconnect_max_s): {failure}. {unfinished}"
            ) from failure


def _now_s() -> float:
    return asyncio.get_running_loop().time()
