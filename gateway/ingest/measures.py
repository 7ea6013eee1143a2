"""What the ingest room counts: acks, writes of the spool, and all that a change of a batch tells.

It works per chunk, per transaction and per change of a batch, never per row. Must never know: who
reads it.
"""

import asyncio
import time
from dataclasses import dataclass

from gateway.ingest.batches import FINAL, BatchState
from gateway.ingest.task_reports import TaskChange
from gateway.metrics import Metrics
from gateway.metrics import declared as d
from gateway.seams import AckLevel, TaskFailure

_S = BatchState


class AckMeasure:
    """Acks of one target at one level."""

    def __init__(self, metrics: Metrics, target: str, level: AckLevel) -> None:
        self._rows = metrics.counter(d.ROWS_ACKED).labels(metrics.target(target), level.value)
        self._latency = metrics.histogram(d.ACK_LATENCY).labels(level.value)

    def settled(self, rows: int, taken_at: float) -> None:
        """A chunk's rows hold the level; they came at ``taken_at`` (`time.monotonic`)."""
        self._rows.inc(rows)
        self._latency.observe(time.monotonic() - taken_at)


class WriteMeasure:
    """Transactions of the spool. Called on the writer's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.histogram(d.SPOOL_WRITE)
        self._bytes = metrics.histogram(d.SPOOL_WRITE_BYTES)
        self._failures = metrics.counter(d.SPOOL_FAILURES)

    def wrote(self, duration_s: float, size_bytes: int) -> None:
        """A transaction is on disk; ``size_bytes`` of rows, 0 where it was records alone."""
        self._seconds.observe(duration_s)
        if size_bytes:
            self._bytes.observe(size_bytes)

    def failed(self) -> None:
        """The disk refused one."""
        self._failures.inc()


@dataclass(slots=True)
class _Life:
    """What was counted of a batch. ``rows``: of its current attempt."""

    rows: int
    submitted: str = ""
    """the task that was submitted last, and ``accepted_at`` its acceptance"""
    accepted_at: float | None = None
    failure: TaskFailure | None = None
    failed_task: str = ""


class BatchMeasure:
    """Counts what changes of batches tell."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lives: dict[int, _Life] = {}
        self._batches = metrics.counter(d.BATCHES)
        self._rows = metrics.histogram(d.BATCH_ROWS)
        self._bytes = metrics.histogram(d.BATCH_BYTES)
        self._wait = metrics.histogram(d.BATCH_WAIT)
        self._tasks = metrics.counter(d.TASKS)
        self._retries = metrics.counter(d.RETRIES)
        self._bisect_tasks = metrics.counter(d.BISECT_TASKS)
        self._failures = metrics.counter(d.TASK_FAILURES)
        self._duration = metrics.histogram(d.TASK_DURATION)
        self._rows_committed = metrics.counter(d.ROWS_COMMITTED)
        self._bytes_committed = metrics.counter(d.BYTES_COMMITTED)
        self._rows_refused = metrics.counter(d.ROWS_REFUSED)

    def changed(self, change: TaskChange) -> None:
        """A batch has come into a state."""
        batch, state = change.batch, change.batch.state
        life = self._lives.get(batch.number)
        if life is None:
            if state in (_S.HELD, _S.FAILED):
                return  # It was before this process began, and still waits for the operator.
            life = self._lives[batch.number] = _Life(change.rows)
            self._began(change)
        if change.rows < life.rows:
            target = self._metrics.target(change.target)
            self._rows_refused.labels(target, "warehouse").inc(life.rows - change.rows)
        life.rows = change.rows
        self._count_failure(life, change)
        self._follow_task(life, change)
        if state in FINAL:
            del self._lives[batch.number]
            self._ended(change)

    def _began(self, change: TaskChange) -> None:
        batch = change.batch
        if batch.state is _S.SEALED and batch.attempt == 1 and batch.root is None:
            self._rows.observe(batch.rows)
            self._bytes.observe(batch.size_bytes)

    def _count_failure(self, life: _Life, change: TaskChange) -> None:
        """Each failure once: it goes along with the changes that follow, into the next attempt."""
        failure, task_id = change.failure, change.batch.task_id
        if failure is None or failure is life.failure:
            return
        life.failure = failure
        if life.failed_task != task_id:
            life.failed_task = task_id
            self._failures.labels(self._metrics.code(failure.code)).inc()

    def _follow_task(self, life: _Life, change: TaskChange) -> None:
        # Not the loop's clock: uvloop's stands still within a turn, and counts whole milliseconds.
        batch, now = change.batch, time.monotonic()
        if batch.state is _S.SUBMITTING:
            self._tasks.inc()
            if batch.root is not None:
                self._bisect_tasks.inc()
            if batch.attempt > 1:
                self._retries.inc()
            elif batch.root is None and not life.submitted:
                self._wait.observe(max(0.0, asyncio.get_running_loop().time() - change.since))
            life.submitted, life.accepted_at = batch.task_id, None
        elif batch.state is _S.RUNNING and life.submitted == batch.task_id:
            life.accepted_at = life.accepted_at or now
        elif change.is_of_ended_task and life.accepted_at is not None:
            outcome = "success" if batch.state is _S.COMMITTED else "failure"
            self._duration.labels(outcome).observe(max(0.0, now - life.accepted_at))
            life.accepted_at = None

    def _ended(self, change: TaskChange) -> None:
        batch = change.batch
        self._batches.labels(batch.state.value.lower()).inc()
        if batch.state is _S.COMMITTED:
            target = self._metrics.target(change.target)
            self._rows_committed.labels(target).inc(change.rows)
            self._bytes_committed.labels(target).inc(batch.size_bytes)


class IngestMeasures:
    """All of the room's."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.write = WriteMeasure(self.metrics)
        self.batch = BatchMeasure(self.metrics)
        self._acks: dict[tuple[str, AckLevel], AckMeasure] = {}

    def acks(self, target: str, level: AckLevel) -> AckMeasure:
        """Those of a target at a level."""
        key = (self.metrics.target(target), level)
        if key not in self._acks:
            self._acks[key] = AckMeasure(self.metrics, *key)
        return self._acks[key]
