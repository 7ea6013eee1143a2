"""What each principal uses at once, against its limits. Pure: time is an argument.

All permits of a principal share one `Usage`, however many streams and connections it has. Laws:
rows that were taken are counted and never refused, a bucket goes into debt instead, and whoever
took them is told to pause until it is paid; a principal that uses something keeps its usage, those
of others are kept in a bounded number.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from gateway.access.rules import Matches, pattern
from gateway.access.settings import Limit
from gateway.seams import Use
from protocol.errors import TooManyRequests

BURST_S = 1.0
"""a bucket holds what may be taken in this time"""
RETRY_S = 5
"""a stream or query may have ended by then"""
IDLE_MAX = 10_000
"""principals whose buckets are remembered while they use nothing"""

NO_LIMIT = Limit()


class Bucket:
    """A token bucket that may go into debt. ``rate`` is units a second."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = rate * BURST_S
        self._at = now

    def take(self, units: int, now: float) -> float:
        """Take them; returns the seconds until the bucket is out of debt, 0 if it is."""
        passed_s = max(0.0, now - self._at)
        self._at = max(now, self._at)
        self._level = min(self.rate * BURST_S, self._level + passed_s * self.rate) - units
        return max(0.0, -self._level / self.rate)


class Usage:
    """What one principal uses. ``limit`` may change at any time and holds at once."""

    __slots__ = ("__weakref__", "_bytes", "_open", "_rows", "limit", "principal")

    def __init__(self, principal: str, limit: Limit) -> None:
        self.principal = principal
        self.limit = limit
        self._open = dict.fromkeys(Use, 0)
        self._rows: Bucket | None = None
        self._bytes: Bucket | None = None

    def using(self, use: Use) -> int:
        """How many of these are open."""
        return self._open[use]

    @contextmanager
    def one_more(self, use: Use) -> Iterator[None]:
        """Raises `TooManyRequests` on entry, where it would be one too many."""
        most = _most(self.limit, use)
        if most is not None and self._open[use] >= most:
            raise TooManyRequests(
                f"`{self.principal}` may have {most} of these open at once: {use.value}. "
                "End one, or ask for a higher limit in access.limits.",
                RETRY_S,
            )
        self._open[use] += 1
        try:
            yield
        finally:
            self._open[use] -= 1

    def took(self, rows: int, size_bytes: int, now: float) -> float:
        """Count what was taken; returns for how many seconds no more should be."""
        if self.limit.rows_per_s is None and self.limit.bytes_per_s is None:
            self._rows = self._bytes = None
            return 0.0
        self._rows = _at_rate(self._rows, self.limit.rows_per_s, now)
        self._bytes = _at_rate(self._bytes, self.limit.bytes_per_s, now)
        pause_s = self._rows.take(rows, now) if self._rows else 0.0
        return max(pause_s, self._bytes.take(size_bytes, now)) if self._bytes else pause_s


class Usages:
    """The usage of every principal that has a permit, and of those that had one lately."""

    def __init__(self, limits: Sequence[Limit] = (), idle_max: int = IDLE_MAX) -> None:
        self._idle_max = idle_max
        self._held: WeakValueDictionary[str, Usage] = WeakValueDictionary()
        """all there are: whoever holds a permit holds its usage"""
        self._lately: OrderedDict[str, Usage] = OrderedDict()
        self._limits: list[tuple[Matches, Limit]] = []
        self.set_limits(limits)

    def __len__(self) -> int:
        return len(self._held)

    def of(self, principal: str) -> Usage:
        """The one usage of that principal."""
        usage = self._held.get(principal)
        if usage is None:
            usage = self._held[principal] = Usage(principal, self._limit_of(principal))
        self._lately[principal] = usage
        self._lately.move_to_end(principal)
        if len(self._lately) > self._idle_max:
            self._lately.popitem(last=False)
        return usage

    def set_limits(self, limits: Sequence[Limit]) -> None:
        """From now on these hold, for what is open too; nothing is ended that is open."""
        self._limits = [(pattern(limit.principal), limit) for limit in limits]
        for usage in list(self._held.values()):
            usage.limit = self._limit_of(usage.principal)

    def _limit_of(self, principal: str) -> Limit:
        return next((limit for fits, limit in self._limits if fits(principal)), NO_LIMIT)


def _most(limit: Limit, use: Use) -> int | None:
    return limit.streams_max if use is Use.INSERT_STREAM else limit.push_queries_max


def _at_rate(bucket: Bucket | None, rate: int | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    return bucket if bucket and bucket.rate == rate else Bucket(rate, now)
