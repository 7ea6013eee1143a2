"""Client certificates as credentials: whom they name, on every route, and for how long."""

import datetime
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.certificates import DEADLINE_S, client_context, wrapped, write_authority, write_pair
from tests.gateways import GatewayProcess
from tests.guarded import bearer, guarded_gateway, who
from tests.peers import Peer
from tests.server.ksqldb import Reply, arguments_line, records, until
from tests.server.test_access_table import CODES, FRONT, Row

SHORT_S = 8


class Clients:
    """An authority that signs whatever it is asked to, and whom the gateway believes."""

    def __init__(self, folder: Path) -> None:
        self.servers = trustme.CA()
        self.authority = trustme.CA()
        self.certificate, self.key = write_pair(
            folder, self.servers.issue_cert("localhost", "127.0.0.1")
        )
        self.file = write_authority(folder / "clients.pem", self.authority)
        self._folder = folder

    def context(
        self, *names: str, alpn: str = "http/1.1", ends_in_s: float = 600
    ) -> ssl.SSLContext:
        """A client that shows a certificate with these common names; without any it shows none."""
        made = client_context(self.servers, alpn)
        if names:
            pair = self._folder / f"client-{abs(hash((names, ends_in_s)))}.pem"
            pair.write_bytes(self._signed([n for n in names if n], ends_in_s))
            made.load_cert_chain(pair)
        return made

    def _signed(self, names: list[str], ends_in_s: float) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names]))
            .issuer_name(x509.load_pem_x509_certificate(self.authority.cert_pem.bytes()).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(seconds=ends_in_s))
            .sign(self._authority_key(), hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return made.public_bytes(pem) + key.private_bytes(pem, form, plain)

    def _authority_key(self) -> ec.EllipticCurvePrivateKey:
        pem = self.authority.private_key_pem.bytes()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    return Clients(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module", params=["optional", "required"])
def guarded(
    clients: Clients, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[GatewayProcess]:
    settings = {
        "HTTP__TLS_CERT_FILE": clients.certificate,
        "HTTP__TLS_KEY_FILE": clients.key,
        "HTTP__TLS_CLIENT_CA_FILE": clients.file,
        "HTTP__TLS_CLIENT_AUTH": request.param,
    }
    folder = tmp_path_factory.mktemp("certificates")
    with guarded_gateway(folder, settings=settings) as running:
        for text in (
            "CREATE STREAM MINE (ID INT) WITH (kafka_topic='mine');",
            "CREATE STREAM OURS (ID INT) WITH (kafka_topic='ours');",
            "INSERT INTO MINE (ID) VALUES (1); INSERT INTO OURS (ID) VALUES (1);",
        ):
            reply = _ask(running, clients.context("olga"), "POST", "/ksql", {"ksql": text})
            assert reply.status == 200, reply.body
        yield running
        assert running.complaints == []


def _ask(
    gateway: GatewayProcess,
    context: ssl.SSLContext,
    method: str,
    path: str,
    document: object = None,
    authorization: str | None = None,
) -> Reply:
    host, port = gateway.address
    connection = http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=context)
    body = None if document is None else json.dumps(document).encode()
    headers = {} if authorization is None else {"Authorization": authorization}
    with closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, given, response.read())


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row[:3]}"[:90]) for row in FRONT])
def test_a_certificate_counts_like_any_credential_of_its_name_on_every_route(
    guarded: GatewayProcess, clients: Clients, row: Row
) -> None:
    for name in ("anna", "bert", "root"):
        reply = _ask(guarded, clients.context(name), row.method, row.path, row.body)
        expected = getattr(row, name)
        assert reply.status == expected, (name, reply)
        if expected in CODES:
            assert reply.document["error_code"] in CODES[expected], (name, reply)


@pytest.mark.parametrize(
    "names",
    [
        ("anonymous",),
        ("anna", "olga"),
        ("",),
        (" olga",),
        ("olga\x00",),
        ("ol\nga",),
        ("\u202eolga",),
    ],
    ids=ascii,
)
def test_a_certificate_that_names_nobody_is_no_credential(
    guarded: GatewayProcess, clients: Clients, names: tuple[str, ...]
) -> None:
    reply = _ask(guarded, clients.context(*names), "GET", "/info")
    assert (reply.status, reply.document["error_code"]) == (401, 40100)


@pytest.mark.parametrize("name", ["*", "olg?", "olga*", "OLGA", "olg\u0430", "an*"])
def test_a_name_that_looks_like_a_pattern_is_a_name_and_no_rule_is_written_for_it(
    guarded: GatewayProcess, clients: Clients, name: str
) -> None:
    context = clients.context(name)
    assert _ask(guarded, context, "GET", "/info").status == 200
    reply = _ask(guarded, context, "POST", "/ksql", {"ksql": "DESCRIBE MINE;"})
    assert reply.status == 403
    assert ("principal =" in reply.document["message"]) is not bool({"*", "?"} & set(name))


def test_a_header_wins_over_a_certificate_be_it_good_or_bad(
    guarded: GatewayProcess, clients: Clients
) -> None:
    described = {"ksql": "DESCRIBE MINE;"}
    for shows, header, status in (
        ("anna", None, 200),
        ("anna", who("bert"), 403),
        ("bert", who("anna"), 200),
        ("anna", bearer("wrong"), 401),
    ):
        reply = _ask(guarded, clients.context(shows), "POST", "/ksql", described, header)
        assert reply.status == status, (shows, header, reply)


def test_an_expired_certificate_opens_no_connection(
    guarded: GatewayProcess, clients: Clients
) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(guarded, clients.context("olga", ends_in_s=-60), "GET", "/info")


def test_a_certificate_that_expires_during_a_connection_ends_its_streams_and_requests(
    guarded: GatewayProcess, clients: Clients
) -> None:
    context = clients.context("anna", alpn="h2", ends_in_s=SHORT_S)
    with Peer(guarded.address, sock=wrapped(guarded.address, context)) as peer:

        def asked() -> int:
            stream = peer.open("GET", "/info", end=True)
            stream.read_to_end()
            return stream.status

        inserts = peer.open("POST", "/inserts-stream")
        inserts.send(arguments_line("MINE") + b'{"ID":2}\n')
        inserts.read_lines(1)
        pushed = peer.open("POST", "/query-stream")
        pushed.send(json.dumps({"sql": "SELECT * FROM MINE EMIT CHANGES;"}).encode(), end=True)
        pushed.read_lines(1)
        assert asked() == 200
        until(lambda: asked() == 401, "the certificate to expire")
        inserts.send(b'{"ID":3}\n')
        inserts.read_to_end()
        assert records(inserts)[-1]["error_code"] in (40100, 40300)
        assert len(records(inserts)) == 2
        # What others insert now is not for it any more.
        text = {"ksql": "INSERT INTO MINE (ID) VALUES (9);"}
        assert _ask(guarded, clients.context("olga"), "POST", "/ksql", text).status == 200
        peer.read_until(lambda: pushed.over, what="the end of the push query")
        assert b"[9]" not in pushed.body
        assert b"expired" in pushed.body
