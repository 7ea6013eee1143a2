"""Each route by each kind of credential and rule, over HTTP/2 and HTTP/1.1, at a real gateway."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import (
    PASSWORD,
    admin_address,
    ask1,
    ask2,
    bad_credentials,
    basic,
    bearer,
    guarded_gateway,
    shown,
    web_token,
    who,
)
from tests.server.ksqldb import Reply

ASK = {"HTTP/2": ask2, "HTTP/1.1": ask1}
JSON = [("content-type", "application/json")]


class Row(NamedTuple):
    """A request, and what anna (who has the rules), bert (who has others) and root get."""

    method: str
    path: str
    body: Any
    anna: int
    bert: int
    root: int


def _ksql(text: str, anna: int, bert: int, root: int) -> Row:
    return Row("POST", "/ksql", {"ksql": text}, anna, bert, root)


def _sql(path: str, text: str, anna: int, bert: int, root: int) -> Row:
    member = "ksql" if path == "/query" else "sql"
    return Row("POST", path, {member: text}, anna, bert, root)


FRONT = [
    Row("GET", "/", None, 307, 307, 307),
    Row("GET", "/info", None, 200, 200, 200),
    Row("GET", "/clusterStatus", None, 200, 200, 200),
    Row("GET", "/is_valid_property/auto.offset.reset", None, 200, 200, 200),
    Row("GET", "/status", None, 200, 200, 200),
    Row("GET", "/status/stream/MINE/create", None, 200, 404, 200),
    Row("GET", "/channels/MINE/edge", None, 404, 403, 403),
    Row("GET", "/channels/NOWHERE/edge", None, 403, 403, 403),
    Row("GET", "/channels/MINE_NOT/edge", None, 400, 403, 403),
    Row("GET", "/nowhere", None, 404, 404, 404),
    Row("GET", "/ksql", None, 405, 405, 405),
    Row("POST", "/ksql/terminate", {}, 400, 400, 400),
    Row("POST", "/close-query", {"queryId": "nobody"}, 400, 400, 400),
    _ksql("LIST STREAMS; LIST TOPICS; LIST QUERIES; LIST PROPERTIES;", 200, 200, 200),
    _ksql("DESCRIBE MINE;", 200, 403, 403),
    _ksql("DESCRIBE MINE_NOT;", 400, 403, 403),
    _ksql("DESCRIBE NOWHERE;", 403, 403, 403),
    _ksql("DESCRIBE HEADRACE_TASKS;", 403, 403, 200),
    _ksql("ASSERT STREAM MINE;", 200, 403, 403),
    _ksql("ASSERT TOPIC mine;", 200, 403, 403),
    _ksql("CREATE STREAM IF NOT EXISTS MINE (ID INT) WITH (kafka_topic='mine');", 200, 403, 403),
    _ksql("CREATE OR REPLACE STREAM MINE (ID INT) WITH (kafka_topic='mine');", 200, 403, 403),
    _ksql("CREATE STREAM MINE_TOO (ID INT) WITH (kafka_topic='HIS');", 403, 403, 403),
    _ksql("CREATE STREAM HIS_TOO (ID INT) WITH (kafka_topic='mine');", 403, 403, 403),
    _ksql("CREATE OR REPLACE STREAM OURS (ID INT) WITH (kafka_topic='HIS');", 403, 403, 403),
    _ksql("DROP STREAM IF EXISTS MINE_NOT;", 200, 403, 403),
    _ksql("DROP STREAM OURS;", 403, 403, 403),
    _ksql("INSERT INTO MINE (ID) VALUES (7);", 200, 403, 403),
    _ksql("INSERT INTO NOWHERE (ID) VALUES (7);", 403, 403, 403),
    _ksql("TERMINATE nobody;", 400, 400, 400),
    _sql("/query-stream", "SELECT 1;", 200, 200, 200),
    _sql("/query-stream", "SELECT COUNT(*) FROM MINE;", 200, 403, 403),
    _sql("/query-stream", "SELECT COUNT(*) FROM mine;", 200, 403, 403),
    _sql("/query-stream", 'SELECT COUNT(*) FROM "mine";', 200, 403, 403),
    _sql("/query-stream", "SELECT COUNT(*) FROM `MINE`, OURS;", 403, 403, 403),
    _sql("/query-stream", "SELECT 1 FROM MINE WHERE ID IN (SELECT ID FROM ours);", 403, 403, 403),
    _sql("/query-stream", "SELECT * FROM INFORMATION_SCHEMA.TABLES;", 403, 403, 403),
    _sql("/query-stream", "SELECT * FROM nowhere;", 403, 403, 403),
    _sql("/query", "SELECT COUNT(*) FROM MINE;", 200, 403, 403),
    _sql("/query-stream", "SELECT * FROM MINE EMIT CHANGES LIMIT 0;", 200, 403, 403),
    _sql("/query-stream", "SELECT * FROM nowhere EMIT CHANGES LIMIT 0;", 403, 403, 403),
    _sql("/query", "SELECT * FROM MINE EMIT CHANGES LIMIT 0;", 200, 403, 403),
    _sql("/query-stream", "SELECT * FROM HEADRACE_TASKS EMIT CHANGES LIMIT 0;", 403, 403, 200),
]
INSERTS = [
    Row("POST", path, {"target": target}, *statuses)
    for path in ("/inserts-stream", "/insert-stream")
    for target, statuses in {
        "MINE": (200, 403, 403),
        "mine": (200, 403, 403),
        "NOWHERE": (403, 403, 403),
        "MINE_NOT": (400, 403, 403),
    }.items()
]
ADMIN = [
    Row("GET", "/batches", None, 403, 403, 200),
    Row("GET", "/dead-letters", None, 403, 403, 200),
    Row("GET", "/dead-letters/export", None, 403, 403, 200),
    Row("GET", "/dead-letters/1", None, 403, 403, 404),
    Row("PUT", "/dead-letters/1", {"row": {}}, 403, 403, 404),
    Row("DELETE", "/dead-letters/1", None, 403, 403, 404),
    Row("POST", "/dead-letters/retry", {"all": True}, 403, 403, 200),
    Row("POST", "/dead-letters/drop", {"all": True}, 403, 403, 200),
    Row("POST", "/batches/nobody/drop", {}, 403, 403, 404),
    Row("GET", "/metrics", None, 403, 403, 200),
    Row("GET", "/", None, 403, 403, 200),
    Row("GET", "/picture", None, 403, 403, 200),
    Row("POST", "/query", {"sql": "SELECT COUNT(*) FROM MINE;"}, 403, 403, 403),
    Row("GET", "/nowhere", None, 403, 403, 404),
]
OPEN_TO_ALL = {
    "front": ["/healthcheck", "/v1/metadata", "/v1/metadata/id", "/chc/live", "/chc/ready"],
    "admin": ["/healthcheck", "/livez", "/readyz"],
}
CODES = {400: (40000, 40001), 403: (40300,), 404: (40400,), 405: (40500,)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for the table; olga has declared what the rest asks for."""
    with guarded_gateway(tmp_path_factory.mktemp("guarded")) as running:
        for text in (
            "CREATE STREAM MINE (ID INT) WITH (kafka_topic='mine');",
            "CREATE STREAM OURS (ID INT) WITH (kafka_topic='ours');",
            "INSERT INTO MINE (ID) VALUES (1); INSERT INTO OURS (ID) VALUES (1);",
        ):
            reply = ask1(running.address, "POST", "/ksql", _raw({"ksql": text}), _as("olga"))
            assert reply.status == 200, reply.body
        yield running
        complaints = running.complaints
        assert running.stop() == 0
    assert complaints == []


