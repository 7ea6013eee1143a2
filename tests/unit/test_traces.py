"""Spans from what is told of batches: each attempt its own, failures marked, none left open."""

import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.config import ConfigError, TracesConfig
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.task_reports import TaskChange
from gateway.runtime.traces import BatchTraces, batch_traces, endpoint
from gateway.seams import TaskFailure

S = BatchState
WHY = TaskFailure(code="WorkerFailed", message="gone")


class Traced:
    """Batches whose changes are told, and the spans that came of it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = BatchTraces(provider)

    def batch(
        self,
        *states: BatchState,
        number: int = 1,
        attempt: int = 1,
        failure: TaskFailure | None = None,
        failed: bool = False,
    ) -> None:
        """A batch comes into states, one after the other."""
        for state in states:
            batch = BatchRecord(
                number=number, id=f"b{number}", queue=1, first_chunk=1, last_chunk=1, rows=9,
                size_bytes=90, state=state, attempt=attempt,
            )  # fmt: skip
            change = TaskChange(
                batch=batch, target="T", rows=9, failure=failure, task_failed=failed
            )
            self.traces.changed(change)

    def named(self, name: str) -> list[ReadableSpan]:
        """Spans of that name that have ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


async def test_each_attempt_has_its_own_spans_and_a_failed_task_is_marked() -> None:
    traced = Traced()
    traced.batch(S.SEALED, S.SUBMITTING, S.RUNNING)
    traced.batch(S.VERIFYING, failed=True)
    traced.batch(S.WAITING, failure=WHY, failed=True)
    traced.batch(S.SUBMITTING, S.RUNNING, S.COMMITTED, attempt=2)
    first, second = traced.named("task")
    assert (first.status.is_ok, second.status.is_ok) == (False, True)
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.attributes["headrace.task.id"] == "b1"
    assert second.attributes["headrace.task.id"] == "b1-a2"
    assert len(traced.named("submit")) == 2
    (batch,) = traced.named("batch")
    assert batch.status.is_ok
    assert batch.attributes is not None
    assert batch.attributes["headrace.attempt"] == 2


async def test_a_submission_without_a_reply_ends_its_span_and_the_task_goes_on() -> None:
    traced = Traced()
    traced.batch(S.SEALED, S.SUBMITTING, S.ASKING, S.RUNNING, S.ASKING, S.RUNNING, S.COMMITTED)
    assert [len(traced.named(name)) for name in ("submit", "task", "batch")] == [1, 1, 1]


async def test_a_batch_that_cannot_go_on_is_an_error() -> None:
    traced = Traced()
    traced.batch(S.SEALED, S.SUBMITTING)
    traced.batch(S.HELD, failure=TaskFailure(code="SpoolDamaged", message="x"))
    (batch,) = traced.named("batch")
    assert (batch.status.is_ok, batch.status.description) == (False, "SpoolDamaged")
    assert not traced.named("submit")[0].status.is_ok


async def test_a_batch_that_was_over_before_has_no_trace() -> None:
    traced = Traced()
    traced.batch(S.HELD)
    traced.batch(S.FAILED, number=2)
    await traced.traces.close()
    assert traced.named("batch") == []


async def test_the_end_leaves_no_span_open() -> None:
    traced = Traced()
    traced.batch(S.SEALED, S.SUBMITTING, S.RUNNING)
    await traced.traces.close()
    assert [len(traced.named(name)) for name in ("gather", "submit", "task", "batch")] == [1] * 4


async def test_queryable_is_told_once_of_a_batch_that_was_committed() -> None:
    traced = Traced()
    traced.traces.queryable("b1")
    traced.batch(S.SEALED, S.SUBMITTING, S.RUNNING, S.COMMITTED)
    traced.traces.queryable("b1")
    traced.traces.queryable("b1")
    (queryable,), (batch,) = traced.named("queryable"), traced.named("batch")
    assert queryable.parent is not None
    assert batch.context is not None
    assert queryable.parent.span_id == batch.context.span_id


def test_without_an_address_there_are_none() -> None:
    assert batch_traces(TracesConfig()) is None


def test_without_the_packages_an_address_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[traces\]'"):
        batch_traces(TracesConfig(otlp_url="http://127.0.0.1:4318"))


def test_a_collectors_path_is_known() -> None:
    assert endpoint("http://c:4318") == "http://c:4318/v1/traces"
    assert endpoint("http://c:4318/") == "http://c:4318/v1/traces"
    assert endpoint("https://c/otlp/v1/traces") == "https://c/otlp/v1/traces"
