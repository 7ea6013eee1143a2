"""mTLS: who gets in by which certificate, and what the application sees of it on every protocol."""

import hashlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from quart import Quart, request, websocket

from gateway.http.credentials import CERTIFICATE_KEY
from gateway.http.tls import ClientAuth, ServerTls, TlsFiles
from tests.certificates import (
    DEADLINE_S,
    LONG_AGO,
    client_context,
    der_of,
    wrapped,
    write_authority,
    write_pair,
)
from tests.doors import Door, opened_door
from tests.peers import Peer
from tests.websockets import StreamSocket, UpgradedSocket

NOBODY = "nobody"


def fingerprint(certificate: object) -> str:
    assert certificate is None or isinstance(certificate, bytes)
    return hashlib.sha256(certificate).hexdigest() if certificate else NOBODY


def who_app() -> Quart:
    """It answers with what it sees of its caller's certificate."""
    app = Quart("who")

    @app.get("/who")
    async def who() -> str:
        return fingerprint(request.scope["state"].get(CERTIFICATE_KEY))

    @app.websocket("/ws")
    async def who_by_socket() -> None:
        await websocket.send(fingerprint(websocket.scope["state"].get(CERTIFICATE_KEY)))

    return app


class House:
    """A server's authority, its clients' authority, and a certificate of one of these."""

    def __init__(self, folder: Path) -> None:
        self.servers = trustme.CA()
        self.clients = trustme.CA()
        self.known = self.clients.issue_cert("edge-7.example", common_name="edge-7")
        self.folder = folder
        self.certificate, self.key = write_pair(
            folder, self.servers.issue_cert("localhost", "127.0.0.1")
        )
        self.client_ca = write_authority(folder / "clients.pem", self.clients)

    def tls(self, demand: ClientAuth) -> ServerTls:
        return ServerTls(TlsFiles(self.certificate, self.key, self.client_ca, demand))

    def context(self, *protocols: str, shows: trustme.LeafCert | None = None) -> ssl.SSLContext:
        return client_context(self.servers, *protocols, shows=shows)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("mtls"))


@pytest.fixture(scope="module", params=[True, False], ids=["our lanes", "hypercorn's own"])
def required(house: House, request: pytest.FixtureRequest) -> Iterator[Door]:
    with opened_door(who_app(), tls=house.tls("required"), lanes=request.param) as door:
        yield door


@pytest.fixture(scope="module")
def optional(house: House) -> Iterator[Door]:
    with opened_door(who_app(), tls=house.tls("optional")) as door:
        yield door


def who_is_seen(door: Door, context: ssl.SSLContext) -> str:
    """Over HTTP/1.1."""
    host, port = door.address
    connection = http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=context)
    try:
        connection.request("GET", "/who")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def assert_refused(door: Door, context: ssl.SSLContext) -> None:
    # In TLS 1.3 a client has done its part of the handshake before the server looks at it.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        who_is_seen(door, context)


def test_http_1_1_sees_the_certificate(house: House, required: Door) -> None:
    seen = who_is_seen(required, house.context("http/1.1", shows=house.known))
    assert seen == fingerprint(der_of(house.known))


def test_http_2_sees_the_certificate_on_every_stream(house: House, required: Door) -> None:
    secure = wrapped(required.address, house.context("h2", shows=house.known))
    assert secure.selected_alpn_protocol() == "h2"
    with Peer(required.address, sock=secure) as peer:
        streams = [peer.open("GET", "/who", end=True) for _ in range(3)]
        seen = {stream.read_to_end().decode() for stream in streams}
    assert seen == {fingerprint(der_of(house.known))}


def test_http_2_by_prior_knowledge_sees_it_too(house: House, required: Door) -> None:
    secure = wrapped(required.address, house.context(shows=house.known))
    assert secure.selected_alpn_protocol() is None
    with Peer(required.address, sock=secure) as peer:
        seen = peer.open("GET", "/who", end=True).read_to_end()
    assert seen.decode() == fingerprint(der_of(house.known))


def test_a_websocket_sees_it_over_http_1_1(house: House, required: Door) -> None:
    secure = wrapped(required.address, house.context("http/1.1", shows=house.known))
    with UpgradedSocket(required.address, "/ws", sock=secure) as seen:
        assert seen.read_texts(1) == [fingerprint(der_of(house.known))]


def test_a_websocket_sees_it_over_http_2(house: House, required: Door) -> None:
    secure = wrapped(required.address, house.context("h2", shows=house.known))
    with Peer(required.address, sock=secure) as peer:
        seen = StreamSocket(peer, "/ws")
        assert seen.read_texts(1) == [fingerprint(der_of(house.known))]


def test_one_connection_never_sees_the_certificate_of_another(house: House, optional: Door) -> None:
    other = house.clients.issue_cert("edge-8.example")
    shown = [house.known, None, other, None, house.known]
    seen = [who_is_seen(optional, house.context("http/1.1", shows=one)) for one in shown]
    assert seen == [fingerprint(der_of(one) if one else None) for one in shown]


def test_no_certificate_does_not_get_in_where_one_is_required(house: House, required: Door) -> None:
    assert_refused(required, house.context("http/1.1"))


@pytest.mark.parametrize("which", ["foreign", "expired"])
def test_a_bad_certificate_gets_in_nowhere(
    house: House, required: Door, optional: Door, which: str
) -> None:
    """Optional means that none may be shown, not that any may."""
    bad = {
        "foreign": trustme.CA().issue_cert("edge-7.example", common_name="edge-7"),
        "expired": house.clients.issue_cert("edge-7.example", not_after=LONG_AGO),
    }[which]
    for door in (required, optional):
        assert_refused(door, house.context("http/1.1", shows=bad))


def test_those_who_were_refused_leave_the_door_open_for_others(
    house: House, required: Door
) -> None:
    for _ in range(20):
        assert_refused(required, house.context("http/1.1"))
    test_http_1_1_sees_the_certificate(house, required)


def test_other_authorities_hold_for_sessions_that_began_under_the_old_ones(
    house: House, tmp_path: Path
) -> None:
    """A ticket of a session must not outlive the trust that it was given on."""
    file = write_authority(tmp_path / "clients.pem", house.clients)
    tls = ServerTls(TlsFiles(house.certificate, house.key, file, "required"))
    with opened_door(who_app(), tls=tls) as door:
        context = house.context("http/1.1", shows=house.known)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        first = wrapped(door.address, context)
        session = first.session
        assert session is not None
        first.close()
        write_authority(file, trustme.CA())
        door.call(tls.reload)
        plain = socket.create_connection(door.address, timeout=DEADLINE_S)
        with pytest.raises(ssl.SSLError), plain:
            context.wrap_socket(plain, server_hostname="localhost", session=session)