def _raw(document: Any) -> bytes:
    return b"" if document is None else json.dumps(document).encode() + b"\n"


def _as(name: str) -> list[tuple[str, str]]:
    return [*shown(who(name)), *JSON]


def _assert_refused(reply: Reply, status: int, code: int) -> None:
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    assert reply.document["@type"] == "generic_error"
    assert reply.document["error_code"] == code


def _cases(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=f"{row.method} {row.path} {row.body}"[:90]) for row in rows]


def _check(address: tuple[str, int], row: Row, http: str) -> None:
    for name in ("anna", "bert", "root"):
        reply = ASK[http](address, row.method, row.path, _raw(row.body), _as(name))
        expected = getattr(row, name)
        assert reply.status == expected, (name, reply)
        if expected in CODES:
            assert reply.document["error_code"] in CODES[expected], (name, reply)


def _check_unauthorized(address: tuple[str, int], row: Row, http: str) -> None:
    bad = bad_credentials()
    for kind in ("none", "unknown token", "expired", "downgraded"):
        reply = ASK[http](address, row.method, row.path, _raw(row.body), [*shown(bad[kind]), *JSON])
        _assert_refused(reply, 401, 40100)
        assert reply.document["message"].startswith("Unauthorized"), kind
        assert "Bearer" in reply.headers["www-authenticate"]


@pytest.mark.parametrize("http", ASK)
@pytest.mark.parametrize("row", _cases(FRONT))
def test_at_the_front_door_rules_decide_by_name(
    guarded: GatewayProcess, row: Row, http: str
) -> None:
    _check(guarded.address, row, http)


@pytest.mark.parametrize("row", _cases(INSERTS))
def test_insert_streams_are_taken_by_the_rules_of_their_target(
    guarded: GatewayProcess, row: Row
) -> None:
    _check(guarded.address, row, "HTTP/2")


@pytest.mark.parametrize("http", ASK)
@pytest.mark.parametrize("row", _cases(FRONT + INSERTS))
def test_at_the_front_door_nobody_comes_in_by_bad_credentials(
    guarded: GatewayProcess, row: Row, http: str
) -> None:
    _check_unauthorized(guarded.address, row, http)


