"""The admin port over a real socket: who may ask, health, batches; over scripted doors."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.http.callers import Callers
from protocol.errors import NotReady, ShuttingDown
from tests.admin_port import (
    AT,
    BODY_BYTES,
    Operator,
    ask,
    assert_refused,
    batch,
    letter,
    opened_operator,
)
from tests.server.ksqldb import ask as ask_over_http2


@pytest.fixture
def operator() -> Iterator[Operator]:
    with opened_operator() as opened:
        yield opened


# ── batches ──────────────────────────────────────────────────────────────────────────────────


def test_batches_are_listed_with_what_the_operator_needs(operator: Operator) -> None:
    operator.batches.add(batch("b1"), batch("b2", state="RUNNING", error=None))
    first, second = ask(operator, "GET", "/batches").document
    assert first == {
        "id": "b1",
        "taskId": "query-b1-a1",
        "stream": "EVENTS",
        "datasource": "events",
        "state": "HELD",
        "attempt": 1,
        "rows": 10,
        "sizeBytes": 1234,
        "sealed": AT,
        "error": "3 of 10 rows are there",
    }
    assert (second["id"], second["state"], second["error"]) == ("b2", "RUNNING", None)


@pytest.mark.parametrize(
    ("verdict", "outcome"), [("retry", "retried"), ("accept", "accepted"), ("drop", "dropped")]
)
def test_a_held_batch_is_decided_on(operator: Operator, verdict: str, outcome: str) -> None:
    operator.batches.add(batch("b-1"))
    reply = ask(operator, "POST", f"/batches/b-1/{verdict}")
    assert (reply.status, reply.document) == (200, {"id": "b-1", "outcome": outcome})
    assert operator.batches.verdicts == [(verdict, "b-1")]


def test_a_batch_that_is_not_held_or_not_there_is_left_alone(operator: Operator) -> None:
    operator.batches.add(batch("b", state="RUNNING"))
    assert_refused(ask(operator, "POST", "/batches/b/drop"), 400, 40000, "is RUNNING")
    assert_refused(ask(operator, "POST", "/batches/c/drop"), 404, 40400, "no batch c")
    assert_refused(ask(operator, "POST", "/batches/b/forget"), 404, 40400, "Path not found")
    assert operator.batches.verdicts == []


# ── who may ask, and how ─────────────────────────────────────────────────────────────────────


EVERY_ROUTE = [
    ("GET", "/healthcheck"),
    ("GET", "/dead-letters"),
    ("GET", "/dead-letters/export"),
    ("GET", "/dead-letters/1"),
    ("PUT", "/dead-letters/1"),
    ("DELETE", "/dead-letters/1"),
    ("POST", "/dead-letters/1/retry"),
    ("POST", "/dead-letters/retry"),
    ("POST", "/dead-letters/drop"),
    ("GET", "/batches"),
    ("POST", "/batches/b/retry"),
    ("POST", "/batches/b/accept"),
    ("POST", "/batches/b/drop"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_no_route_is_open_to_a_foreign_page_or_a_rebound_name(
    operator: Operator, method: str, path: str
) -> None:
    operator.letters.add(letter(1))
    foreign = {"origin": "https://evil.example"}
    assert_refused(ask(operator, method, path, None, foreign), 403, 40300, "evil.example")
    rebound = {"host": "evil.example:8089", "origin": "http://evil.example:8089"}
    assert_refused(ask(operator, method, path, None, rebound), 403, 40300, "admin.names")
    assert operator.letters.letters[1].state == "open"


@pytest.mark.parametrize(
    "origin",
    ["null", "", "file://", "http://127.0.0.1", "http://127.0.0.1:1", "http://[", "data:text/html"],
)
def test_another_port_or_no_site_at_all_is_another_origin(operator: Operator, origin: str) -> None:
    assert_refused(ask(operator, "GET", "/batches", None, {"origin": origin}), 403, 40300)


def test_a_page_of_the_admin_port_itself_may_ask(operator: Operator) -> None:
    port = operator.door.address[1]
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "127.0.0.53", "[::1]"):
        headers = {"host": f"{name}:{port}", "origin": f"http://{name}:{port}"}
        assert ask(operator, "GET", "/batches", None, headers).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]:1", "[", "a b", "user@"]
)
def test_a_host_that_is_not_this_machine_is_refused(operator: Operator, host: str) -> None:
    assert_refused(ask(operator, "GET", "/healthcheck", None, {"host": host}), 403, 40300)


def test_behind_a_wildcard_addresses_and_configured_names_are_ours() -> None:
    callers = Callers("0.0.0.0", frozenset({"headrace.ops"}))
    with opened_operator(callers=callers) as operator:
        for host, status in (
            ("10.1.2.3:8089", 200),
            ("[fd00::1]:8089", 200),
            ("headrace.ops", 200),
            ("localhost:1", 200),
            ("evil.example", 403),
        ):
            assert ask(operator, "GET", "/healthcheck", None, {"host": host}).status == status


@pytest.mark.parametrize(
    ("method", "path"), [route for route in EVERY_ROUTE if route[0] in ("PUT", "POST", "DELETE")]
)
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_changes_something_must_say_that_it_is_json(
    operator: Operator, method: str, path: str, media_type: str | None
) -> None:
    operator.letters.add(letter(1, raw=b'{"ID":1}'))
    operator.batches.add(batch("b"))
    headers = {"content-type": media_type} if media_type else {}
    body = b'{"all":true}'
    assert_refused(ask(operator, method, path, body, headers), 415, 41500, "application/json")
    assert (operator.letters.letters[1].state, operator.batches.verdicts) == ("open", [])


def test_json_may_name_its_charset(operator: Operator) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    reply = ask(operator, "POST", "/dead-letters/drop", b'{"all":true}', headers)
    assert (reply.status, reply.body) == (200, b"")


def test_a_body_that_is_too_long_is_refused(operator: Operator) -> None:
    body = b'{"row":"' + b"x" * BODY_BYTES + b'"}'
    assert_refused(ask(operator, "PUT", "/dead-letters/1", body), 413, 41300)


def test_an_unknown_path_and_a_wrong_method_are_told_in_json(operator: Operator) -> None:
    assert_refused(ask(operator, "GET", "/ksql"), 404, 40400, "Path not found")
    reply = ask(operator, "DELETE", "/dead-letters")
    assert_refused(reply, 405, 40500)
    assert "GET" in reply.headers["allow"]


@pytest.mark.parametrize("refusal", [NotReady(), ShuttingDown()])
def test_before_rooms_are_open_and_after_only_health_is_told(refusal: Any) -> None:
    with opened_operator(refusal=refusal) as operator:
        assert ask(operator, "GET", "/healthcheck").document == {"isHealthy": True}
        for method, path in EVERY_ROUTE[1:-1]:
            assert_refused(ask(operator, method, path), 503, refusal.code)


def test_the_admin_port_speaks_http2_too(operator: Operator) -> None:
    operator.letters.add(letter(1))
    with operator.door.peer() as peer:
        assert ask_over_http2(peer, "GET", "/healthcheck").document == {"isHealthy": True}
        assert ask_over_http2(peer, "GET", "/dead-letters").document[0]["id"] == 1
        refused_path = ask_over_http2(peer, "POST", "/query-stream", b"{}")
        assert (refused_path.status, refused_path.document["error_code"]) == (404, 40400)
