"""npm's ``ksqldb-client``: one HTTP/2 session; reads a push query one DATA frame a document."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.driven import Driven, Raised, Silent, driven_node
from tests.clients.installed import npm_clients
from tests.clients.scripts import EARLIEST, Row, create_stream, fresh
from tests.gateways import GatewayProcess

AT = "2024-02-29T12:00:00"


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[Driven]:
    with driven_node(npm_clients(), "drive_ksqldb_client.js", gateway.url) as started:
        started.call("connect")
        yield started
        started.call("disconnect")


@pytest.fixture
def stream(client: Driven) -> str:
    name = fresh("npm")
    created = client.call("executeStatement", create_stream(name))
    assert created["data"]["rows"][0]["commandStatus"]["status"] == "SUCCESS"
    return name


def ascii_rows(first: int, end: int) -> list[Row]:
    """ASCII only: its content-length counts characters, not bytes."""
    return [{"ID": n, "NAME": f"row {n}", "PRICE": n / 2, "AT": AT} for n in range(first, end)]


def visible(first: int, end: int) -> list[dict[str, Any]]:
    return [{"ID": n, "NAME": f"row {n}", "PRICE": n / 2} for n in range(first, end)]


def inserted(client: Driven, stream: str, first: int, end: int) -> None:
    for row in ascii_rows(first, end):
        reply = client.call("insertInto", stream, row)
        assert reply["data"]["rows"] == [{"status": "ok", "seq": 0}]


def test_it_lists_and_describes(client: Driven, stream: str) -> None:
    assert stream in [entry["name"] for entry in client.call("listStreams")]
    assert stream.lower() in [topic["name"] for topic in client.call("listTopics")]
    assert isinstance(client.call("listTables"), list)
    fields = client.call("describeSource", stream)["fields"]
    assert [field["name"] for field in fields] == ["ID", "NAME", "PRICE", "AT"]
    dropped = client.call("executeStatement", f"DROP STREAM {stream};")
    assert dropped["status"] == 200


def test_it_inserts_and_pulls(client: Driven, stream: str) -> None:
    inserted(client, stream, 0, 3)
    reply = client.call("query", f"SELECT ID, NAME, PRICE FROM {stream} ORDER BY ID;")
    assert reply["data"]["rows"] == visible(0, 3)
    assert reply["data"]["metadata"]["columnTypes"] == ["BIGINT", "STRING", "DOUBLE"]


def test_it_subscribes_lists_the_query_and_closes_it(client: Driven, stream: str) -> None:
    sql = f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES;"
    client.call("openQuery", "push", sql, {"properties": EARLIEST})
    query_id = client.call("nextOf", "push")["metadata"]["queryId"]
    inserted(client, stream, 0, 3)
    assert [client.call("nextOf", "push")["rows"] for _ in range(3)] == [
        [row] for row in visible(0, 3)
    ]
    assert query_id in [query["id"] for query in client.call("listQueries")]
    assert client.call("terminatePushQuery", query_id)["status"] == 200
    assert client.call("nextOf", "push")["ended"]["status"] == 200
    assert query_id not in [query["id"] for query in client.call("listQueries")]
    refused = client.call("terminatePushQuery", query_id)
    assert refused["error"]["message"] == f"No query with id {query_id}"


def test_refusals_reach_it_with_code_and_reason(client: Driven, stream: str) -> None:
    refused = client.call("executeStatement", "DROP STREAM NO_SUCH_STREAM;")
    assert (refused["status"], refused["error"]["error_code"]) == (400, 40001)
    refused = client.call("query", "SELECT * FROM NO_SUCH_STREAM;")
    assert (refused["status"], refused["error"]["error_code"]) == (400, 40001)
    refused = client.call("insertInto", stream, {"ID": "no number"})
    assert (refused["error"]["error_code"], refused["error"]["seq"]) == (40000, 0)


def test_the_reason_of_a_refused_target_is_lost_in_it(client: Driven) -> None:
    # It takes the error object for an array of acks.
    with pytest.raises(Raised, match="TypeError: Invalid attempt to destructure"):
        client.call("insertInto", "NO_SUCH_STREAM", {"ID": 1})


def test_a_row_that_is_not_ascii_costs_it_that_call_and_no_other(
    client: Driven, stream: str
) -> None:
    # Its content-length counts characters, so the body is longer than it said: the stream is reset
    # (RFC 9113 §8.1.1), whereupon it waits for an end that a reset stream never has. On stock
    # HTTP/2 servers its whole connection is lost.
    with pytest.raises(Silent):
        client.call("insertInto", stream, {"ID": 1, "NAME": "ä", "AT": AT}, within_s=1.0)
    inserted(client, stream, 2, 3)
    reply = client.call("query", f"SELECT ID, NAME, PRICE FROM {stream};")
    assert reply["data"]["rows"] == visible(2, 3)
