"""TLS: HTTP/2 and HTTP/1.1 by ALPN on one port, through the same connection and lanes."""

import http.client
import json
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from quart import Quart

from gateway.http import server
from gateway.http.app import bare_app
from gateway.http.tls import ServerTls, TlsFiles
from tests.certificates import client_context, wrapped, write_authority, write_pair
from tests.doors import opened_door
from tests.gateways import GatewayProcess, NotReady, gateway_process
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
    certificate, key = write_pair(folder, authority.issue_cert("localhost", "127.0.0.1"))
    settings = {
        f"{section}__TLS_{what}_FILE": file
        for section in ("HTTP", "ADMIN")
        for what, file in (("CERT", certificate), ("KEY", key))
    }
    with gateway_process(folder / "data", settings=settings) as running:
        yield running
        assert running.stop() == 0
        assert running.complaints == []


def test_rows_go_in_and_come_back_over_tls_with_h2_by_alpn(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    connection = wrapped(secure.address, client_context(authority, "h2", "http/1.1"))
    assert connection.selected_alpn_protocol() == "h2"
    with Peer(secure.address, sock=connection) as peer:
        name = declare(peer)
        assert insert(peer, name, json_lines(numbered(0, 2000))) == acks(0, 2000)
        assert query(peer, f"SELECT COUNT(*) FROM {name};").rows == [[2000]]


def info(address: tuple[str, int], context: ssl.SSLContext, path: str = "/info") -> object:
    host, port = address
    connection = http.client.HTTPSConnection(host, port, timeout=10.0, context=context)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.parametrize("protocols", [("http/1.1",), (), ("spdy/3",)], ids=str)
def test_http_1_1_is_there_for_those_who_ask_for_it_or_cannot_ask(
    authority: trustme.CA, secure: GatewayProcess, protocols: tuple[str, ...]
) -> None:
    told = info(secure.address, client_context(authority, *protocols))
    assert isinstance(told, dict)
    assert told["KsqlServerInfo"]["version"]


def test_http_2_by_prior_knowledge_needs_no_alpn(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    connection = wrapped(secure.address, client_context(authority))
    assert connection.selected_alpn_protocol() is None
    with Peer(secure.address, sock=connection) as peer:
        name = declare(peer)
        assert insert(peer, name, json_lines(numbered(0, 20))) == acks(0, 20)


def test_the_admin_port_speaks_tls_with_its_own_files(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    scheme, _, rest = secure.admin_url.partition("://")
    host, _, port = rest.partition(":")
    assert scheme == "https"
    with wrapped((host, int(port)), client_context(authority, "http/1.1")) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 404")


# ── what is refused ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=str)
def test_old_tls_is_refused(
    authority: trustme.CA, secure: GatewayProcess, version: ssl.TLSVersion
) -> None:
    old = client_context(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        wrapped(secure.address, old)


@pytest.mark.parametrize("cipher", ["AES256-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"])
def test_ciphers_without_forward_secrecy_or_authentication_of_data_are_refused(
    authority: trustme.CA, secure: GatewayProcess, cipher: str
) -> None:
    weak = client_context(authority)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers(cipher + ":@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        wrapped(secure.address, weak)


def test_compression_is_off_and_the_newest_tls_is_taken(
    authority: trustme.CA, secure: GatewayProcess
) -> None:
    with wrapped(secure.address, client_context(authority)) as connection:
        assert (connection.version(), connection.compression()) == ("TLSv1.3", None)


def test_plain_http_on_the_port_is_hung_up_on(secure: GatewayProcess) -> None:
    with socket.create_connection(secure.address, timeout=10.0) as plain:
        plain.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while data := plain.recv(1 << 16):
            answer += data
    assert b"HTTP" not in answer


def test_a_peer_that_never_ends_its_handshake_is_hung_up_on(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._ServedConfig, "ssl_handshake_timeout", 0.2)
    certificate, key = write_pair(tmp_path, authority.issue_cert("localhost"))
    with (
        opened_door(Quart("silent"), tls=ServerTls(TlsFiles(certificate, key))) as door,
        socket.create_connection(door.address, timeout=10.0) as mute,
    ):
        assert mute.recv(1) == b""


def test_an_http_2_connection_by_alpn_is_not_closed_under_its_peer(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypercorn's timer for a silent HTTP/1.1 client is none of its."""
    keep_alive_s = 0.1
    monkeypatch.setattr(server._ServedConfig, "keep_alive_timeout", keep_alive_s)
    certificate, key = write_pair(tmp_path, authority.issue_cert("localhost"))
    tls = ServerTls(TlsFiles(certificate, key))
    with opened_door(bare_app("open"), tls=tls) as door:
        connection = wrapped(door.address, client_context(authority, "h2"))
        with Peer(door.address, sock=connection) as peer:
            began = time.monotonic()
            while time.monotonic() - began < 10 * keep_alive_s:
                stream = peer.open("GET", "/nowhere", end=True)
                stream.read_to_end()
                assert stream.status == 404
                peer.read_for(keep_alive_s)
            assert not peer.closed


# ── what does not start ──────────────────────────────────────────────────────────────────────


def refusal(tmp_path: Path, **settings: object) -> str:
    """What a gateway says that does not start so."""
    with (
        pytest.raises(NotReady) as refused,
        gateway_process(tmp_path / "data", settings=settings),
    ):
        pass
    said = str(refused.value)
    assert "Traceback" not in said
    return said


def test_the_files_go_together(tmp_path: Path) -> None:
    assert "go together" in refusal(tmp_path, HTTP__TLS_CERT_FILE="cert.pem")
    assert "go together" in refusal(tmp_path, ADMIN__TLS_KEY_FILE="key.pem")


def test_client_certificates_need_an_authority_and_tls(tmp_path: Path) -> None:
    said = refusal(tmp_path, HTTP__TLS_CLIENT_AUTH="required")
    assert "http.tls_client_ca_file" in said
    said = refusal(
        tmp_path, HTTP__TLS_CLIENT_AUTH="optional", HTTP__TLS_CLIENT_CA_FILE=tmp_path / "ca.pem"
    )
    assert "http.tls_cert_file" in said
    said = refusal(tmp_path, HTTP__TLS_CLIENT_CA_FILE=tmp_path / "ca.pem")
    assert "http.tls_client_auth" in said


def test_workers_without_a_certificate_need_a_listener_of_their_own(
    authority: trustme.CA, tmp_path: Path
) -> None:
    certificate, key = write_pair(tmp_path, authority.issue_cert("localhost"))
    settings = {
        "WAREHOUSE": "druid",
        "HTTP__TLS_CERT_FILE": certificate,
        "HTTP__TLS_KEY_FILE": key,
        "HTTP__TLS_CLIENT_AUTH": "required",
        "HTTP__TLS_CLIENT_CA_FILE": write_authority(tmp_path / "ca.pem", authority),
    }
    with (
        pytest.raises(NotReady, match=r"druid\.fetch_host"),
        gateway_process(tmp_path / "data", warehouse="druid", settings=settings),
    ):
        pass


def encrypted(key_pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(key_pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    ("spoilt", "named", "remedy"),
    [
        ("no certificate", "http.tls_cert_file", "cannot be read: No such file"),
        ("no key", "http.tls_key_file", "cannot be read: No such file"),
        ("a certificate of nonsense", "http.tls_cert_file", "BEGIN CERTIFICATE"),
        ("a key of nonsense", "http.tls_key_file", "no usable PEM"),
        ("another's key", "http.tls_key_file", "not the key of"),
        ("an encrypted key", "http.tls_key_file", "is encrypted"),
        ("an authority of nonsense", "http.tls_client_ca_file", "holds no PEM certificate"),
    ],
)
def test_files_that_cannot_be_used_stop_the_start_with_the_key_and_the_remedy(
    authority: trustme.CA, tmp_path: Path, spoilt: str, named: str, remedy: str
) -> None:
    certificate, key = write_pair(tmp_path, authority.issue_cert("localhost"))
    client_ca = write_authority(tmp_path / "ca.pem", authority)
    match spoilt:
        case "no certificate":
            certificate.unlink()
        case "no key":
            key.unlink()
        case "a certificate of nonsense":
            certificate.write_text("nonsense")
        case "a key of nonsense":
            key.write_text("nonsense")
        case "another's key":
            key.write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
        case "an encrypted key":
            key.write_bytes(encrypted(key.read_bytes()))
        case "an authority of nonsense":
            client_ca.write_text("nonsense")
    said = refusal(
        tmp_path,
        HTTP__TLS_CERT_FILE=certificate,
        HTTP__TLS_KEY_FILE=key,
        HTTP__TLS_CLIENT_AUTH="optional",
        HTTP__TLS_CLIENT_CA_FILE=client_ca,
    )
    assert named in said
    assert remedy in said
    assert "cannot start" in said or "cannot be used" in said
