"""Several statements of one request, of which a later one may not be run."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import ask2, guarded_gateway, shown, who
from tests.server.ksqldb import Reply

MINE = "CREATE STREAM MINE_{0} (ID INT) WITH (kafka_topic='mine_{0}');"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with guarded_gateway(tmp_path_factory.mktemp("statements")) as running:
        assert _ksql(running, "olga", "CREATE STREAM OURS (ID INT);").status == 200
        yield running
        assert running.complaints == []


def _ksql(gateway: GatewayProcess, name: str, text: str, **variables: str) -> Reply:
    document = {"ksql": text, "sessionVariables": variables}
    body = json.dumps(document).encode()
    return ask2(gateway.address, "POST", "/ksql", body, shown(who(name)))


def _streams(gateway: GatewayProcess) -> set[str]:
    listed: Any = _ksql(gateway, "olga", "LIST STREAMS;").document
    return {stream["name"] for stream in listed[0]["streams"]}


@pytest.mark.parametrize(
    "last",
    [
        "DROP STREAM OURS;",
        "INSERT INTO OURS (ID) VALUES (1);",
        "CREATE OR REPLACE STREAM MINE_1 (ID INT) WITH (kafka_topic='OURS');",
        "INSERT INTO MINE_1 SELECT * FROM OURS PARTITIONED BY ALL;",
        "REPLACE INTO OURS OVERWRITE ALL SELECT 1 PARTITIONED BY ALL;",
        "DESCRIBE ${other};",
        "DROP STREAM ${other};",
        "DESCRIBE OURS EXTENDED;",
        "ASSERT STREAM OURS TIMEOUT 0 SECONDS;",
        "ASSERT NOT EXISTS TOPIC OURS TIMEOUT 0 SECONDS;",
    ],
)
def test_who_is_refused_the_third_statement_is_told_of_the_first_two(
    guarded: GatewayProcess, last: str
) -> None:
    first, second = MINE.format(1), "INSERT INTO MINE_1 (ID) VALUES (1);"
    reply = _ksql(guarded, "anna", f"{first} {second} {last} {MINE.format(2)}", other="OURS")
    assert (reply.status, reply.document["error_code"]) == (403, 40300)
    assert reply.document["@type"] == "statement_error"
    assert reply.document["message"].startswith("Forbidden: `anna` has no right to ")
    assert reply.document["statementText"] == last.replace("${other}", "OURS")
    (created,) = reply.document["entities"]
    assert created["commandId"] == "stream/`MINE_1`/create"
    # What was done stays done, and what follows is not begun.
    assert {"MINE_1", "OURS"} == _streams(guarded)
    assert _ksql(guarded, "anna", "DROP STREAM MINE_1;").status == 200


def test_who_is_refused_the_only_statement_gets_the_plain_error(guarded: GatewayProcess) -> None:
    reply = _ksql(guarded, "anna", "DROP STREAM OURS;")
    assert reply.status == 403
    assert set(reply.document) == {"@type", "error_code", "message"}
    assert reply.document["@type"] == "generic_error"


def test_a_claim_that_fails_behind_others_tells_of_them_too(guarded: GatewayProcess) -> None:
    text = "LIST STREAMS; ASSERT STREAM MINE_MYTH TIMEOUT 0 SECONDS;"
    reply = _ksql(guarded, "anna", text)
    assert (reply.status, reply.document["error_code"]) == (417, 41700)
    assert [entity["@type"] for entity in reply.document["entities"]] == ["streams"]


def test_a_task_stream_is_for_who_may_see_everybody_s(guarded: GatewayProcess) -> None:
    sql = json.dumps({"sql": "SELECT * FROM HEADRACE_TASKS EMIT CHANGES LIMIT 0;"}).encode()
    for name, status in (("anna", 403), ("bert", 403), ("rita", 403), ("root", 200), ("olga", 200)):
        reply = ask2(guarded.address, "POST", "/query-stream", sql, shown(who(name)))
        assert reply.status == status, name
