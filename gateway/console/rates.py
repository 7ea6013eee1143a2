"""Rates and latencies over the last seconds, from counters that only ever grow.

Pure but for reading `Metrics`: time is an argument. One `sample` a second, whether somebody looks
or not, so that whoever opens the page sees the last minutes at once.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.metrics import Metrics, quantile
from gateway.metrics.declared import ACK_LATENCY, BYTES_RECEIVED, ROWS_ACKED, ROWS_RECEIVED
from gateway.seams import AckLevel

POINTS_MAX = 120
"""Seconds that are remembered."""
ACKS_OVER_S = 10
"""Seconds whose acks a rate and a latency are taken from: batches are acked whole, so that a single
second has all acks of many or none."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the counters said at ``at``, in seconds of the event loop's clock."""

    at: float
    rows_in: float
    bytes_in: float
    acked: Mapping[str, float]
    latencies: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """One second: rows and bytes per second. Rows acked per second and latencies, in seconds and
    None without any ack, are of the `ACKS_OVER_S` seconds up to it."""

    rows_in: float = 0.0
    bytes_in: float = 0.0
    acked: Mapping[str, float] = field(default_factory=dict)
    p50_s: float | None = None
    p99_s: float | None = None


class Rates:
    """The last `POINTS_MAX` seconds of one gateway."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._samples: deque[_Sample] = deque(maxlen=ACKS_OVER_S)
        self._points: deque[Point] = deque(maxlen=POINTS_MAX)

    def sample(self, now: float) -> None:
        """Look at the counters."""
        sample = self._read(now)
        if self._samples and now > self._samples[-1].at:
            self._points.append(_point(self._samples[-1], self._samples[0], sample))
        self._samples.append(sample)

    def document(self) -> dict[str, Any]:
        """Members ``rates``, ``totals``, ``ackLatency`` and ``history`` of the picture."""
        point = self._points[-1] if self._points else Point()
        total = self._samples[-1] if self._samples else _Sample(0.0, 0.0, 0.0, {}, {})
        return {
            "rates": {
                "rowsIn": round(point.rows_in, 1),
                "bytesIn": round(point.bytes_in),
                "acked": {level: round(rate, 1) for level, rate in point.acked.items()},
            },
            "totals": {
                "rowsIn": round(total.rows_in),
                "bytesIn": round(total.bytes_in),
                "acked": {level: round(rows) for level, rows in total.acked.items()},
            },
            "ackLatency": {"p50S": point.p50_s, "p99S": point.p99_s, "overS": ACKS_OVER_S},
            "history": self._history(),
        }

    def _history(self) -> dict[str, list[float | None]]:
        """One list for each line that is drawn, oldest first."""
        return {
            "rowsIn": [round(point.rows_in) for point in self._points],
            "acked": [round(sum(point.acked.values())) for point in self._points],
            "p50S": [point.p50_s for point in self._points],
            "p99S": [point.p99_s for point in self._points],
        }

    def _read(self, now: float) -> _Sample:
        metrics = self._metrics
        return _Sample(
            at=now,
            rows_in=metrics.total(ROWS_RECEIVED),
            bytes_in=metrics.total(BYTES_RECEIVED),
            acked={level.value: metrics.total(ROWS_ACKED, level=level.value) for level in AckLevel},
            latencies=metrics.buckets(ACK_LATENCY),
        )


def _point(before: _Sample, long_before: _Sample, now: _Sample) -> Point:
    passed_s, long_passed_s = now.at - before.at, now.at - long_before.at
    acked_since = {
        bound: count - long_before.latencies.get(bound, 0.0)
        for bound, count in now.latencies.items()
    }
    return Point(
        rows_in=(now.rows_in - before.rows_in) / passed_s,
        bytes_in=(now.bytes_in - before.bytes_in) / passed_s,
        acked={
            level: (rows - long_before.acked.get(level, 0.0)) / long_passed_s
            for level, rows in now.acked.items()
        },
        p50_s=_rounded(quantile(acked_since, 0.5)),
        p99_s=_rounded(quantile(acked_since, 0.99)),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 5)
