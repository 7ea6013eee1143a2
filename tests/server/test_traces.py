"""Spans of batches as a collector gets them: OTLP over HTTP, received on a real socket."""

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.gateways import GatewayProcess, NotReady, gateway_process
from tests.server.ksqldb import acks, declare, insert, numbered

DEADLINE_S = 20.0


class Collector:
    """Takes spans on the loopback. ``url`` is where it is."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self._grew = threading.Condition()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, self.headers["content-type"], body)
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, media_type: str, body: bytes) -> None:
        """A request came."""
        assert media_type == "application/x-protobuf"
        request = ExportTraceServiceRequest.FromString(body)
        with self._grew:
            self.paths.append(path)
            for of_resource in request.resource_spans:
                self.resources.append(attributes(of_resource.resource))
                for of_scope in of_resource.scope_spans:
                    self.spans += of_scope.spans
            self._grew.notify_all()

    def named(self, name: str) -> list[Any]:
        """Spans of that name so far."""
        return [span for span in self.spans if span.name == name]

    def until(self, name: str) -> None:
        """Wait for a span of that name."""
        deadline = time.monotonic() + DEADLINE_S
        with self._grew:
            while not self.named(name):
                assert self._grew.wait(deadline - time.monotonic()), f"no {name} span came"

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(holder: Any) -> dict[str, Any]:
    """Those of a span or a resource."""
    values = {each.key: each.value for each in holder.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def _run(tmp_path: Path, collector: Collector, level: str) -> GatewayProcess:
    """A gateway that has taken ten rows, and has stopped."""
    settings = {"TRACES__OTLP_URL": collector.url}
    with gateway_process(tmp_path / "data", settings=settings) as gateway:
        with gateway.peer() as peer:
            name = declare(peer)
            assert insert(peer, name, numbered(0, 10), ack=level) == acks(0, 10)
        assert gateway.stop() == 0
        assert gateway.complaints == []
    return gateway


def test_a_batch_is_a_trace_of_what_it_waited_for(tmp_path: Path, collector: Collector) -> None:
    _run(tmp_path, collector, "committed")
    collector.until("batch")
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "headrace"
    (batch,) = collector.named("batch")
    told = attributes(batch)
    assert told["headrace.rows"] == 10
    assert told["headrace.bytes"] > 100
    assert (told["headrace.state"], told["headrace.attempt"]) == ("COMMITTED", 1)
    assert told["headrace.target"].startswith("S_")
    children = [collector.named(name) for name in ("gather", "submit", "task")]
    (gather,), (submit,), (task,) = children
    assert {gather.trace_id, submit.trace_id, task.trace_id} == {batch.trace_id}
    assert {each.parent_span_id for each in (gather, submit, task)} == {batch.span_id}
    assert batch.start_time_unix_nano == gather.start_time_unix_nano
    in_order = [gather.end_time_unix_nano, submit.end_time_unix_nano, task.end_time_unix_nano]
    assert in_order == sorted(in_order)
    assert batch.end_time_unix_nano >= task.end_time_unix_nano
    assert attributes(task)["headrace.task.id"] == told["headrace.batch.id"]


def test_who_waits_for_queryable_rows_sees_how_long_that_took(
    tmp_path: Path, collector: Collector
) -> None:
    _run(tmp_path, collector, "queryable")
    collector.until("queryable")
    (batch,), (queryable,) = collector.named("batch"), collector.named("queryable")
    assert queryable.parent_span_id == batch.span_id
    assert queryable.start_time_unix_nano == batch.end_time_unix_nano


def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path, unused_tcp_port: int) -> None:
    settings = {"TRACES__OTLP_URL": f"http://127.0.0.1:{unused_tcp_port}"}
    with gateway_process(tmp_path / "data", settings=settings) as gateway:
        with gateway.peer() as peer:
            name = declare(peer)
            assert insert(peer, name, numbered(0, 10), ack="committed") == acks(0, 10)
        assert gateway.stop() == 0


def test_an_address_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(NotReady, match=r"traces\.otlp_url must begin with http"),
        gateway_process(tmp_path / "data", settings={"TRACES__OTLP_URL": "collector"}),
    ):
        pass
