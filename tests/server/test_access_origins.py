"""Pages of other sites: refused, unless http.cors_origins lists theirs; and then told so."""

import json
from collections.abc import Iterator

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import ask1, ask2, guarded_gateway, shown, who
from tests.peers import Peer
from tests.server.ksqldb import Reply, ksql
from tests.websockets import UpgradedSocket, query_path

PAGE = "https://page.example:8443"
EVIL = "https://evil.example"
CREATE = json.dumps({"ksql": "CREATE STREAM PAGED (ID INT) WITH (kafka_topic='paged');"}).encode()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """It lists a page, and asks for credentials."""
    settings = {"HTTP__CORS_ORIGINS": json.dumps([PAGE])}
    with guarded_gateway(tmp_path_factory.mktemp("listed"), settings=settings) as running:
        yield running
        assert running.complaints == []


def _ask(gateway: GatewayProcess, method: str, path: str, **headers: str) -> Reply:
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ask2(gateway.address, method, path, b"", given)


def _cors(reply: Reply) -> dict[str, str]:
    return {name: text for name, text in reply.headers.items() if name.startswith("access-control")}


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1", "", "https://", "x y", "*"])
def test_a_foreign_page_causes_nothing_where_nobody_is_asked_for_credentials(
    gateway: GatewayProcess, peer: Peer, origin: str
) -> None:
    """A browser sends such a request unasked, and shows its page nothing of the answer."""
    headers = [("origin", origin), ("content-type", "text/plain")]
    reply = ask1(gateway.address, "POST", "/ksql", CREATE, headers)
    assert (reply.status, reply.document["error_code"]) == (403, 40300)
    assert _cors(reply) == {}
    (streams,) = ksql(peer, "LIST STREAMS;")
    assert "PAGED" not in {stream["name"] for stream in streams["streams"]}


def test_our_own_pages_and_programs_are_not_foreign(gateway: GatewayProcess) -> None:
    for headers in ([], [("origin", gateway.url)], [("origin", gateway.url.upper())]):
        assert ask1(gateway.address, "GET", "/info", b"", headers).status == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_name_that_was_made_to_lead_here_makes_no_page_ours(
    gateway: GatewayProcess, peer: Peer, name: str
) -> None:
    """DNS rebinding: the page's origin and the request's Host agree, and both are foreign."""
    authority = f"{name}:{gateway.address[1]}"
    headers = [("Host", authority), ("origin", f"http://{authority}")]
    assert ask1(gateway.address, "POST", "/ksql", CREATE, headers).status == 403
    (streams,) = ksql(peer, "LIST STREAMS;")
    assert "PAGED" not in {stream["name"] for stream in streams["streams"]}
    # A program may call it by any name.
    assert ask1(gateway.address, "GET", "/info", b"", headers[:1]).status == 200
    port = gateway.address[1]
    local = [("Host", f"localhost:{port}"), ("origin", f"http://localhost:{port}")]
    assert ask1(gateway.address, "GET", "/info", b"", local).status == 200


def test_two_origins_are_none(listed: GatewayProcess) -> None:
    for first, second in ((PAGE, EVIL), (EVIL, PAGE), (PAGE, PAGE)):
        headers = [("origin", first), ("origin", second), *shown(who("anna"))]
        assert ask2(listed.address, "GET", "/info", b"", headers).status == 403


def test_without_a_list_no_cors_header_is_ever_sent(gateway: GatewayProcess) -> None:
    preflight = _ask(gateway, "OPTIONS", "/ksql", origin=EVIL, access_control_request_method="POST")
    assert preflight.status == 403
    for reply in (preflight, _ask(gateway, "GET", "/info", origin=gateway.url)):
        assert _cors(reply) == {}
        assert "vary" not in reply.headers


def test_a_listed_page_is_answered_with_its_own_origin(listed: GatewayProcess) -> None:
    reply = _ask(listed, "GET", "/info", origin=PAGE, authorization=who("anna"))
    assert reply.status == 200
    assert reply.headers["vary"] == "origin"
    assert _cors(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-expose-headers": "headrace-next-offset, retry-after, www-authenticate",
    }


def test_a_listed_page_may_read_its_refusals(listed: GatewayProcess) -> None:
    for path, status in (("/info", 401), ("/nowhere", 401)):
        reply = _ask(listed, "GET", path, origin=PAGE)
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == PAGE


def test_a_preflight_needs_no_credentials_and_tells_what_may_be_sent(
    listed: GatewayProcess,
) -> None:
    reply = _ask(listed, "OPTIONS", "/ksql", origin=PAGE, access_control_request_method="POST")
    assert reply.status == 204
    told = _cors(reply)
    assert told["access-control-allow-origin"] == PAGE
    assert "POST" in told["access-control-allow-methods"]
    assert "authorization" in told["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize(
    "origin", [EVIL, PAGE + ".evil.example", PAGE.upper(), "https://page.example", PAGE + "/"]
)
def test_an_origin_is_listed_whole_or_not_at_all(listed: GatewayProcess, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        reply = _ask(listed, method, "/info", origin=origin, authorization=who("anna"))
        assert reply.status == 403
        assert "access-control-allow-origin" not in reply.headers


def test_answers_vary_by_origin_for_programs_too(listed: GatewayProcess) -> None:
    """Or a cache would give a page what was meant for a program."""
    reply = _ask(listed, "GET", "/info", authorization=who("anna"))
    assert reply.headers["vary"] == "origin"
    assert _cors(reply) == {}


def test_the_admin_port_knows_no_foreign_page(listed: GatewayProcess) -> None:
    host, _, port = listed.admin_url.removeprefix("http://").rpartition(":")
    headers = [("origin", PAGE), *shown(who("root"))]
    assert ask1((host, int(port)), "GET", "/batches", b"", headers).status == 403


# ── WebSockets ───────────────────────────────────────────────────────────────────────────────


def _said(
    gateway: GatewayProcess, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    with UpgradedSocket(gateway.address, path, headers=headers) as socket:
        socket.read_to_close()
        assert socket.closed is not None
        return socket.closed[0], json.loads(socket.texts[-1])["error"]


def test_a_websocket_says_why_it_is_refused(listed: GatewayProcess) -> None:
    path = query_path("SELECT 1;")
    code, text = _said(listed, path)
    assert code == 1008
    assert text.startswith("Unauthorized")
    code, text = _said(listed, path, {"Origin": EVIL})
    assert code == 1008
    assert EVIL in text


def test_a_websocket_opens_by_header_or_by_a_token_in_its_url(listed: GatewayProcess) -> None:
    token = who("anna").removeprefix("Bearer ")
    for given, headers in (
        ({}, {"Authorization": who("anna")}),
        ({"access_token": token}, {}),
        ({"access_token": token}, {"Origin": PAGE}),
    ):
        code, text = _said(listed, query_path("SELECT 1;", **given), headers)
        assert (code, text) == (1000, "done")
    both = query_path("SELECT 1;", access_token=token)
    code, text = _said(listed, both, {"Authorization": who("bert")})
    assert code == 1003
    assert "more than one" in text


def test_a_websocket_reads_what_its_principal_may(listed: GatewayProcess) -> None:
    path = query_path("SELECT * FROM SECRET EMIT CHANGES;")
    code, text = _said(listed, path, {"Authorization": who("anna")})
    assert code == 1008
    assert text.startswith("Forbidden")
