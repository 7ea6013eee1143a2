"""Credentials in places where none should count, and routes in spellings that should not open."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.http.credentials import OPEN_TO_ALL
from tests.gateways import GatewayProcess
from tests.guarded import TOKENS, admin_address, ask1, guarded_gateway, shown, who
from tests.peers import Peer
from tests.server.ksqldb import until
from tests.streams import Stream
from tests.websockets import StreamSocket, UpgradedSocket, query_path

DEADLINE_S = 15.0
OLGA = f"Authorization: {who('olga')}"
LIST = b'{"ksql":"LIST STREAMS;"}'
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
TARGETS = [
    *("//info", "/./info", "/%69nfo", "/info/", "/info;x", "/info%00", "/\\info", "/info?x"),
    *("http://gateway/info", "http://gateway/ksql", "*", "/ksql", "/status", "/nowhere", "/"),
    *("/healthcheck/", "/healthcheck;x", "/healthcheck%00", "/healthcheck/..", "/livez/x"),
    *("/clusterStatus", "/ws/query", "/batches/x/drop", "/metrics", "/events", "/dead-letters"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    settings = {"LOG__LEVEL": "debug", "LOG__FORMAT": "json"}
    with guarded_gateway(tmp_path_factory.mktemp("protocol"), settings=settings) as running:
        yield running
        assert running.complaints == []


def _exchange(address: tuple[str, int], raw: bytes) -> bytes:
    """All that is answered to these bytes, up to the end of the connection."""
    with socket.create_connection(address, DEADLINE_S) as sock:
        answered = b""
        with contextlib.suppress(OSError):
            sock.sendall(raw)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 16):
                answered += data
        return answered


def _head(start: str, *lines: str, connection: str = "close") -> bytes:
    first = (start, "Host: localhost", f"Connection: {connection}")
    return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("target", TARGETS)
def test_no_method_and_no_spelling_of_a_target_opens_without_credentials(
    guarded: GatewayProcess, target: str
) -> None:
    for address in (guarded.address, admin_address(guarded)):
        for method in METHODS:
            raw = _head(f"{method} {target} HTTP/1.1", "Content-Length: 0")
            answered = _exchange(address, raw)
            assert answered.split()[1:2] == [b"401"], (method, answered)


def test_the_open_routes_are_these_and_no_others() -> None:
    assert set(OPEN_TO_ALL) == {
        *("/healthcheck", "/v1/metadata", "/v1/metadata/id", "/chc/live", "/chc/ready"),
        *("/livez", "/readyz", "/batches/<token>"),
    }


def test_open_routes_tell_no_name_and_no_address(guarded: GatewayProcess) -> None:
    text = json.dumps({"ksql": "CREATE STREAM VERY_SECRET_NAME (ID INT);"}).encode()
    raw = _head("POST /ksql HTTP/1.1", OLGA, f"Content-Length: {len(text)}") + text
    assert b"200" in _exchange(guarded.address, raw).split(b"\r\n")[0]
    for path in ("/healthcheck", "/v1/metadata", "/v1/metadata/id", "/chc/live", "/chc/ready"):
        answered = _exchange(guarded.address, _head(f"GET {path} HTTP/1.1"))
        assert answered.split()[1] == b"200"
        assert b"SECRET" not in answered.upper()
        assert b"/data" not in answered


def test_why_the_warehouse_is_away_is_told_at_the_admin_port_alone(tmp_path: Path) -> None:
    def done(gateway: GatewayProcess, text: str) -> None:
        body = json.dumps({"ksql": text}).encode()
        reply = ask1(gateway.address, "POST", "/ksql", body, shown(who("olga")))
        assert reply.status == 200, reply

    def state(address: tuple[str, int]) -> str:
        health = ask1(address, "GET", "/healthcheck", b"", []).document
        return str(health["details"]["warehouse"].get("state", ""))

    with guarded_gateway(tmp_path) as before:
        done(before, "CREATE STREAM MINE (ID INT) WITH (ack='spooled');")
    away = "127.0.0.1:9"
    settings = {"DRUID__URL": f"http://{away}", "HTTP__DRAIN_S": 0.1}
    with guarded_gateway(tmp_path, warehouse="druid", settings=settings) as gateway:
        done(gateway, "INSERT INTO MINE (ID) VALUES (1);")
        until(lambda: away in state(admin_address(gateway)), "the admin port to say why")
        assert state(gateway.address) == "the admin port and the log say why"


# ── credentials where none count ──


def test_credentials_in_trailers_open_nothing(guarded: GatewayProcess) -> None:
    chunks = f"{len(LIST):x}\r\n{LIST.decode()}\r\n0\r\n{OLGA}\r\n\r\n".encode()
    head = _head("POST /ksql HTTP/1.1", "Transfer-Encoding: chunked", "Trailer: Authorization")
    assert _exchange(guarded.address, head + chunks).split()[1] == b"401"
    with guarded.peer() as peer:
        for path in ("/ksql", "/inserts-stream", "/query-stream"):
            stream = peer.open("POST", path)
            stream.send(LIST)
            stream.send_trailers(shown(who("olga")))
            stream.read_headers()
            assert stream.status == 401


@pytest.mark.parametrize(
    "lines",
    [
        (f"X-Forwarded-Authorization: {who('olga')}",),
        (f"Proxy-Authorization: {who('olga')}",),
        (f"Cookie: authorization={who('olga')}; access_token={TOKENS['olga']}",),
        (f"authorization : {who('olga')}",),
        (f"Authorization:\tBearer\t{TOKENS['olga']}",),
        (f"Authorization: Bearer {TOKENS['olga']}, Bearer x",),
        (f"Authorization: Bearer x, Bearer {TOKENS['olga']}",),
        (f"Authorization: Bearer {TOKENS['olga']}\xa0",),
        (f'Authorization: Bearer "{TOKENS["olga"]}"',),
        (f"Authorization: Bearer x\r\n {TOKENS['olga']}",),
        ("Authorization: Bearer x", OLGA),
        (OLGA, "authorization: Bearer x"),
    ],
)
def test_what_is_not_the_header_in_its_one_form_is_none(
    guarded: GatewayProcess, lines: tuple[str, ...]
) -> None:
    answered = _exchange(guarded.address, _head("GET /info HTTP/1.1", *lines))
    assert answered.split()[1] in (b"400", b"401"), answered
    assert b"KsqlServerInfo" not in answered


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "aUTHORIZATION"])
def test_the_header_counts_in_any_letters(guarded: GatewayProcess, name: str) -> None:
    line = f"{name}: BEARER {TOKENS['olga']}"
    assert _exchange(guarded.address, _head("GET /info HTTP/1.1", line)).split()[1] == b"200"


@contextlib.contextmanager
def _upgraded(gateway: GatewayProcess, *lines: str) -> Iterator[tuple[Peer, Stream]]:
    """A connection that became HTTP/2 by a GET of /info, and the answer to that."""
    raw = socket.create_connection(gateway.address, DEADLINE_S)
    lines = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", *lines)
    raw.sendall(_head("GET /info HTTP/1.1", *lines, connection="Upgrade, HTTP2-Settings"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    with Peer(gateway.address, sock=raw) as peer:
        stream = peer.new_stream()
        peer.read_until(lambda: stream.ended, what="the answer to the upgrade")
        yield peer, stream


def test_an_upgrade_to_http_2_and_each_stream_behind_it_show_their_own(
    guarded: GatewayProcess,
) -> None:
    for lines, opens in (((), 401), ((OLGA,), 200), (("Authorization: Bearer x",), 401)):
        with _upgraded(guarded, *lines) as (peer, upgraded):
            assert upgraded.status == opens
            for headers, status in (([], 401), (shown(who("anna")), 200), ([], 401)):
                stream = peer.open("GET", "/info", headers, end=True)
                stream.read_to_end()
                assert stream.status == status


def test_what_stands_in_the_body_of_an_upgrade_is_no_request(guarded: GatewayProcess) -> None:
    hidden = _head("GET /info HTTP/1.1", OLGA)
    lines = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", f"Content-Length: {len(hidden)}")
    raw = _head("POST /ksql HTTP/1.1", *lines, connection="close, Upgrade, HTTP2-Settings")
    answered = _exchange(guarded.address, raw + hidden)
    assert answered.split()[1] == b"401"
    assert b"KsqlServerInfo" not in answered


# ── the token in a URL ──


@pytest.mark.parametrize(
    "path",
    [
        "/info",
        "/status",
        "/query-stream",
        "/clusterStatus",
        "/channels/MINE/c",
        "/is_valid_property/x",
    ],
)
def test_a_token_in_a_url_opens_no_other_route(guarded: GatewayProcess, path: str) -> None:
    target = f"{path}?access_token={TOKENS['olga']}"
    assert _exchange(guarded.address, _head(f"GET {target} HTTP/1.1")).split()[1] == b"401"
    with guarded.peer() as peer:
        stream = peer.open("POST", target, end=True)
        stream.read_to_end()
        assert stream.status == 401


def test_a_websocket_shows_one_token_or_is_closed_for_policy(guarded: GatewayProcess) -> None:
    good = quote(TOKENS["olga"])
    path = query_path("SELECT 1;")
    for more, code in (
        ("", 1008),
        ("&access_token=", 1008),
        ("&access_token=wrong", 1008),
        (f"&Access_Token={good}", 1008),
        (f"&access_token={good}&access_token={good}", 1003),
        (f"&access_token=wrong&access_token={good}", 1003),
        (f"&access_token={good}", 1000),
        (f"&%61ccess_token={good}", 1000),
    ):
        with UpgradedSocket(guarded.address, path + more) as over_1:
            assert over_1.read_to_close()[0] == code, more
        with guarded.peer() as peer:
            assert StreamSocket(peer, path + more).read_to_close()[0] == code, more


def test_the_log_tells_no_token_even_at_its_most_talkative(guarded: GatewayProcess) -> None:
    with guarded.peer() as peer:
        for name, token in (("%61ccess_token", TOKENS["olga"]), ("access_token", "AllLetters")):
            StreamSocket(peer, f"{query_path('SELECT 1;')}&{name}={token}").read_to_close()
        for shows in ("Basic QWxsTGV0dGVyczpBbGxMZXR0ZXJz", "Bearer AllLetters", who("olga")):
            stream = peer.open("GET", "/info", shown(shows), end=True)
            stream.read_to_end()
    for secret in (*TOKENS.values(), "AllLetters", "QWxsTGV0dGVyc"):
        assert secret not in guarded.said
