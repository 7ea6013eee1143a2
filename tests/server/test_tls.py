"""TLS: HTTP/2 and HTTP/1.1 by ALPN on one port, through the same connection and lanes."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import acks, declare, insert, json_lines, numbered, query


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for part in issued.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    settings = {
        "HTTP__TLS_CERT_FILE": str(folder / "cert.pem"),
        "HTTP__TLS_KEY_FILE": str(folder / "key.pem"),
    }
    with gateway_process(folder / "data", settings=settings) as running:
        yield running
        assert running.stop() == 0
        assert running.complaints == []


def context(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    made.set_alpn_protocols(list(protocols))
    return made


def test_rows_go_in_and_come_back_over_tls_with_h2_by_alpn(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    plain = socket.create_connection(secure.address, timeout=10.0)
    wrapped = context(authority, "h2", "http/1.1").wrap_socket(plain, server_hostname="localhost")
    assert wrapped.selected_alpn_protocol() == "h2"
    with Peer(secure.address, sock=wrapped) as peer:
        name = declare(peer)
        assert insert(peer, name, json_lines(numbered(0, 2000))) == acks(0, 2000)
        assert query(peer, f"SELECT COUNT(*) FROM {name};").rows == [[2000]]


def test_http_1_1_is_there_for_those_who_ask_for_it(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    host, port = secure.address
    tls = context(authority, "http/1.1")
    connection = http.client.HTTPSConnection(host, port, timeout=10.0, context=tls)
    connection.request("GET", "/info")
    assert json.loads(connection.getresponse().read())["KsqlServerInfo"]["version"]
    connection.close()


def test_the_files_go_together(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="go together"),
        gateway_process(tmp_path / "data", settings={"HTTP__TLS_CERT_FILE": "cert.pem"}),
    ):
        pass
