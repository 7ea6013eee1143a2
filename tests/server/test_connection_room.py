"""Past its limit a port closes new connections, and goes on serving those that it has."""

import socket
from pathlib import Path

from tests.gateways import gateway_process
from tests.guarded import ask1
from tests.server.ksqldb import ask


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_past_the_limit_new_connections_are_closed_and_old_ones_served(tmp_path: Path) -> None:
    settings = {"HTTP__CONNECTIONS_MAX": 2}
    with gateway_process(tmp_path / "data", settings=settings) as gateway:
        with gateway.peer() as first, gateway.peer() as second:
            assert ask(first, "GET", "/info").status == 200
            assert ask(second, "GET", "/info").status == 200
            for _ in range(20):
                with socket.create_connection(gateway.address) as third:
                    assert is_closed(third)
            assert ask(first, "GET", "/info").status == 200
            first.close()
            second.read_for(0.1)
            assert ask(second, "GET", "/info").status == 200
            # There is room again once the gateway has seen the end of the first.
            for _ in range(100):
                with gateway.peer() as next_one:
                    next_one.read_for(0.05)
                    if not next_one.closed:
                        assert ask(next_one, "GET", "/info").status == 200
                        break
            else:
                raise AssertionError("there is no room again")
        assert gateway.said.count("connections are refused") == 1
        assert gateway.complaints == []


def test_who_has_left_takes_no_room(tmp_path: Path) -> None:
    """Whoever connects for each request, as curl does, would else lock everybody out."""
    with gateway_process(tmp_path / "data", settings={"HTTP__CONNECTIONS_MAX": 10}) as gateway:
        for number in range(200):
            headers = [] if number % 2 else [("connection", "close")]
            assert ask1(gateway.address, "GET", "/info", b"", headers).status == 200, number
        assert "connections are refused" not in gateway.said
        assert gateway.complaints == []
