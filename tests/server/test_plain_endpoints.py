"""The endpoints that are no streams: statements, health, and every way to be refused."""

import contextlib
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    Reply,
    arguments_line,
    ask,
    declare,
    insert,
    ksql,
    numbered,
    unique,
)


@pytest.fixture
def http1(gateway: GatewayProcess) -> Iterator[http.client.HTTPConnection]:
    """A connection that speaks HTTP/1.1."""
    with contextlib.closing(http.client.HTTPConnection(*gateway.address, timeout=15)) as opened:
        yield opened


def assert_error(reply: Reply, status: int, code: int) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.document["error_code"] == code
    assert isinstance(reply.document["message"], str)
    assert reply.document["@type"] in ("generic_error", "statement_error")


# ── health ───────────────────────────────────────────────────────────────────────────────────


def test_info_names_a_version_and_a_state(peer: Peer) -> None:
    info = ask(peer, "GET", "/info").document["KsqlServerInfo"]
    assert info["serverStatus"] == "RUNNING"
    assert {"version", "kafkaClusterId", "ksqlServiceId"} <= info.keys()


def test_info_may_be_asked_with_a_body_as_the_java_client_does(peer: Peer) -> None:
    reply = ask(peer, "GET", "/info", b"{}", [("content-length", "2")])
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")


def test_the_root_leads_to_info(peer: Peer) -> None:
    reply = ask(peer, "GET", "/")
    assert (reply.status, reply.headers["location"], reply.body) == (307, "/info", b"")


def test_health_is_told(peer: Peer) -> None:
    health = ask(peer, "GET", "/healthcheck").document
    assert (health["isHealthy"], health["serverState"]) == (True, "RUNNING")
    assert health["details"]["metastore"]["isHealthy"] is True
    for path in ("/chc/ready", "/chc/live"):
        assert ask(peer, "GET", path).document == {}


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/nope", "/query-stream/", "/info/x", "/%00", "/batches/x"])
def test_an_unknown_path_is_a_404_in_json(peer: Peer, method: str, path: str) -> None:
    assert_error(ask(peer, method, path), 404, 40400)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/inserts-stream", "POST"), ("PUT", "/info", "GET"), ("GET", "/ksql", "POST")],
)
def test_a_wrong_method_is_refused_and_the_right_one_told(
    peer: Peer, method: str, path: str, allowed: str
) -> None:
    reply = ask(peer, method, path)
    assert_error(reply, 405, 40500)
    assert allowed in reply.headers.get("allow", ""), "RFC 9110 §15.5.6: a 405 names what goes"


@pytest.mark.parametrize("path", ["/ksql", "/query-stream", "/close-query"])
def test_a_body_over_the_limit_is_a_413_in_json(gateway: GatewayProcess, path: str) -> None:
    with gateway.peer() as peer:
        stream = peer.open("POST", path)
        stream.send(b'{"ksql":"' + b"x" * (10 * 1024 * 1024) + b'"}', end=True)
        stream.read_to_end()
        assert stream.headers is not None
        assert_error(Reply(stream.status, stream.headers, stream.body), 413, 41300)


