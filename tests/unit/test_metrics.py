"""Metrics: what is counted, looked at and read; and what changes of batches add to them."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.looks import on_disk
from gateway.ingest.measures import BatchMeasure
from gateway.ingest.task_reports import TaskChange
from gateway.metrics import DECLARED, Kind, Metrics, one_of, quantile
from gateway.metrics import declared as d
from gateway.seams import TaskFailure

S = BatchState
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


# ── counting, looking, reading ───────────────────────────────────────────────────────────────


def test_a_counter_is_the_same_whoever_asks_for_it() -> None:
    metrics = Metrics()
    metrics.counter(d.ROWS_RECEIVED).labels("A").inc(2)
    metrics.counter(d.ROWS_RECEIVED).labels("B").inc(3)
    assert metrics.total(d.ROWS_RECEIVED) == 5
    assert metrics.total(d.ROWS_RECEIVED, target="B") == 3
    assert metrics.total(d.ROWS_RECEIVED, target="C") == 0


def test_what_is_not_a_counter_is_not_counted() -> None:
    with pytest.raises(AssertionError, match="headrace_spool_stored_bytes is no counter"):
        Metrics().counter(d.SPOOL_BYTES)


def test_two_gateways_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.counter(d.TASKS).inc()
    assert (one.total(d.TASKS), other.total(d.TASKS)) == (1, 0)


def test_only_so_many_streams_are_told_apart_and_the_rest_together() -> None:
    metrics = Metrics(targets_max=2)
    assert [metrics.target(name) for name in ("A", "B", "C", "A", "D")] == [
        "A", "B", "(other)", "A", "(other)",
    ]  # fmt: skip


async def test_what_is_looked_at_is_asked_for_at_each_scrape() -> None:
    metrics, values = Metrics(), iter([1.0, 2.0])
    metrics.look(d.SPOOL_BYTES, lambda: next(values))
    assert b"\nheadrace_spool_stored_bytes 1.0\n" in (await metrics.exposition(""))[0]
    assert b"\nheadrace_spool_stored_bytes 2.0\n" in (await metrics.exposition(""))[0]


async def test_what_is_not_known_has_no_value_and_a_counter_starts_at_zero() -> None:
    metrics = Metrics()
    metrics.look(d.SLOTS_FREE, lambda: None)
    body = (await metrics.exposition(""))[0]
    assert b"\nheadrace_batch_slots_free " not in body
    assert b"\nheadrace_tasks_total 0.0\n" in body


async def test_the_disk_is_read_in_a_thread_and_not_at_every_scrape() -> None:
    metrics, reads = Metrics(), []

    def read() -> dict[d.Declared, float]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        reads.append(threading.current_thread())
        return {d.SPOOL_ROWS: 7.0}

    metrics.slow_look(read)
    bodies = await asyncio.gather(*(metrics.exposition("") for _ in range(5)))
    assert all(b"\nheadrace_spool_rows 7.0\n" in body for body, _ in bodies)
    assert len(reads) == 1
    assert reads[0] is not threading.main_thread()


async def test_a_disk_at_fault_takes_only_its_own_metrics_away() -> None:
    metrics = Metrics()

    def read() -> dict[d.Declared, float]:
        raise sqlite3.OperationalError("disk I/O error")

    metrics.slow_look(read)
    metrics.look(d.SPOOL_BYTES, lambda: 5.0)
    body = (await metrics.exposition(""))[0]
    assert b"\nheadrace_spool_stored_bytes 5.0\n" in body
    assert b"\nheadrace_spool_rows " not in body


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", text_families),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0", openmetrics_families),
    ],
)
async def test_both_formats_tell_every_metric_under_its_declared_name(
    accept: str, media_type: str, parse: Callable[[str], object]
) -> None:
    metrics = Metrics()
    metrics.watch_process()
    for each in DECLARED:
        labels = tuple("x" for _ in each.labels)
        if each.kind is Kind.COUNTER:
            counter = metrics.counter(each)
            (counter.labels(*labels) if labels else counter).inc()
        elif each.kind is Kind.HISTOGRAM:
            histogram = metrics.histogram(each)
            (histogram.labels(*labels) if labels else histogram).observe(0.01)
        else:
            metrics.look(each, lambda labels=labels: {labels: 1.0})  # type: ignore[misc]
    body, told_type = await metrics.exposition(accept)
    assert told_type.startswith(media_type)
    found = {}
    for family in parse(body.decode()):  # type: ignore[attr-defined]
        for sample in family.samples:
            found[sample.name] = set(sample.labels)
    for each in DECLARED:
        for name in each.samples:
            extra = {"le"} if name.endswith("_bucket") else set()
            assert found[name] == set(each.labels) | extra
    assert "process_resident_memory_bytes" in found
    assert not [name for name in found if name.endswith("_created")]


def test_a_quantile_is_estimated_as_prometheus_does() -> None:
    metrics = Metrics()
    latency = metrics.histogram(d.ACK_LATENCY)
    for _ in range(90):
        latency.labels("spooled").observe(0.002)
    for _ in range(10):
        latency.labels("committed").observe(0.7)
    buckets = metrics.buckets(d.ACK_LATENCY)
    assert buckets[float("inf")] == 100
    assert quantile(buckets, 0.5) == pytest.approx(0.001 + 0.0015 * 50 / 90)
    assert quantile(buckets, 0.95) == pytest.approx(0.625)
    assert quantile(metrics.buckets(d.ACK_LATENCY, level="committed"), 0.1) == pytest.approx(0.525)
    assert quantile({}, 0.5) is None
    assert quantile(metrics.buckets(d.PULL_LATENCY), 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 4.0}, 0.5) == 1.0


def test_a_state_is_told_as_one_of_all() -> None:
    assert one_of(["A", "B"], "B") == {("A",): 0.0, ("B",): 1.0}


# ── what changes of batches add ──────────────────────────────────────────────────────────────


class Told:
    """Batches whose changes are told to a `BatchMeasure`."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.measure = BatchMeasure(self.metrics)

    def batch(
        self,
        *states: BatchState,
        number: int = 1,
        attempt: int = 1,
        rows: int = 9,
        failure: TaskFailure | None = None,
        failed: bool = False,
        root: int | None = None,
    ) -> None:
        """A batch comes into states, one after the other."""
        for state in states:
            batch = BatchRecord(
                number=number, id=f"b{number}", queue=1, first_chunk=1, last_chunk=1, rows=9,
                size_bytes=90, state=state, attempt=attempt, root=root,
            )  # fmt: skip
            self.measure.changed(
                TaskChange(batch=batch, target="T", rows=rows, failure=failure, task_failed=failed)
            )

    def count(self, declared: d.Declared, **labels: str) -> float:
        """Of a histogram: its observations."""
        if declared.kind is Kind.HISTOGRAM:
            return self.metrics.buckets(declared, **labels).get(float("inf"), 0.0)
        return self.metrics.total(declared, **labels)


