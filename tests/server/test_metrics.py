"""What a gateway tells of itself over real sockets: its metrics, whether it is alive and ready."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from gateway.metrics import DECLARED
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    COLUMNS,
    acks,
    ask,
    header_of,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    open_query,
    query,
    until,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """What ``/metrics`` said at one moment."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families(fetch(gateway, "/metrics")[2].decode())
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        """Of its samples."""
        return {name for name, _ in self._samples}

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that carry these labels."""
        wanted = labels.items()
        return sum(
            value
            for (found, carried), value in self._samples.items()
            if found == name and wanted <= dict(carried).items()
        )


def fetch(gateway: GatewayProcess, path: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    """Status, media type and body of a GET at the admin port."""
    request = urllib.request.Request(gateway.admin_url + path, headers={"accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=15) as reply:
            return reply.status, reply.headers["content-type"], reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read()


def probe(gateway: GatewayProcess, path: str) -> tuple[int, Any]:
    """Status and document of a probe."""
    status, _, body = fetch(gateway, path)
    return status, json.loads(body)


# ── rows going down ──────────────────────────────────────────────────────────────────────────


def test_rows_are_counted_from_their_arrival_to_their_commit(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    assert insert(peer, stream_name, numbered(0, 100), ack="committed") == acks(0, 100)
    assert insert(peer, stream_name, numbered(100, 130), ack="spooled") == acks(0, 30)
    until(
        lambda: Scrape(gateway)("headrace_rows_committed_total", target=stream_name) == 130,
        "all rows to be committed",
    )
    scrape = Scrape(gateway)
    assert scrape("headrace_rows_received_total", target=stream_name) == 130
    assert scrape("headrace_received_bytes_total", target=stream_name) > 130 * 20
    assert scrape("headrace_rows_acked_total", target=stream_name, level="committed") == 100
    assert scrape("headrace_rows_acked_total", target=stream_name, level="spooled") == 30
    for level in ("committed", "spooled"):
        assert scrape("headrace_ack_latency_seconds_count", level=level) >= 1
        assert 0 < scrape("headrace_ack_latency_seconds_sum", level=level) < 60
    assert scrape("headrace_insert_streams_total") >= 2
    assert scrape("headrace_chunks_received_total") >= 2
    assert scrape("headrace_spool_write_seconds_count") >= 2
    assert scrape("headrace_spool_write_bytes_sum") > 0
    assert scrape("headrace_batches_total", outcome="committed") >= 1
    assert scrape("headrace_tasks_total") >= 1
    assert scrape("headrace_task_duration_seconds_count", outcome="success") >= 1
    assert scrape("headrace_batch_rows_sum") >= 130
    assert scrape("headrace_spool_stored_bytes") > 0
    assert scrape("headrace_rows_received_total") >= scrape("headrace_rows_committed_total")


def test_a_queryable_ack_is_counted_at_its_own_level(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    assert insert(peer, stream_name, numbered(0, 10), ack="queryable") == acks(0, 10)
    acked = Scrape(gateway)
    assert acked("headrace_rows_acked_total", target=stream_name, level="queryable") == 10


def test_refused_rows_and_the_streams_that_end_by_them_are_counted(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    before = Scrape(gateway)
    rows = json_lines(numbered(0, 3)) + b'{"ID":"x"}\n'
    assert insert(peer, stream_name, rows)[-1]["status"] == "error"
    lines = insert(
        peer, stream_name, rows + json_lines(numbered(4, 5)), on_error="continue", channel="c"
    )
    assert len(lines) == 5
    scrape = Scrape(gateway)
    assert scrape("headrace_rows_refused_total", target=stream_name, reason="check") >= 1
    broken = "headrace_insert_streams_broken_total"
    assert scrape(broken, code="40000") > before(broken, code="40000")


def test_rows_that_are_sent_again_are_counted_as_duplicates_and_not_as_received(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    before = Scrape(gateway)("headrace_rows_duplicate_total")
    for _ in range(2):
        lines = insert(peer, stream_name, numbered(0, 50), channel="edge", offset=0)
        assert len(lines) == 50
    scrape = Scrape(gateway)
    assert scrape("headrace_rows_duplicate_total") - before == 50
    assert scrape("headrace_rows_received_total", target=stream_name) == 50
    assert scrape("headrace_rows_acked_total", target=stream_name) == 50


def test_what_is_open_is_told_while_it_is(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name, channel="open")
    scrape = Scrape(gateway)
    assert scrape("headrace_insert_streams_open") == 1
    assert scrape("headrace_channels_held") == 1
    assert scrape("headrace_http2_connections_open") >= 1
    assert scrape("headrace_http2_streams_open") >= 1
    stream.send(b"", end=True)
    stream.read_to_end()
    until(lambda: Scrape(gateway)("headrace_insert_streams_open") == 0, "the stream to be over")


def test_a_window_that_is_used_up_is_a_stall_until_bytes_are_on_disk(tmp_path: Path) -> None:
    settings = {"HTTP__STREAM_WINDOW_BYTES": 65_536}
    with gateway_process(tmp_path / "data", settings=settings) as gateway, gateway.peer() as peer:
        name = "EVENTS"
        ksql(peer, f"CREATE STREAM {name} ({COLUMNS}) WITH (datasource='e', timestamp='at');")
        lines = insert(peer, name, numbered(0, 5000), ack="spooled")
        assert len(lines) == 5000
        scrape = Scrape(gateway)
        assert scrape("headrace_window_stalls_total") >= 1
        assert scrape("headrace_window_stall_seconds_total") > 0
        assert scrape("headrace_windows_closed") == 0


# ── rows coming up, and the front door ───────────────────────────────────────────────────────


def test_queries_are_counted_with_their_rows_and_how_they_end(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    before = Scrape(gateway)
    insert(peer, stream_name, numbered(0, 7), ack="committed")
    assert len(query(peer, f"SELECT id FROM {stream_name};").rows) == 7
    stream = open_query(peer, "SELECT nope FROM nowhere;")
    stream.read_to_end()
    assert stream.status == 400
    pushed = query(peer, f"SELECT id FROM {stream_name} EMIT CHANGES LIMIT 5;", offset="earliest")
    assert len(pushed.rows) == 5
    after = Scrape(gateway)

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("headrace_pull_queries_total", outcome="ok") == 1
    assert grown("headrace_pull_queries_total", outcome="error") == 1
    assert grown("headrace_pull_rows_total") == 7
    assert grown("headrace_pull_query_seconds_count") == 2
    assert grown("headrace_push_queries_total") == 1
    assert grown("headrace_push_rows_delivered_total") == 5
    assert grown("headrace_push_evaluations_total", by="laggards") >= 1


def test_a_push_query_counts_as_long_as_it_runs(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    stream = open_query(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;")
    query_id = header_of(stream)["queryId"]
    assert Scrape(gateway)("headrace_push_queries_open") == 1
    assert ask(peer, "POST", "/close-query", {"queryId": query_id}).status == 200
    stream.read_to_end()
    assert Scrape(gateway)("headrace_push_queries_open") == 0


def test_requests_are_counted_by_route_and_status(gateway: GatewayProcess, peer: Peer) -> None:
    before = Scrape(gateway)
    assert ask(peer, "GET", "/info").status == 200
    assert ask(peer, "GET", "/nowhere/secret-42").status == 404
    assert ask(peer, "POST", "/ksql", {"ksql": "NONSENSE;"}).status == 400
    assert fetch(gateway, "/healthcheck")[0] == 200
    after = Scrape(gateway)

    def grown(route: str, status: str, port: str = "front") -> float:
        name, labels = "headrace_http_requests_total", {"route": route, "status": status}
        return after(name, port=port, **labels) - before(name, port=port, **labels)

    assert grown("/info", "2xx") == 1
    assert grown("(unknown)", "4xx") == 1
    assert grown("/ksql", "4xx") == 1
    assert grown("/healthcheck", "2xx", port="admin") == 1
    failed = "headrace_statements_total"
    assert after(failed, outcome="error") - before(failed, outcome="error") == 1
    assert not [name for name in after.names if "secret" in name]


# ── the routes themselves ────────────────────────────────────────────────────────────────────


def test_every_declared_metric_is_told_by_name(gateway: GatewayProcess) -> None:
    text = fetch(gateway, "/metrics")[2].decode()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    unlabelled = {each.name for each in DECLARED}
    assert unlabelled - told == set()


def test_whoever_asks_for_openmetrics_gets_it(gateway: GatewayProcess) -> None:
    status, media_type, body = fetch(
        gateway, "/metrics", "application/openmetrics-text; version=1.0.0"
    )
    assert status == 200
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    parsed = openmetrics(body.decode())  # type: ignore[no-untyped-call]
    found = {family.name: family for family in parsed}
    assert found["headrace_rows_received"].type == "counter"
    (build,) = found["headrace_build_info"].samples
    assert build.labels["warehouse"] == "embedded"


def test_the_event_loop_is_measured_and_the_process_told(gateway: GatewayProcess) -> None:
    until(lambda: Scrape(gateway)("headrace_event_loop_lag_seconds_count") > 0, "a beat")
    scrape = Scrape(gateway)
    assert scrape("process_resident_memory_bytes") > 10_000_000
    assert scrape("headrace_uptime_seconds") > 0
    assert scrape("headrace_server_state", state="RUNNING") == 1
    assert scrape("headrace_server_state") == 1


def test_a_gateway_that_runs_is_alive_and_ready(gateway: GatewayProcess) -> None:
    assert probe(gateway, "/livez") == (
        200, {"ok": True, "checks": {"work": {"ok": True, "required": True}}},
    )  # fmt: skip
    status, document = probe(gateway, "/readyz")
    assert (status, document["ok"]) == (200, True)
    assert set(document["checks"]) == {"server", "disk", "room", "warehouse"}
    assert all(check["ok"] for check in document["checks"].values())
    assert Scrape(gateway)("headrace_ready") == 1


@pytest.fixture
def cut_off(tmp_path: Path, unused_tcp_port: int) -> Iterator[GatewayProcess]:
    """A gateway whose Druid is away, with a small spool; a stream was declared before."""
    with gateway_process(tmp_path / "data") as before, before.peer() as peer:
        ksql(peer, f"CREATE STREAM EVENTS ({COLUMNS}) WITH (datasource='e', timestamp='at');")
    settings = {
        "HTTP__DRAIN_S": 0.5,
        "INGEST__SPOOL_LIMIT_BYTES": 200_000,
        "INGEST__BATCH_BYTES_MAX": 200_000,
        "HTTP__ROW_LIMIT_BYTES": 100_000,
    }
    with gateway_process(
        tmp_path / "data",
        warehouse="druid",
        arguments=["--druid-url", f"http://127.0.0.1:{unused_tcp_port}"],
        settings=settings,
    ) as running:
        yield running


def test_without_its_warehouse_it_is_ready_until_its_spool_is_nearly_full(
    cut_off: GatewayProcess,
) -> None:
    with cut_off.peer() as peer:
        insert(peer, "EVENTS", numbered(0, 100), ack="spooled")
        until(lambda: Scrape(cut_off)("headrace_warehouse_up") == 0, "it to be missed")
        status, document = probe(cut_off, "/readyz")
        assert (status, document["ok"]) == (200, True)
        assert document["checks"]["warehouse"]["ok"] is False
        assert document["checks"]["warehouse"]["required"] is False
        until(lambda: Scrape(cut_off)("headrace_warehouse_away_seconds") > 0, "time to pass")
        padding = [{"ID": n, "NAME": "x" * 60_000, "AT": "2024-02-29T12:00:00"} for n in range(3)]
        assert insert(peer, "EVENTS", padding, ack="spooled") == acks(0, 3)
        status, document = probe(cut_off, "/readyz")
        assert (status, document["ok"]) == (503, False)
        assert document["checks"]["room"]["ok"] is False
        assert document["checks"]["disk"]["ok"] is True
        scrape = Scrape(cut_off)
        assert scrape("headrace_ready") == 0
        assert scrape("headrace_spool_takes_rows") == 1
        until(lambda: Scrape(cut_off)("headrace_spool_rows") == 103, "the disk to be read again")
        assert probe(cut_off, "/livez")[0] == 200