@pytest.mark.parametrize("http", ASK)
@pytest.mark.parametrize("row", _cases(ADMIN))
def test_at_the_admin_port_only_the_right_admin_counts(
    guarded: GatewayProcess, row: Row, http: str
) -> None:
    _check(admin_address(guarded), row, http)


@pytest.mark.parametrize("http", ASK)
@pytest.mark.parametrize("row", _cases(ADMIN))
def test_at_the_admin_port_nobody_comes_in_by_bad_credentials(
    guarded: GatewayProcess, row: Row, http: str
) -> None:
    _check_unauthorized(admin_address(guarded), row, http)


@pytest.mark.parametrize("http", ASK)
@pytest.mark.parametrize("port", OPEN_TO_ALL)
def test_probes_need_no_credentials_and_look_at_none(
    guarded: GatewayProcess, port: str, http: str
) -> None:
    address = guarded.address if port == "front" else admin_address(guarded)
    for path in OPEN_TO_ALL[port]:
        for authorization in (None, bearer("wrong"), who("anna")):
            reply = ASK[http](address, "GET", path, b"", shown(authorization))
            assert reply.status == 200, (path, reply)


@pytest.mark.parametrize("kind", bad_credentials())
def test_whatever_is_wrong_with_credentials_the_answer_is_the_same(
    guarded: GatewayProcess, kind: str
) -> None:
    reply = ask2(guarded.address, "GET", "/info", b"", shown(bad_credentials()[kind]))
    none = ask2(guarded.address, "GET", "/info", b"", [])
    _assert_refused(reply, 401, 40100)
    assert (reply.body, reply.headers["www-authenticate"]) == (
        none.body,
        none.headers["www-authenticate"],
    )


@pytest.mark.parametrize("http", ASK)
def test_every_good_kind_of_credential_opens(guarded: GatewayProcess, http: str) -> None:
    for authorization in (who("anna"), basic("bert", PASSWORD), bearer(web_token())):
        reply = ASK[http](guarded.address, "GET", "/info", b"", shown(authorization))
        assert reply.status == 200, reply


@pytest.mark.parametrize("http", ASK)
def test_a_name_that_one_may_not_touch_is_refused_alike_whether_it_exists(
    guarded: GatewayProcess, http: str
) -> None:
    def said(path: str, document: Any) -> str:
        reply = ASK[http](guarded.address, "POST", path, _raw(document), _as("bert"))
        assert reply.status == 403
        message: str = reply.document["message"]
        return message

    for path, form in (
        ("/ksql", '{{"ksql":"DESCRIBE {0};"}}'),
        ("/ksql", '{{"ksql":"DROP STREAM {0};"}}'),
        ("/ksql", '{{"ksql":"INSERT INTO {0} (ID) VALUES (1);"}}'),
        ("/query-stream", '{{"sql":"SELECT * FROM {0};"}}'),
        ("/query-stream", '{{"sql":"SELECT * FROM {0} EMIT CHANGES;"}}'),
    ):
        there = said(path, json.loads(form.format("OURS")))
        absent = said(path, json.loads(form.format("MYTH")))
        assert there.replace("OURS", "MYTH") == absent


def test_lists_show_only_what_one_has_some_right_to(guarded: GatewayProcess) -> None:
    def listed(name: str) -> tuple[set[str], set[str]]:
        text = {"ksql": "LIST STREAMS; LIST TOPICS;"}
        reply = ask2(guarded.address, "POST", "/ksql", _raw(text), _as(name))
        streams, topics = reply.document
        return {s["name"] for s in streams["streams"]}, {t["name"] for t in topics["topics"]}

    assert listed("anna") == ({"MINE"}, {"mine"})
    assert listed("rita") == ({"MINE"}, set())
    assert listed("bert") == (set(), set())
    assert listed("olga") == ({"MINE", "OURS"}, {"mine", "ours"})


def test_an_unknown_name_is_not_told_what_else_there_is(guarded: GatewayProcess) -> None:
    body = _raw({"ksql": "INSERT INTO MINF (ID) VALUES (1);"})
    reply = ask2(guarded.address, "POST", "/ksql", body, _as("olga"))
    assert "Did you mean MINE?" in reply.document["message"]
    body = _raw({"ksql": "INSERT INTO MINEX (ID) VALUES (1);"})
    reply = ask2(guarded.address, "POST", "/ksql", body, _as("anna"))
    assert reply.status == 400
    assert "Did you mean" not in reply.document["message"]


def test_more_than_one_authorization_is_refused(guarded: GatewayProcess) -> None:
    for first, second in (("anna", "bert"), ("bert", "anna"), ("anna", "anna")):
        headers = [*shown(who(first)), *shown(who(second))]
        reply = ask2(guarded.address, "GET", "/info", b"", headers)
        _assert_refused(reply, 400, 40000)
