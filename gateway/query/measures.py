"""What the query room counts, per part of a result and per evaluation; never per row.

Must never know: who reads it.
"""

import time

from gateway.metrics import Metrics
from gateway.metrics import declared as d


class PushMeasure:
    """Push queries. ``evaluated`` is called on the evaluators' threads."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self._began = metrics.counter(d.PUSH_QUERIES)
        self._rows = metrics.counter(d.PUSH_ROWS)
        self._spills = metrics.counter(d.PUSH_SPILLS)
        self._slow = metrics.counter(d.PUSH_SLOW)
        self._evaluations = metrics.counter(d.PUSH_EVALUATIONS)

    def began(self) -> None:
        """A push query runs."""
        self._began.inc()

    def delivered(self, rows: int) -> None:
        """Rows went to a reader."""
        self._rows.inc(rows)

    def spilled(self) -> None:
        """A mailbox had no room: its reader reads the log by itself from there on."""
        self._spills.inc()

    def too_slow(self) -> None:
        """A query ends because nobody reads it."""
        self._slow.inc()

    def evaluated(self, by: str) -> None:
        """A block of the log was evaluated for ``followers``, or for ``laggards``."""
        self._evaluations.labels(by).inc()


class PullMeasure:
    """Pull queries."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self._queries = metrics.counter(d.PULL_QUERIES)
        self._rows = metrics.counter(d.PULL_ROWS)
        self._latency = metrics.histogram(d.PULL_LATENCY)

    def delivered(self, rows: int) -> None:
        """Rows went to a reader."""
        self._rows.inc(rows)

    def ended(self, outcome: str, since: float) -> None:
        """A query that began at ``since`` (`time.monotonic`) is over: ``ok``, ``error``, or
        ``closed`` by its reader, the clock or an operator."""
        self._queries.labels(outcome).inc()
        # Not the loop's clock: uvloop's stands still within a turn, and counts whole milliseconds.
        self._latency.observe(time.monotonic() - since)