async def test_a_batch_that_commits_is_counted_once_with_its_task() -> None:
    told = Told()
    told.batch(S.SEALED, S.SUBMITTING, S.RUNNING, S.COMMITTED)
    assert told.count(d.BATCHES, outcome="committed") == told.count(d.BATCHES) == 1
    assert told.count(d.ROWS_COMMITTED, target="T") == 9
    assert told.count(d.BYTES_COMMITTED, target="T") == 90
    assert (told.count(d.TASKS), told.count(d.RETRIES), told.count(d.BISECT_TASKS)) == (1, 0, 0)
    assert told.count(d.TASK_DURATION, outcome="success") == told.count(d.TASK_DURATION) == 1
    assert told.count(d.BATCH_WAIT) == told.count(d.BATCH_ROWS) == told.count(d.BATCH_BYTES) == 1
    assert told.count(d.TASK_FAILURES) == told.count(d.ROWS_REFUSED) == 0


async def test_a_failure_goes_along_with_what_follows_and_is_counted_once() -> None:
    told, why = Told(), TaskFailure(code="WorkerFailed", message="gone")
    told.batch(S.SEALED, S.SUBMITTING, S.RUNNING)
    told.batch(S.VERIFYING, failed=True)
    told.batch(S.WAITING, failure=why, failed=True)
    told.batch(S.SUBMITTING, S.RUNNING, attempt=2, failure=why, failed=True)
    told.batch(S.COMMITTED, attempt=2, failure=why)
    assert told.count(d.TASK_FAILURES, code="WorkerFailed") == told.count(d.TASK_FAILURES) == 1
    assert (told.count(d.TASKS), told.count(d.RETRIES)) == (2, 1)
    assert told.count(d.TASK_DURATION, outcome="failure") == 1
    assert told.count(d.TASK_DURATION, outcome="success") == 1
    assert told.count(d.BATCH_WAIT) == 1


async def test_a_row_that_is_cut_out_is_refused_by_the_warehouse() -> None:
    told, why = Told(), TaskFailure(code="BadRow", message="x", line=3, data_error=True)
    told.batch(S.SEALED, S.SUBMITTING, S.RUNNING)
    told.batch(S.VERIFYING, failed=True)
    told.batch(S.CUTTING, failure=why, failed=True)
    told.batch(S.WAITING, attempt=2, rows=8, failure=why, failed=True)
    told.batch(S.SUBMITTING, S.RUNNING, S.COMMITTED, attempt=2, rows=8, failure=why)
    assert told.count(d.ROWS_REFUSED, target="T", reason="warehouse") == 1
    assert told.count(d.TASK_FAILURES, code="BadRow") == 1
    assert told.count(d.ROWS_COMMITTED) == 8


async def test_halves_of_a_batch_are_bisecting_and_no_new_batches() -> None:
    told, why = Told(), TaskFailure(code="BadRow", message="x", data_error=True)
    told.batch(S.SEALED, S.SUBMITTING, S.RUNNING)
    told.batch(S.VERIFYING, failed=True)
    told.batch(S.CUTTING, S.SPLIT, failure=why, failed=True)
    for number in (2, 3):
        told.batch(S.SEALED, S.SUBMITTING, S.RUNNING, S.COMMITTED, number=number, root=1)
    assert (told.count(d.TASKS), told.count(d.BISECT_TASKS)) == (3, 2)
    assert told.count(d.BATCH_ROWS) == 1
    assert told.count(d.BATCHES, outcome="split") == 1
    assert told.count(d.BATCHES, outcome="committed") == 2


async def test_a_batch_that_the_last_process_left_held_is_not_held_anew() -> None:
    told = Told()
    told.batch(S.HELD)
    assert told.count(d.BATCHES) == 0
    told.batch(S.SEALED, S.SUBMITTING, attempt=2)
    told.batch(S.HELD, attempt=2, failure=TaskFailure(code="CountDiffers", message="3 of 9"))
    assert told.count(d.BATCHES, outcome="held") == 1
    assert told.count(d.TASK_FAILURES, code="CountDiffers") == 1


async def test_no_batch_is_remembered_once_it_is_over() -> None:
    told = Told()
    for number in range(100):
        told.batch(S.SEALED, S.SUBMITTING, S.RUNNING, S.COMMITTED, number=number)
    assert told.measure._lives == {}


def test_a_file_that_is_no_spool_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises((sqlite3.Error, OSError)):
        on_disk(tmp_path / "nothing.db")
