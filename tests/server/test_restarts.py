"""Crashes, restarts and drains: what an ack is worth, and how streams end when a gateway does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frames import Setting
from tests.gateways import GatewayProcess, NotReady, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    Reply,
    acks,
    arguments_line,
    ask,
    count,
    declare,
    header_of,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    open_query,
    query,
    records,
    until,
)
from tests.streams import Stream

NEVER_S = 3600
"""A batch age that no test reaches: rows stay in the spool."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, to be broken."""
    with gateway_process(tmp_path / "data") as running:
        yield running


@pytest.fixture
def slow_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that seals no batch, so that nothing is ever committed."""
    settings = {"INGEST__BATCH_AGE_S": NEVER_S, "HTTP__DRAIN_S": 0.5}
    with gateway_process(tmp_path / "data", settings=settings) as running:
        yield running


def ids(peer: Peer, name: str) -> list[list[int]]:
    """Every id with how often it is there."""
    return query(peer, f"SELECT id, COUNT(*) FROM {name} GROUP BY id ORDER BY id;").rows


def once(end: int) -> list[list[int]]:
    return [[n, 1] for n in range(end)]


# ── what an ack is worth ─────────────────────────────────────────────────────────────────────


def test_a_committed_row_survives_a_crash(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name, ack="committed")
        stream.send(json_lines(numbered(0, 100)))
        stream.read_lines(100)
        gateway.kill()
        peer.read_to_close()
    gateway.start()
    with gateway.peer() as peer:
        assert ids(peer, name) == once(100)


def test_spooled_is_acked_before_the_warehouse_has_it_and_committed_is_not(
    slow_gateway: GatewayProcess,
) -> None:
    with slow_gateway.peer() as peer:
        name = declare(peer)
        committed = open_inserts(peer, name, ack="committed")
        queryable = open_inserts(peer, name, ack="queryable")
        for stream in (committed, queryable):
            stream.send(json_lines(numbered(0, 5)))
        spooled = open_inserts(peer, name, ack="spooled")
        spooled.send(json_lines(numbered(5, 10)), end=True)
        spooled.read_to_end()
        assert records(spooled) == acks(0, 5)
        peer.ping()
        assert (committed.body, queryable.body) == (b"", b"")
        assert query(peer, f"SELECT * FROM {name};").rows == []


def test_a_spooled_row_survives_a_crash_and_is_committed_after_it(
    slow_gateway: GatewayProcess,
) -> None:
    with slow_gateway.peer() as peer:
        name = declare(peer)
        assert insert(peer, name, numbered(0, 100), ack="spooled") == acks(0, 100)
        slow_gateway.kill()
    del slow_gateway.settings["INGEST__BATCH_AGE_S"]
    slow_gateway.start()
    with slow_gateway.peer() as peer:
        until(lambda: ids(peer, name) == once(100), "all rows are committed once")


def send_load(peer: Peer, streams: list[Stream], size: int, acks_wanted: int) -> None:
    """Rows on all streams in turn until so many acks have come; more is on its way by then."""
    first = 0
    while sum(len(stream.lines) for stream in streams) < acks_wanted:
        for number, stream in enumerate(streams):
            start = (first + number) * size
            stream.send(json_lines(numbered(start, start + size)))
        first += len(streams)
        peer.ping()


@pytest.mark.parametrize("wanted", [1, 3000])
def test_after_a_crash_in_the_middle_of_a_load_every_acked_row_is_there_once(
    gateway: GatewayProcess, wanted: int
) -> None:
    size = 50
    with gateway.peer() as peer:
        name = declare(peer)
        levels = ("spooled", "committed", "queryable", "spooled")
        streams = [open_inserts(peer, name, ack=level, frames="coalesced") for level in levels]
        send_load(peer, streams, size, wanted)
        gateway.kill()
        peer.read_to_close()
        acked = {
            (ack["seq"] // size * len(streams) + number) * size + ack["seq"] % size
            for number, stream in enumerate(streams)
            for ack in records(stream)
        }
    assert len(acked) >= wanted
    gateway.start()
    with gateway.peer() as peer:
        until(lambda: acked <= {n for n, _ in ids(peer, name)}, "every acked row is there")
        # Rows are committed in the order of the spool, so this one comes after all that was left.
        insert(peer, name, numbered(10**9, 10**9 + 1), ack="queryable")
        assert {times for _, times in ids(peer, name)} == {1}
        assert gateway.complaints == []
        assert ask(peer, "GET", "/healthcheck").document["details"]["batches"]["isHealthy"]


def test_crash_after_crash_changes_nothing(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 500), ack="spooled")
    for _ in range(3):
        gateway.kill()
        gateway.start()
    with gateway.peer() as peer:
        until(lambda: ids(peer, name) == once(500), "all rows are committed once")


# ── restarts ─────────────────────────────────────────────────────────────────────────────────


def test_streams_survive_a_restart_with_all_that_was_said_of_them(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        described = ksql(peer, f"DESCRIBE {name};")
        insert(peer, name, numbered(0, 3))
        kept, dropped = declare(peer), declare(peer)
        ksql(peer, f"DROP STREAM {dropped};")
    assert gateway.stop() == 0
    gateway.start()
    with gateway.peer() as peer:
        assert ksql(peer, f"DESCRIBE {name};") == described
        listed = {entry["name"] for entry in ksql(peer, "LIST STREAMS;")[0]["streams"]}
        assert listed == {name, kept}
        insert(peer, name, numbered(3, 5), ack="queryable")
        assert ids(peer, name) == once(5)


def test_a_push_query_from_the_earliest_row_sees_what_was_committed_before_a_restart(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 3))
    gateway.kill()
    gateway.start()
    with gateway.peer() as peer:
        push = open_query(peer, f"SELECT id FROM {name} EMIT CHANGES LIMIT 4;", offset="earliest")
        header_of(push)
        insert(peer, name, numbered(3, 4))
        push.read_to_end()
        assert records(push)[1:] == [[0], [1], [2], [3]]


def test_a_second_gateway_does_not_open_the_folder_of_the_first(gateway: GatewayProcess) -> None:
    second = GatewayProcess(gateway.folder)
    with pytest.raises(NotReady) as refused:
        second.start()
    assert "headrace: cannot start: " in str(refused.value)
    assert "Traceback" not in str(refused.value)
    with gateway.peer() as peer:
        peer.ping()


# ── drain ────────────────────────────────────────────────────────────────────────────────────


def test_a_drain_acks_what_was_taken_then_says_why_the_stream_ends(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name)
        stream.send(json_lines(numbered(0, 200)))
        peer.ping()
        gateway.terminate()
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, len(taken))
        assert (last["@type"], last["seq"]) == ("InsertError", len(taken))
        assert (last["status"], last["error_code"]) == ("error", 50303)
        peer.read_to_close()
    assert gateway.wait() == 0
    assert gateway.complaints == []
    gateway.start()
    with gateway.peer() as peer:
        assert ids(peer, name) == once(len(taken))


def test_an_idle_stream_is_told_of_the_drain_at_once(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        stream = open_inserts(peer, declare(peer))
        gateway.terminate()
        stream.read_to_end()
        (line,) = records(stream)
        assert (line["seq"], line["error_code"]) == (0, 50303)
    assert gateway.wait() == 0


def test_a_drain_ends_push_queries_well(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        push = open_query(peer, f"SELECT * FROM {name} EMIT CHANGES;")
        header_of(push)
        gateway.terminate()
        push.read_to_end()
        assert len(records(push)) == 1
    assert gateway.wait() == 0


def reply_on(peer: Peer, method: str, path: str, document: object = None) -> Reply:
    """One exchange on a connection whose streams all start with a shut window."""
    stream = peer.open(method, path, end=document is None)
    stream.open_window(1 << 16)
    if document is not None:
        stream.send(json.dumps(document).encode(), end=True)
    stream.read_to_end()
    assert stream.headers is not None
    return Reply(stream.status, stream.headers, stream.body)


def test_while_it_drains_new_streams_are_refused_and_open_ones_end_well(
    gateway: GatewayProcess,
) -> None:
    """A reader with a shut window holds the drain open; then it opens, and everything arrives."""
    rows = 4000
    with gateway.peer(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as slow:
        with gateway.peer() as peer:
            name = declare(peer)
            stream = slow.open("POST", "/inserts-stream")
            stream.send(arguments_line(name))
            stream.read_headers()
            stream.send(json_lines(numbered(0, rows)))
            until(lambda: count(peer, name) == rows, "all rows are committed")
        gateway.terminate()
        until(lambda: reply_on(slow, "GET", "/chc/ready").status == 503, "the drain has begun")
        for path in ("/inserts-stream", "/query-stream"):
            document = {"target": name, "sql": f"SELECT * FROM {name};"}
            reply = reply_on(slow, "POST", path, document)
            assert (reply.status, reply.document["error_code"]) == (503, 50303)
            assert reply.document["message"] == "The server is shutting down"
        with gateway.peer() as late:
            assert ask(late, "GET", "/chc/ready").status == 503
        stream.open_window(1 << 20)
        slow.open_window(1 << 20)
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, rows)
        assert (last["seq"], last["error_code"]) == (rows, 50303)
        slow.read_to_close()
    assert gateway.wait() == 0
    assert gateway.complaints == []


def test_a_drain_does_not_wait_for_ever(slow_gateway: GatewayProcess) -> None:
    """Rows whose batch does not come stay in the spool: the drain has an end, and loses nothing."""
    with slow_gateway.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name, ack="committed")
        stream.send(json_lines(numbered(0, 20)))
        insert(peer, name, numbered(20, 21), ack="spooled")
        slow_gateway.terminate()
        peer.read_to_close()
    assert slow_gateway.wait() == 0
    del slow_gateway.settings["INGEST__BATCH_AGE_S"]
    slow_gateway.start()
    with slow_gateway.peer() as peer:
        until(lambda: ids(peer, name) == once(21), "all rows are committed once")
