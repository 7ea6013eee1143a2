"""A warehouse that nobody reaches: what the gateway goes on doing, and how it stops then.

Druid's address is a port where nobody listens. How it goes on once Druid is back is in
tests/druid/test_away.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import (
    COLUMNS,
    acks,
    arguments_line,
    ask,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    records,
    until,
)

DRAIN_S = 1.0
LONG_S = 300.0


NAME = "EVENTS"


@pytest.fixture
def gateway(tmp_path: Path, unused_tcp_port: int) -> Iterator[GatewayProcess]:
    """A gateway whose Druid is away, and was not when the stream was declared."""
    with gateway_process(tmp_path / "data") as before, before.peer() as peer:
        ksql(peer, f"CREATE STREAM {NAME} ({COLUMNS}) WITH (datasource='e', timestamp='at');")
    with gateway_process(
        tmp_path / "data",
        warehouse="druid",
        arguments=["--druid-url", f"http://127.0.0.1:{unused_tcp_port}"],
        settings={"HTTP__DRAIN_S": DRAIN_S},
    ) as running:
        yield running


def test_rows_are_taken_and_acked_as_spooled_and_readiness_stays_green(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        assert insert(peer, NAME, numbered(0, 100), ack="spooled") == acks(0, 100)
        until(lambda: not _health(gateway)["details"]["warehouse"]["isHealthy"], "health to tell")
        health = _health(gateway)
        assert health["isHealthy"]
        assert health["details"]["spool"]["isHealthy"]
        assert health["details"]["warehouse"]["unreachableSinceMs"] > 0
        assert ask(peer, "GET", "/chc/ready").status == 200
        assert insert(peer, NAME, numbered(100, 101), ack="spooled") == acks(0, 1)


FULL = {
    "HTTP__ROW_LIMIT_BYTES": 5_000,
    "INGEST__BATCH_BYTES_MAX": 5_000,
    "INGEST__SPOOL_LIMIT_BYTES": 5_000,
    "INGEST__STALL_S": 0.5,
}
OLD = {"INGEST__SPOOL_AGE_LIMIT_S": 0.5, "INGEST__STALL_S": 0.5}


@pytest.mark.parametrize(
    ("settings", "key"), [(FULL, "ingest.spool_limit_bytes"), (OLD, "ingest.spool_age_limit_s")]
)
def test_a_spool_without_room_holds_streams_back_and_then_says_which_limit_it_was(
    gateway: GatewayProcess, settings: dict[str, object], key: str
) -> None:
    gateway.stop()
    gateway.settings.update(settings)
    gateway.start()
    with gateway.peer() as peer:
        stream = open_inserts(peer, NAME, ack="spooled", channel="edge-7")
        stream.send(json_lines(numbered(0, 1)))
        peer.read_until(lambda: len(records(stream)) == 1, what="the first ack")
        sent = 1
        while _health(gateway)["isHealthy"]:
            stream.send(json_lines(numbered(sent, sent + 10)))
            sent += 10
        # There is no room from here on: these wait, and then the stream ends.
        stream.send(json_lines(numbered(sent, sent + 10)))
        stream.read_to_end()
        *acked, last = records(stream)
        assert acked == acks(0, len(acked))
        assert (last["seq"], last["error_code"]) == (len(acked), 42900)
        assert key in last["message"]
        assert _offset(gateway) == len(acked)
        refused = ask(peer, "POST", "/inserts-stream", arguments_line(NAME))
        assert (refused.status, refused.document["error_code"]) == (429, 42900)
        assert key in refused.document["message"]
        ready = ask(peer, "GET", "/chc/ready")
        assert ready.status == 503
        assert key in ready.document["message"]


def test_a_drain_tells_open_streams_that_their_rows_are_on_disk_and_ends(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        stream = open_inserts(peer, NAME, channel="edge-7")
        stream.send(json_lines(numbered(0, 3)))
        until(lambda: _offset(gateway) == 3, "the rows to be on disk")
        gateway.terminate()
        stream.read_to_end()
        *_, last = records(stream)
        assert last["error_code"] == 50303
        assert last["seq"] == 0
        assert "headrace-next-offset" in last["message"]
    assert gateway.wait() == 0
    gateway.start()
    assert _offset(gateway) == 3


def test_a_second_signal_stops_at_once_and_what_was_acked_is_there(
    gateway: GatewayProcess,
) -> None:
    gateway.stop()
    gateway.settings["HTTP__DRAIN_S"] = LONG_S
    gateway.start()
    with gateway.peer() as peer:
        assert insert(peer, NAME, numbered(0, 5), ack="spooled") == acks(0, 5)
        stream = open_inserts(peer, NAME, channel="edge-7")
        stream.send(json_lines(numbered(5, 8)))
        until(lambda: _offset(gateway) == 3, "the rows to be on disk")
        gateway.terminate()
        until(lambda: _health(gateway)["serverState"] == "TERMINATING", "the drain")
        gateway.terminate()
        # Far less than the drain would take, and longer than any loaded machine needs to stop.
        assert gateway.wait(LONG_S / 5) == 130
    assert not gateway.complaints
    gateway.start()
    assert _offset(gateway) == 3
    with gateway.peer() as peer:
        again = open_inserts(peer, NAME, channel="edge-7", ack="spooled")
        assert again.headers is not None
        assert again.headers["headrace-next-offset"] == "3"


def _health(gateway: GatewayProcess) -> Any:
    with gateway.peer() as peer:
        return ask(peer, "GET", "/healthcheck").document


def _offset(gateway: GatewayProcess) -> int:
    """The next offset of the channel, as it is spooled."""
    with gateway.peer() as peer:
        reply = ask(peer, "GET", f"/channels/{NAME}/edge-7")
    return int(reply.document["nextOffset"]["spooled"]) if reply.status == 200 else 0
