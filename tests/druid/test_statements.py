"""Statements that only a real Druid can carry out: its own INSERT and REPLACE, and its plans."""

import json
from collections.abc import Iterator

import pytest
from cluster import Cluster

from tests.contract.druid_fixture import unique
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import ask, ksql, until


@pytest.fixture(scope="module")
def gateway(druid: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(
        tmp_path_factory.mktemp("statements") / "data",
        warehouse="druid",
        arguments=["--druid-url", druid.router],
    ) as running:
        yield running


def counted(peer: Peer, name: str) -> int | None:
    """Rows that a SELECT sees; None while the Broker does not know the datasource."""
    body = json.dumps({"sql": f'SELECT COUNT(*) FROM "{name}";'}).encode()
    reply = ask(peer, "POST", "/query-stream", body)
    return json.loads(reply.body.splitlines()[1])[0] if reply.status == 200 else None


def test_druid_s_own_insert_and_replace_run_as_tasks_and_their_status_can_be_asked(
    gateway: GatewayProcess,
) -> None:
    name = unique("own")
    with gateway.peer() as peer:

        def run(sql: str) -> None:
            (entity,) = ksql(peer, sql)
            assert entity["@type"] == "currentStatus"
            command = entity["commandId"]
            until(
                lambda: ask(peer, "GET", f"/status/{command}").document["status"] != "RUNNING",
                "the task has ended",
                within_s=60.0,
            )
            assert ask(peer, "GET", f"/status/{command}").document["status"] == "SUCCESS"

        rows = "(VALUES (TIMESTAMP '2024-01-01', 'a'), (TIMESTAMP '2024-01-02', 'b'))"
        select = f'SELECT "t" AS "__time", "s" FROM {rows} AS v("t", "s")'
        run(f'INSERT INTO "{name}" {select} PARTITIONED BY DAY;')
        run(f'REPLACE INTO "{name}" OVERWRITE ALL {select} PARTITIONED BY DAY;')
        until(lambda: counted(peer, name) == 2, "the replaced rows are loaded", within_s=60.0)


def test_a_query_is_explained_by_druid_s_own_plan(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        (entity,) = ksql(peer, "EXPLAIN SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES;")
    assert entity["@type"] == "queryDescription"
    assert entity["queryDescription"]["executionPlan"]
