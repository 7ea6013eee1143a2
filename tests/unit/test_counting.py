"""What rooms count with says what prometheus_client's own metrics would say of the same counts."""

import threading

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from gateway.metrics.counting import Counter, Histogram
from gateway.metrics.declared import Declared, Kind

COUNTER = Declared("rows_total", Kind.COUNTER, "Rows", ("target", "level"))
BARE_COUNTER = Declared("tasks_total", Kind.COUNTER, "Tasks")
BOUNDS = (0.0005, 0.001, 0.25, 1.0, 900.0, float(1 << 26))
HISTOGRAM = Declared("wait_seconds", Kind.HISTOGRAM, "Waits", ("level",), buckets=BOUNDS)
BARE_HISTOGRAM = Declared("write_seconds", Kind.HISTOGRAM, "Writes", buckets=BOUNDS)

names = st.sampled_from(["A", "B", '"quoted"\n'])
amounts = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 1e9))


class One(Collector):
    """What one of ours says."""

    def __init__(self, counting: Counter | Histogram) -> None:
        self._counting = counting

    def collect(self) -> list[prometheus_client.Metric]:
        return [self._counting.family()]


def said_by(collector: Collector | MetricWrapperBase) -> bytes:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).splitlines()
    return b"\n".join(line for line in lines if b"_created" not in line)


@given(st.lists(st.tuples(names, names, st.integers(0, 1 << 40))))
def test_counters_say_what_those_of_prometheus_say(counts: list[tuple[str, str, int]]) -> None:
    ours = Counter(COUNTER)
    theirs = prometheus_client.Counter(COUNTER.name, COUNTER.help, COUNTER.labels, registry=None)
    for target, level, rows in counts:
        ours.labels(target, level).inc(rows)
        theirs.labels(target, level).inc(rows)
    assert said_by(One(ours)) == said_by(theirs)


@given(st.lists(st.tuples(names, amounts)))
def test_histograms_say_what_those_of_prometheus_say(observed: list[tuple[str, float]]) -> None:
    ours, bare = Histogram(HISTOGRAM), Histogram(BARE_HISTOGRAM)
    theirs = prometheus_client.Histogram(
        HISTOGRAM.name, HISTOGRAM.help, HISTOGRAM.labels, buckets=BOUNDS, registry=None
    )
    their_bare = prometheus_client.Histogram(
        BARE_HISTOGRAM.name, BARE_HISTOGRAM.help, buckets=BOUNDS, registry=None
    )
    for level, amount in observed:
        ours.labels(level).observe(amount)
        theirs.labels(level).observe(amount)
        bare.observe(amount)
        their_bare.observe(amount)
    assert said_by(One(ours)) == said_by(theirs)
    assert said_by(One(bare)) == said_by(their_bare)


def test_a_counter_without_labels_stands_at_zero_before_it_counts() -> None:
    counter = Counter(BARE_COUNTER)
    assert said_by(One(counter)).endswith(b"\ntasks_total 0.0")
    counter.inc()
    assert said_by(One(counter)).endswith(b"\ntasks_total 1.0")


def test_what_has_labels_is_not_counted_without_them() -> None:
    with pytest.raises(AttributeError):
        Counter(COUNTER).inc()
    with pytest.raises(AttributeError):
        Histogram(HISTOGRAM).observe(1.0)


@pytest.mark.parametrize("values", [(), ("A",), ("A", "committed", "more")])
def test_labels_are_given_all_together(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="rows_total has the labels"):
        Counter(COUNTER).labels(*values)


def test_a_metric_without_labels_is_given_none() -> None:
    with pytest.raises(ValueError, match="tasks_total has the labels"):
        Counter(BARE_COUNTER).labels()


def test_labels_may_come_up_in_one_thread_while_another_reads() -> None:
    counter, seen = Counter(COUNTER), 0
    over = threading.Event()

    def count() -> None:
        for number in range(3000):
            counter.labels(str(number), "x").inc()
        over.set()

    thread = threading.Thread(target=count)
    thread.start()
    while not over.is_set():
        found = len(counter.family().samples)
        assert found >= seen
        seen = found
    thread.join()
    assert sum(sample.value for sample in counter.family().samples) == 3000
