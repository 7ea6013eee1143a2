"""`Metrics`: the declared metrics of one gateway, as rooms count and as a scrape reads them.

A room asks once, at construction, for what it counts (`counter`, `histogram`). What is only known
by looking is a `look`: a callable that is asked when somebody scrapes, on the event loop, and must
be cheap; one that reads the disk is a `slow_look`, asked in a thread and remembered for a while.

Must never know: a room. Laws: no metric but a declared one; no label without a bound.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gateway.metrics.counting import Counter, Histogram
from gateway.metrics.declared import DECLARED, Declared, Kind

Look = Callable[[], float | Mapping[tuple[str, ...], float] | None]
"""Gives a value, or one for each combination of labels; None: not known now."""
SlowLook = Callable[[], Mapping[Declared, float | Mapping[tuple[str, ...], float]]]
"""Reads several metrics from a disk."""

OTHER = "(other)"
LABEL_VALUES_MAX = 100
"""Streams, and codes of failures, that are told apart."""
KEPT_S = 5.0
"""How long what a `slow_look` has read is taken for true."""


class Metrics:
    """One gateway's. ``targets_max`` names of streams are told apart."""

    def __init__(self, targets_max: int = LABEL_VALUES_MAX) -> None:
        self.registry = CollectorRegistry()
        self._counted: dict[Declared, Counter | Histogram] = {
            declared: Histogram(declared)
            for declared in DECLARED
            if declared.kind is Kind.HISTOGRAM
        }
        self._looks: dict[Declared, Look] = {}
        self._slow_looks: list[_Remembered] = []
        self._bounded: dict[str, _Names] = {
            "target": _Names(targets_max),
            "code": _Names(LABEL_VALUES_MAX),
        }
        self.registry.register(_Declared(self))

    # ── for rooms ──

    def counter(self, declared: Declared) -> Counter:
        """What counts it; of a room that asks twice it is the same."""
        found = self._counted.get(declared)
        if found is None:
            assert declared.kind is Kind.COUNTER, f"{declared.name} is no counter"
            found = self._counted[declared] = Counter(declared)
        assert isinstance(found, Counter)
        return found

    def histogram(self, declared: Declared) -> Histogram:
        """What observes it."""
        found = self._counted[declared]
        assert isinstance(found, Histogram)
        return found

    def look(self, declared: Declared, look: Look) -> None:
        """Ask ``look`` for it when somebody scrapes. A gauge, or a counter that is kept elsewhere.

        A later look takes the place of an earlier one.
        """
        self._looks[declared] = look

    def slow_look(self, look: SlowLook) -> None:
        """Ask ``look`` in a thread, for several at once."""
        self._slow_looks.append(_Remembered(look))

    def target(self, stream: str) -> str:
        """The label of a stream: its name, or ``(other)`` past so many."""
        return self._bounded["target"].label(stream)

    def code(self, code: str) -> str:
        """The label of a failure's code, bounded likewise."""
        return self._bounded["code"].label(code)

    # ── for readers ──

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """A scrape's body and media type, by the request's ``accept``: text or OpenMetrics."""
        await self._refresh()
        encode, media_type = choose_encoder(accept)
        # Values are read on the event loop, where rooms change them; the text is made in a thread.
        families = _Collected(self.registry.collect())
        return await asyncio.to_thread(encode, families), media_type

    def samples(self, declared: Declared) -> list[Sample]:
        """Its samples now: those of a histogram are its ``_bucket``, ``_sum`` and ``_count``."""
        return self.family(declared).samples

    def total(self, declared: Declared, **labels: str) -> float:
        """The sum of a counter's or gauge's values that carry these labels."""
        found = (one for one in self.samples(declared) if labels.items() <= one.labels.items())
        return sum(sample.value for sample in found)

    def buckets(self, declared: Declared, **labels: str) -> dict[float, float]:
        """A histogram's upper bounds (seconds, bytes, …) → observations up to each, summed over
        what carries these labels; the last bound is infinity."""
        sums: dict[float, float] = {}
        for sample in self.samples(declared):
            if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items():
                bound = float(sample.labels["le"])
                sums[bound] = sums.get(bound, 0.0) + sample.value
        return sums

    def family(self, declared: Declared) -> Family:
        """All of its samples; a counter nobody counts yet stands at 0."""
        counted = self._counted.get(declared)
        if counted is not None:
            return counted.family()
        found = self._looked(declared)
        if found is None and declared.kind is Kind.COUNTER and not declared.labels:
            found = 0.0
        family = CounterMetricFamily if declared.kind is Kind.COUNTER else GaugeMetricFamily
        made = family(declared.name, declared.help, labels=declared.labels)
        if found is not None:
            values: Mapping[tuple[str, ...], float]
            values = found if isinstance(found, Mapping) else {(): found}
            for labels, value in values.items():
                made.add_metric(labels, value)
        return made

    async def _refresh(self) -> None:
        await asyncio.gather(*(look.refresh() for look in self._slow_looks))

    def _looked(self, declared: Declared) -> float | Mapping[tuple[str, ...], float] | None:
        look = self._looks.get(declared)
        if look is not None:
            return look()
        for remembered in self._slow_looks:
            if declared in remembered.found:
                return remembered.found[declared]
        return None

    def watch_process(self) -> None:
        """Tell of the process too: its memory, processor time, files, and garbage collections."""
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value that ``share`` of the observations do not exceed, as Prometheus estimates it.

    ``buckets`` as `Metrics.buckets` gives them, or the difference of two. None without any.
    """
    bounds = sorted(buckets)
    count = buckets[bounds[-1]] if bounds else 0.0
    if count <= 0:
        return None
    rank, low, below = share * count, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return low
            inside = buckets[bound] - below
            return low + (bound - low) * ((rank - below) / inside if inside else 1.0)
        low, below = bound, buckets[bound]
    return low


class _Names:
    """The first so many names; whoever comes later is one of the others."""

    def __init__(self, names_max: int) -> None:
        self._names: set[str] = set()
        self._names_max = names_max

    def label(self, name: str) -> str:
        if name in self._names:
            return name
        if len(self._names) >= self._names_max:
            return OTHER
        self._names.add(name)
        return name


class _Remembered:
    """What a slow look has read, and when."""

    def __init__(self, look: SlowLook) -> None:
        self.found: Mapping[Declared, float | Mapping[tuple[str, ...], float]] = {}
        self._look = look
        self._at = float("-inf")
        self._reading: asyncio.Future[None] | None = None

    async def refresh(self) -> None:
        """Read again if it is old. Who comes while it is being read waits for the same."""
        if time.monotonic() - self._at < KEPT_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            self.found = await asyncio.to_thread(self._look)
        except Exception:  # noqa: BLE001 - a disk at fault must not take all other metrics away
            self.found = {}
        self._at = time.monotonic()


class _Declared(Collector):
    """All that is declared, in its order."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Family]:
        """Nothing is looked at when it is registered."""
        return []

    def collect(self) -> Iterator[Family]:
        """See `prometheus_client.registry.Collector`."""
        return map(self._metrics.family, DECLARED)


class _Collected(Collector):
    """Families as they were at one moment, for an encoder."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> list[Family]:
        """See `prometheus_client.registry.Collector`."""
        return self._families


def one_of(values: Iterable[str], current: str) -> dict[tuple[str, ...], float]:
    """A gauge with a label of states: 1 for the one that it is in."""
    return {(value,): float(value == current) for value in values}