def test_a_body_that_announces_too_much_is_refused_before_it_comes(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        stream = peer.open("POST", "/ksql", [("content-length", str(11 * 1024 * 1024))])
        stream.send(b"{")
        stream.read_to_end()
        assert stream.headers is not None
        assert_error(Reply(stream.status, stream.headers, stream.body), 413, 41300)
        peer.ping()


@pytest.mark.parametrize("path", ["/ksql", "/query-stream", "/close-query", "/inserts-stream"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"null", b'{"x":1} {'])
def test_no_body_makes_an_endpoint_fail_without_a_reason(
    peer: Peer, path: str, body: bytes
) -> None:
    reply = ask(peer, "POST", path, body)
    if path == "/ksql" and body.startswith(b'{"x"'):
        # An absent statement is an empty one (spec of KsqlRequest), and what follows is ignored.
        assert (reply.status, reply.document) == (200, [])
    else:
        assert_error(reply, 400, 40000)
        assert reply.document["message"].startswith("Invalid JSON in request: ")


# ── HTTP/1.1 ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/inserts-stream", "/insert-stream"])
def test_inserts_need_http2(http1: http.client.HTTPConnection, path: str) -> None:
    """One request a connection: with a body that was not read, it is closed after the answer."""
    http1.request("POST", path, body=arguments_line("s"))
    response = http1.getresponse()
    document = json.loads(response.read())
    assert (response.status, document["error_code"]) == (400, 40004)
    assert document["message"] == "This endpoint is only available when using HTTP2"
    assert response.headers["content-type"] == "application/json"


def test_everything_else_is_served_on_http1_too(
    peer: Peer, http1: http.client.HTTPConnection
) -> None:
    name = declare(peer)
    insert(peer, name, numbered(0, 2), ack="queryable")
    http1.request("POST", "/ksql", body=json.dumps({"ksql": "LIST STREAMS;"}))
    assert json.loads(http1.getresponse().read())[0]["@type"] == "streams"
    http1.request("POST", "/query-stream", body=json.dumps({"sql": f"SELECT id FROM {name};"}))
    lines = http1.getresponse().read().splitlines()
    assert [json.loads(line) for line in lines[1:]] == [[0], [1]]
    http1.request("GET", "/nope")
    assert json.loads(http1.getresponse().read())["error_code"] == 40400


# ── statements ───────────────────────────────────────────────────────────────────────────────


def test_a_stream_is_created_listed_described_and_dropped(peer: Peer) -> None:
    name = unique("Life")
    sql = f"CREATE STREAM {name} (k STRING KEY, v DECIMAL(4, 2)) WITH (kafka_topic='t');"
    (created,) = ksql(peer, sql)
    assert (created["@type"], created["commandStatus"]["status"]) == ("currentStatus", "SUCCESS")
    assert created["commandId"] == f"stream/`{name.upper()}`/create"
    (listed,) = ksql(peer, "LIST STREAMS;")
    (entry,) = [stream for stream in listed["streams"] if stream["name"] == name.upper()]
    assert (entry["type"], entry["topic"], entry["isWindowed"]) == ("STREAM", "t", False)
    (described,) = ksql(peer, f"DESCRIBE {name};")
    fields = described["sourceDescription"]["fields"]
    assert [(field["name"], field["schema"]["type"]) for field in fields] == [
        ("K", "STRING"),
        ("V", "DECIMAL"),
    ]
    assert fields[0]["type"] == "KEY"
    (dropped,) = ksql(peer, f"DROP STREAM {name};")
    assert dropped["commandStatus"]["status"] == "SUCCESS"
    reply = ask(peer, "POST", "/ksql", {"ksql": f"DESCRIBE {name};"})
    assert_error(reply, 400, 40001)


def test_a_script_runs_statement_by_statement(peer: Peer) -> None:
    one, two = unique("A"), unique("B")
    script = f"CREATE STREAM {one} (a INT) WITH (x='1'); CREATE STREAM {two} (a INT) WITH (x='1');"
    assert [entity["@type"] for entity in ksql(peer, script)] == ["currentStatus"] * 2
    assert ksql(peer, "") == []


def test_an_error_in_a_script_keeps_what_ran_before_it(peer: Peer) -> None:
    name = unique("Half")
    script = f"CREATE STREAM {name} (a INT) WITH (kafka_topic='t'); DROP STREAM no_such;"
    reply = ask(peer, "POST", "/ksql", {"ksql": script})
    assert_error(reply, 400, 40001)
    assert [entity["@type"] for entity in reply.document["entities"]] == ["currentStatus"]
    assert ksql(peer, f"DESCRIBE {name};")[0]["sourceDescription"]["name"] == name.upper()


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM s;", 40002),
        ("SELEC 1;", 40001),
        ("CREATE STREAM", 40001),
        ("DROP STREAM no_such_stream;", 40001),
        ("CREATE SINK CONNECTOR c WITH ('a'='b');", 40001),
        ("TERMINATE no_such_query;", 40001),
    ],
)
def test_a_statement_that_cannot_run_is_refused(peer: Peer, sql: str, code: int) -> None:
    reply = ask(peer, "POST", "/ksql", {"ksql": sql})
    assert_error(reply, 400, code)
    assert reply.document["@type"] == "statement_error"
    assert reply.document["statementText"].rstrip(";") == sql.rstrip(";")


def test_a_name_that_is_taken_is_told_as_the_java_client_expects(peer: Peer) -> None:
    name = declare(peer)
    again = f"CREATE STREAM {{}} {name} (a INT) WITH (kafka_topic='t');"
    document = ask(peer, "POST", "/ksql", {"ksql": again.format("")}).document
    assert document["message"].startswith(f"Cannot add stream `{name}`")
    (kept,) = ksql(peer, again.format("IF NOT EXISTS"))
    assert (kept["@type"], kept["message"][:10]) == ("warning_entity", "Cannot add")
