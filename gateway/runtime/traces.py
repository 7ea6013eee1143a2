"""OpenTelemetry spans, a trace for each batch: what it waited for, and how its tasks went.

::

    batch      from the arrival of its oldest row to its end
    ├ gather     until it is sealed
    ├ submit     until the warehouse has taken the task; one for each attempt
    ├ task       until the task's end is known; one for each attempt
    └ queryable  from the commit until a SELECT sees the rows, where somebody waits for that

Fed by what the committer tells of batches, so that no room knows of it. The extra
``headrace[traces]`` brings the packages; nothing is imported, and nothing costs, unless
``traces.otlp_url`` is set.

Must never hold up a batch: spans go through a bounded queue to a thread, and are dropped where the
collector does not keep up.
"""

import asyncio
import importlib.metadata
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.config import ConfigError, TracesConfig
from gateway.ingest.batches import FINAL, BatchState
from gateway.ingest.task_reports import TaskChange

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 10.0
CLOSE_S = 5.0
"""How long the last spans may take to leave."""

_S = BatchState


@dataclass(slots=True)
class _Life:
    """The spans of a batch that are open, by their names."""

    root: "Span"
    open: dict[str, "Span"] = field(default_factory=dict)


class BatchTraces:
    """Makes the spans. Called on the event loop, and does not wait there."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("headrace")
        self._lives: dict[int, _Life] = {}
        self._committed: dict[str, Any] = {}

    def changed(self, change: TaskChange) -> None:
        """A batch has come into a state."""
        batch, now = change.batch, time.time_ns()
        life = self._lives.get(batch.number)
        if life is None:
            if batch.state in FINAL:
                return
            life = self._lives[batch.number] = self._began(change, now)
        life.root.set_attribute("headrace.attempt", batch.attempt)
        match batch.state:
            case _S.SUBMITTING:
                self._open(life, "submit", change, now)
            case _S.RUNNING:
                self._close(life, "submit", now)
                if "task" not in life.open:
                    self._open(life, "task", change, now)
            case _S.VERIFYING if change.task_failed:
                self._close(life, "task", now, failed=True)
            case _S.WAITING | _S.CUTTING | _S.ASKING | _S.SEALED:
                self._close(life, "submit", now)
        if batch.state in FINAL:
            self._ended(life, change, now)

    def queryable(self, batch_id: str) -> None:
        """A SELECT sees the rows of a committed batch."""
        waiting = self._committed.pop(batch_id, None)
        if waiting is not None:
            context, at = waiting
            span = self._tracer.start_span("queryable", context=context, start_time=at)
            span.end(time.time_ns())

    async def close(self) -> None:
        """Send what is left, for a while."""
        now = time.time_ns()
        for life in self._lives.values():
            for span in (*life.open.values(), life.root):
                span.end(now)
        self._lives.clear()
        await asyncio.to_thread(self._shut_down)

    # ── inside ──

    def _shut_down(self) -> None:
        self._provider.force_flush(int(CLOSE_S * 1000))
        self._provider.shutdown()

    def _began(self, change: TaskChange, now: int) -> _Life:
        from opentelemetry.trace import set_span_in_context

        batch = change.batch
        waited_s = asyncio.get_running_loop().time() - change.since if change.since else 0.0
        came_at = now - int(max(0.0, waited_s) * 1e9)
        attributes: dict[str, str | int] = {
            "headrace.batch.id": batch.id,
            "headrace.target": change.target,
            "headrace.rows": batch.rows,
            "headrace.bytes": batch.size_bytes,
        }
        root = self._tracer.start_span("batch", start_time=came_at, attributes=attributes)
        gather = self._tracer.start_span(
            "gather", context=set_span_in_context(root), start_time=came_at
        )
        gather.end(now)
        return _Life(root)

    def _open(self, life: _Life, name: str, change: TaskChange, now: int) -> None:
        from opentelemetry.trace import set_span_in_context

        self._close(life, name, now)
        attributes: dict[str, str | int] = {
            "headrace.batch.id": change.batch.id,
            "headrace.task.id": change.batch.task_id,
            "headrace.target": change.target,
            "headrace.attempt": change.batch.attempt,
            "headrace.rows": change.rows,
        }
        life.open[name] = self._tracer.start_span(
            name, context=set_span_in_context(life.root), start_time=now, attributes=attributes
        )

    @staticmethod
    def _close(life: _Life, name: str, now: int, *, failed: bool = False) -> None:
        from opentelemetry.trace import StatusCode

        span = life.open.pop(name, None)
        if span is None:
            return
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(now)

    def _ended(self, life: _Life, change: TaskChange, now: int) -> None:
        from opentelemetry.trace import StatusCode, set_span_in_context

        batch = change.batch
        del self._lives[batch.number]
        went_well = batch.state in (_S.COMMITTED, _S.SPLIT)
        for name in list(life.open):
            self._close(life, name, now, failed=not went_well)
        life.root.set_attribute("headrace.state", batch.state.value)
        if not went_well:
            life.root.set_status(StatusCode.ERROR, change.failure.code if change.failure else None)
        life.root.end(now)
        if batch.state is _S.COMMITTED:
            while len(self._committed) >= _WAITING_MAX:
                del self._committed[next(iter(self._committed))]
            self._committed[batch.id] = (set_span_in_context(life.root), now)


_WAITING_MAX = 1024
"""Committed batches of which it may still be told that they are queryable."""


def batch_traces(config: TracesConfig) -> BatchTraces | None:
    """As configured; None without ``traces.otlp_url``. Raises `ConfigError`."""
    if config.otlp_url is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError as missing:
        raise ConfigError(
            f"traces.otlp_url is set, and {missing.name or 'opentelemetry'} is not installed: "
            "pip install 'headrace[traces]', or leave the key out"
        ) from missing
    resource = Resource.create(
        {"service.name": "headrace", "service.version": importlib.metadata.version("headrace")}
    )
    provider = TracerProvider(
        resource=resource,
        sampler=ParentBasedTraceIdRatio(config.sample_ratio),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=endpoint(config.otlp_url), timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return BatchTraces(provider)


def endpoint(url: str) -> str:
    """Where spans are posted to: a URL without a path is a collector's, whose path is known."""
    return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}{TRACES_PATH}"
