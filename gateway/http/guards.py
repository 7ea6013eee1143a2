"""Guards against peers that cost more than they give. Pure: time is an argument.

Each counts one kind of event in a sliding window and says when it is too many. Limits leave honest
clients alone: 200 resets of requests that were not answered yet in 30 s (a query that a client
closes has been answered), thousands of control frames in 10 s.
"""

from collections import deque


class RateGuard:
    """At most ``events_max`` events within ``window_s``."""

    def __init__(self, events_max: int, window_s: float) -> None:
        self._events_max = events_max
        self._window_s = window_s
        self._times: deque[float] = deque()

    def exceeded(self, now: float) -> bool:
        """Count an event at ``now``; whether that is one too many."""
        self._times.append(now)
        while self._times[0] <= now - self._window_s:
            self._times.popleft()
        return len(self._times) > self._events_max
