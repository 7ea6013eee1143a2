"""What rooms count with: plain numbers, which become samples when somebody asks for them.

A chunk of rows is counted five times on the event loop. With prometheus_client's own counters, a
lock and five calls for each, that was a twentieth of all that a chunk of one row costs there.

Laws: nothing waits here; one combination of labels is counted by one thread, any may read it; a
metric with labels has no value of its own, and to count it without them is an AttributeError.
"""

from bisect import bisect_left
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from gateway.metrics.declared import Declared


class Counter:
    """Counts up. With labels it is a family: `labels` gives what counts."""

    __slots__ = ("_children", "_declared", "value")

    def __init__(self, declared: Declared, *, is_child: bool = False) -> None:
        self._declared = declared
        self._children: dict[tuple[str, ...], Counter] = {}
        if is_child or not declared.labels:
            self.value = 0.0

    def labels(self, *values: str) -> "Counter":
        """What counts for these values of its labels, in the order that they are declared in."""
        found = self._children.get(values)
        if found is None:
            _require(self._declared, values)
            found = self._children.setdefault(values, Counter(self._declared, is_child=True))
        return found

    def inc(self, amount: float = 1) -> None:
        """So much more, not below 0."""
        self.value += amount

    def family(self) -> CounterMetricFamily:
        """Its samples now."""
        declared = self._declared
        made = CounterMetricFamily(declared.name, declared.help, labels=declared.labels)
        for values, child in list(self._children.items()):
            made.add_metric(values, child.value)
        if not declared.labels:
            made.add_metric((), self.value)
        return made


class Histogram:
    """Counts values by the buckets they fall into. With labels it is a family, as `Counter`."""

    __slots__ = ("_bounds", "_children", "_counts", "_declared", "_sum")

    def __init__(self, declared: Declared, *, is_child: bool = False) -> None:
        self._declared = declared
        self._bounds = declared.buckets
        self._children: dict[tuple[str, ...], Histogram] = {}
        if is_child or not declared.labels:
            self._counts = [0] * (len(declared.buckets) + 1)
            self._sum = 0.0

    def labels(self, *values: str) -> "Histogram":
        """See `Counter.labels`."""
        found = self._children.get(values)
        if found is None:
            _require(self._declared, values)
            found = self._children.setdefault(values, Histogram(self._declared, is_child=True))
        return found

    def observe(self, amount: float) -> None:
        """One value; a bucket holds those up to its bound, itself included."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def buckets(self) -> list[tuple[float, int]]:
        """Each upper bound, the last one infinity, and how many values do not exceed it."""
        return list(zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True))

    def family(self) -> HistogramMetricFamily:
        """Its samples now."""
        declared = self._declared
        made = HistogramMetricFamily(declared.name, declared.help, labels=declared.labels)
        children = [((), self)] if not declared.labels else list(self._children.items())
        for values, child in children:
            buckets = [(_spelt(bound), count) for bound, count in child.buckets()]
            made.add_metric(values, buckets, child._sum)
        return made


def _require(declared: Declared, values: tuple[str, ...]) -> None:
    if not declared.labels or len(values) != len(declared.labels):
        raise ValueError(f"{declared.name} has the labels {declared.labels}, not {values}")


def _spelt(bound: float) -> str:
    spelt: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return spelt
