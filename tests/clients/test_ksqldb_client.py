"""PyPI's ``ksqldb-client``: HTTP/1.1, whole bodies, pydantic models; it has no inserts."""

from collections.abc import Iterator

import pytest

from tests.clients.driven import Driven, Raised, driven_python
from tests.clients.installed import python_with
from tests.clients.scripts import EARLIEST, create_stream, fresh, rows, values
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import acks, header_of, insert, open_query


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[Driven]:
    with driven_python(python_with("ksqldb-client"), "ksqldb_client_0", gateway.url) as started:
        yield started


@pytest.fixture
def stream(client: Driven) -> str:
    name = fresh("pypi_client")
    (entity,) = client.call("ksql", create_stream(name))
    assert entity["commandStatus"]["status"] == "SUCCESS"
    return name


def test_it_reads_the_server_info(client: Driven) -> None:
    info = client.call("info")["KsqlServerInfo"]
    assert info["serverStatus"] == "RUNNING"


def test_it_creates_lists_describes_and_drops(client: Driven, stream: str) -> None:
    (listed,) = client.call("ksql", "LIST STREAMS;")
    (entry,) = [entry for entry in listed["streams"] if entry["name"] == stream]
    assert (entry["keyFormat"], entry["isWindowed"]) == ("KAFKA", False)
    (described,) = client.call("ksql", f"DESCRIBE {stream};")
    assert described["@type"] == "sourceDescription"
    (again,) = client.call("ksql", create_stream(stream).replace("STREAM", "STREAM IF NOT EXISTS"))
    assert again["@type"] == "warning_entity"
    (dropped,) = client.call("ksql", f"DROP STREAM {stream};")
    assert dropped["commandStatus"]["status"] == "SUCCESS"


def test_it_substitutes_variables(client: Driven, stream: str) -> None:
    (described,) = client.call("ksql", "DESCRIBE ${name};", {"name": stream})
    assert described["statementText"] == f"DESCRIBE {stream};"


def test_it_inserts_by_a_statement_and_pulls(client: Driven, stream: str) -> None:
    names = "(ID, NAME, PRICE, AT)"
    literal = ", ".join(f"'{v}'" if isinstance(v, str) else str(v) for v in rows(7, 8)[0].values())
    assert client.call("ksql", f"INSERT INTO {stream} {names} VALUES ({literal});") == []
    header, row, final = client.call("query", f"SELECT ID, NAME, PRICE FROM {stream};")
    assert header["header"]["schema"] == "`ID` BIGINT, `NAME` STRING, `PRICE` DOUBLE"
    assert row["row"]["columns"] == values(7, 8)[0]
    assert final == {"finalMessage": "Query Completed"}


def test_a_push_query_with_a_limit_is_read_whole(client: Driven, stream: str, peer: Peer) -> None:
    assert insert(peer, stream, rows(0, 3)) == acks(0, 3)
    sql = f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES LIMIT 2;"
    _header, *found, final = client.call("query", sql, EARLIEST)
    assert [item["row"]["columns"] for item in found] == values(0, 2)
    assert final == {"finalMessage": "Limit Reached"}


def test_it_closes_a_query_that_another_client_runs(
    client: Driven, stream: str, peer: Peer
) -> None:
    push = open_query(peer, f"SELECT ID FROM {stream} EMIT CHANGES;")
    query_id = header_of(push)["queryId"]
    assert client.call("close_query", query_id) == {}
    push.read_to_end()
    with pytest.raises(Raised, match=f"APIError: 40000 - No query with id {query_id}"):
        client.call("close_query", query_id)


def test_refusals_reach_it_with_code_and_reason(client: Driven) -> None:
    with pytest.raises(Raised, match=r"APIError: 40001 - .*NO_SUCH_STREAM"):
        client.call("ksql", "DROP STREAM NO_SUCH_STREAM;")
    with pytest.raises(Raised, match=r"APIError: 40001 - .*NO_SUCH_STREAM"):
        client.call("query", "SELECT * FROM NO_SUCH_STREAM;")


def test_it_cannot_read_what_it_asks_for_on_query_stream(client: Driven, stream: str) -> None:
    # It sends no Accept of its own there, gets lines, and reads them as one JSON document. A
    # header alone is one document, and no list of items.
    with pytest.raises(Raised, match=r"ValidationError|JSONDecodeError"):
        client.call("query_stream", f"SELECT ID FROM {stream};")


def test_it_cannot_list_a_running_push_query(client: Driven, stream: str, peer: Peer) -> None:
    push = open_query(peer, f"SELECT ID FROM {stream} EMIT CHANGES;")
    header_of(push)
    # Its model wants exactly one sink; ksqlDB's own push queries have none.
    with pytest.raises(Raised, match=r"(?s)ValidationError: .*sinks"):
        client.call("ksql", "LIST QUERIES;")
    push.reset()


def test_it_cannot_read_the_status_of_a_statement(client: Driven, stream: str) -> None:
    # Its model wants a text where ksqlDB says null for everything but persistent queries.
    with pytest.raises(Raised, match=r"(?s)ValidationError: .*queryId"):
        client.call("status", f"stream/`{stream}`/create")


def test_it_never_made_its_cluster_status(client: Driven) -> None:
    with pytest.raises(Raised, match="NotImplementedError"):
        client.call("cluster_status")
