"""Cube's driver for ksqlDB (npm): axios on HTTP/1.1, `/ksql` only, always with credentials."""

from collections.abc import Iterator

import pytest

from tests.clients.driven import Driven, Raised, driven_node
from tests.clients.installed import npm_clients
from tests.clients.scripts import create_stream, fresh
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import ksql


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[Driven]:
    with driven_node(npm_clients(), "drive_cube.js", gateway.url) as started:
        yield started


@pytest.fixture
def stream(peer: Peer) -> str:
    name = fresh("cube")
    ksql(peer, create_stream(name))
    return name


def test_its_connection_test_passes(client: Driven) -> None:
    client.call("testConnection")


def test_it_finds_the_streams_and_their_columns(client: Driven, stream: str) -> None:
    assert stream in [table["tableName"] for table in client.call("fetchTables")]
    columns = client.call("tablesSchema")[""][stream]
    assert {"name": "ID", "type": "BIGINT"} in columns
    assert {"name": "PRICE", "type": "DOUBLE"} in columns


def test_it_says_where_cube_store_may_stream_from(
    client: Driven, stream: str, gateway: GatewayProcess
) -> None:
    source = client.call("downloadTable", stream, {"streamOffset": "earliest"})
    assert source["streamingTable"] == stream
    assert source["partitions"] == 1
    assert source["streamingSource"]["credentials"]["url"] == gateway.url
    assert {"name": "ID", "type": "bigint"} in source["types"]


def test_it_creates_and_drops_a_table(client: Driven) -> None:
    name = fresh("cube_table")
    sql = f"CREATE TABLE {name} (ID BIGINT PRIMARY KEY, AT TIMESTAMP) WITH (kafka_topic='t')"
    assert client.call("query", sql)["commandStatus"]["status"] == "SUCCESS"
    client.call("dropTable", name)
    assert name not in [table["tableName"] for table in client.call("fetchTables")]


def test_its_pre_aggregations_are_refused_with_a_reason(client: Driven, stream: str) -> None:
    sql = f"CREATE TABLE rollup AS SELECT ID, COUNT(*) FROM {stream} GROUP BY ID"
    with pytest.raises(Raised, match=r"ksql API error for .*AS SELECT"):
        client.call("loadPreAggregationIntoTable", "rollup", sql, [], {})


def test_it_refuses_selects_itself(client: Driven, stream: str) -> None:
    with pytest.raises(Raised, match="allowed only from Cube Store"):
        client.call("query", f"SELECT * FROM {stream}")
