"""What the front door counts: requests, connections, windows, and the rows of insert streams.

Once per request, per read of a stream or per rare event; never per row or per frame. Must never
know: who reads it.
"""

import time
from collections.abc import Awaitable, Callable, Sized
from typing import Any, ParamSpec, TypeVar

from quart import Quart, Response, g, request

from gateway.http.lanes import Lane
from gateway.metrics import Metrics
from gateway.metrics import declared as d

_REFUSALS = {401: "unauthorized", 403: "forbidden", 429: "too_many"}
_UNKNOWN_ROUTE = "(unknown)"

_Arguments = ParamSpec("_Arguments")
_Found = TypeVar("_Found")


class TargetMeasure:
    """Rows for one target."""

    def __init__(self, metrics: Metrics, target: str) -> None:
        self._rows = metrics.counter(d.ROWS_RECEIVED).labels(target)
        self._bytes = metrics.counter(d.BYTES_RECEIVED).labels(target)
        self._refused = metrics.counter(d.ROWS_REFUSED).labels(target, "check")
        self._chunks = metrics.counter(d.CHUNKS_RECEIVED)

    def received(self, rows: int, size_bytes: int) -> None:
        """A read brought so many good rows."""
        self._rows.inc(rows)
        self._bytes.inc(size_bytes)
        self._chunks.inc()

    def refused(self) -> None:
        """A row failed its check."""
        self._refused.inc()


class InsertMeasure:
    """Insert streams."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._targets: dict[str, TargetMeasure] = {}
        self._opened = self._metrics.counter(d.STREAMS_OPENED)
        self._broken = self._metrics.counter(d.STREAMS_BROKEN)
        self._duplicates = self._metrics.counter(d.DUPLICATES)

    def opened(self, stream: str) -> TargetMeasure:
        """An insert stream was admitted; what counts its rows."""
        self._opened.inc()
        target = self._metrics.target(stream)
        if target not in self._targets:
            self._targets[target] = TargetMeasure(self._metrics, target)
        return self._targets[target]

    def broken(self, code: int) -> None:
        """One ends by an error among its acks."""
        self._broken.labels(self._metrics.code(str(code))).inc()

    def duplicates(self, rows: int) -> None:
        """Rows came that were held already."""
        self._duplicates.inc(rows)


class ConnectionMeasure:
    """HTTP/2 connections and their streams; for all of them together."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self.connections = metrics.counter(d.CONNECTIONS)
        self.streams = metrics.counter(d.H2_STREAMS)
        self.refused = metrics.counter(d.H2_REFUSED)
        self.reset_by_peer = metrics.counter(d.H2_RESETS).labels("peer")
        self.reset_by_us = metrics.counter(d.H2_RESETS).labels("gateway")
        self.pings = metrics.counter(d.H2_PINGS)
        self._floods = metrics.counter(d.H2_FLOODS)
        self.windows = Windows(metrics)

    def flood(self, what: str) -> None:
        """A connection ends for what its peer cost: ``resets``, ``controls`` or ``unread``."""
        self._floods.labels(what).inc()


class Windows:
    """Streams whose window is used up: what their senders wait for is the disk, or a batch's end.

    Most windows never are, so the one thing that a read costs here is a comparison of its caller's.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._closed: dict[Lane, float] = {}
        self._count = metrics.counter(d.WINDOW_STALLS)
        self._seconds = metrics.counter(d.WINDOW_STALL_TIME)
        metrics.look(d.WINDOWS_CLOSED, lambda: len(self._closed))

    def closed(self, lane: Lane) -> None:
        """A stream's sender may send no more."""
        if lane not in self._closed:
            self._closed[lane] = time.monotonic()
            self._count.inc()

    def opened(self, lane: Lane) -> None:
        """It may again, or is gone."""
        since = self._closed.pop(lane, None)
        if since is not None:
            self._seconds.inc(time.monotonic() - since)


def count_requests(app: Quart, metrics: Metrics, port: str) -> None:
    """Count what an application answers, by its routes; ``port``: front or admin.

    A response that streams counts when it begins.
    """
    requests, latency = metrics.counter(d.REQUESTS), metrics.histogram(d.REQUEST_LATENCY)
    refused = metrics.counter(d.ACCESS_REFUSED)

    @app.before_request
    async def began() -> None:
        g.began_at = time.monotonic()

    @app.after_request
    async def answered(response: Response) -> Response:
        rule = request.url_rule
        route = rule.rule if rule is not None else _UNKNOWN_ROUTE
        requests.labels(port, route, f"{response.status_code // 100}xx").inc()
        if response.status_code in _REFUSALS:
            refused.labels(_REFUSALS[response.status_code]).inc()
        began_at: Any = g.get("began_at")
        if began_at is not None:
            latency.labels(port, route).observe(time.monotonic() - began_at)
        return response


def look_at_streams(metrics: Metrics, open_streams: Sized) -> None:
    """Tell of insert streams that are open."""
    metrics.look(d.STREAMS_OPEN, lambda: len(open_streams))


def counted_statements(
    metrics: Metrics, run: Callable[_Arguments, Awaitable[_Found]]
) -> Callable[_Arguments, Awaitable[_Found]]:
    """The same, counting how it ends."""
    statements = metrics.counter(d.STATEMENTS)

    async def counted(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Found:
        try:
            found = await run(*args, **kwargs)
        except BaseException:
            statements.labels("error").inc()
            raise
        statements.labels("ok").inc()
        return found

    return counted
