"""Many at once: idle streams, trickling connections; and the stock connection behind its switch."""

from contextlib import ExitStack

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import (
    acks,
    declare,
    header_of,
    insert,
    json_lines,
    numbered,
    open_inserts,
    open_query,
    query,
    records,
)


def test_a_thousand_idle_streams_cost_less_than_60_kb_each(
    gateway: GatewayProcess, stream_name: str
) -> None:
    before = gateway.rss_bytes
    with ExitStack() as stack:
        streams = []
        for _ in range(10):
            peer = stack.enter_context(gateway.peer())
            streams += [open_inserts(peer, stream_name, ack="spooled") for _ in range(100)]
        assert gateway.rss_bytes - before < 1_000 * 60_000
        for stream in streams[::50]:
            stream.send(json_lines(numbered(0, 1)), end=True)
            stream.read_to_end()
            assert records(stream) == acks(0, 1)


def test_fifty_connections_with_trickling_rows_are_all_acked_in_order(
    gateway: GatewayProcess, stream_name: str
) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(gateway.peer()) for _ in range(50)]
        streams = [open_inserts(peer, stream_name, ack="spooled") for peer in peers]
        for number in range(20):
            for stream in streams:
                stream.send(json_lines(numbered(number, number + 1)))
        for stream in streams:
            stream.end()
        for stream in streams:
            stream.read_to_end()
            assert records(stream) == acks(0, 20)


def test_without_lanes_the_stock_connection_serves_inserts_and_queries(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("stock") / "data"
    with gateway_process(folder, settings={"HTTP__LANES": "false"}) as stock:
        with stock.peer() as peer:
            peer.handshake()
            # Hypercorn's own limit on frames: the switch did what it says.
            assert peer.server_frame_max < 1 << 20
            name = declare(peer)
            assert insert(peer, name, numbered(0, 500), ack="queryable") == acks(0, 500)
            assert query(peer, f"SELECT COUNT(*) FROM {name};").rows == [[500]]
            push = open_query(peer, f"SELECT id FROM {name} EMIT CHANGES;", offset="earliest")
            header_of(push)
            push.read_lines(501)
            push.reset()
        assert stock.stop() == 0
        assert stock.complaints == []
