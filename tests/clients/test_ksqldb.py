"""PyPI's ``ksqldb``: each line of a stream must be JSON; 5 s without a byte end an insert."""

from collections.abc import Iterator

import pytest

from tests.clients.driven import Driven, Raised, driven_python
from tests.clients.installed import python_with
from tests.clients.scripts import EARLIEST, create_stream, fresh, rows, values
from tests.gateways import GatewayProcess
from tests.server.ksqldb import acks


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[Driven]:
    with driven_python(python_with("ksqldb"), "ksqldb_1", gateway.url) as started:
        yield started


@pytest.fixture
def stream(client: Driven) -> str:
    name = fresh("pypi_ksqldb")
    (entity,) = client.call("ksql", create_stream(name))
    assert entity["commandStatus"]["status"] == "SUCCESS"
    return name


def test_it_creates_lists_describes_and_drops(client: Driven, stream: str) -> None:
    (listed,) = client.call("ksql", "LIST STREAMS;")
    assert stream in [entry["name"] for entry in listed["streams"]]
    (described,) = client.call("ksql", f"DESCRIBE {stream};")
    fields = described["sourceDescription"]["fields"]
    assert [field["name"] for field in fields] == ["ID", "NAME", "PRICE", "AT"]
    client.call("ksql", f"DROP STREAM {stream};")
    (listed,) = client.call("ksql", "LIST STREAMS;")
    assert stream not in [entry["name"] for entry in listed["streams"]]


def test_it_reads_the_properties(client: Driven) -> None:
    assert {"name", "scope", "value"} <= client.call("get_properties")[0].keys()


def test_it_inserts_and_pulls(client: Driven, stream: str) -> None:
    assert client.call("inserts_stream", stream, rows(0, 300)) == acks(0, 300)
    header, *found = client.call("query_sync", f"SELECT ID, NAME, PRICE FROM {stream};")
    assert header["columnNames"] == ["ID", "NAME", "PRICE"]
    assert header["columnTypes"] == ["BIGINT", "STRING", "DOUBLE"]
    assert sorted(found) == values(0, 300)


def test_a_bad_row_reaches_it_as_the_last_line(client: Driven, stream: str) -> None:
    bad = [*rows(0, 2), {"ID": "no number", "AT": "2024-01-01"}]
    *good, error = client.call("inserts_stream", stream, bad)
    assert good == acks(0, 2)
    assert (error["@type"], error["seq"], error["error_code"]) == ("InsertError", 2, 40000)


def test_it_subscribes_and_closes(client: Driven, stream: str) -> None:
    sql = f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES;"
    header = client.call("open_query", "push", sql, EARLIEST)
    assert client.call("inserts_stream", stream, rows(0, 3)) == acks(0, 3)
    assert [client.call("next_line", "push") for _ in range(3)] == values(0, 3)
    assert client.call("close_query", header["queryId"]) is True
    assert client.call("next_line", "push") is None
    assert client.call("close_query", header["queryId"]) is False


def test_a_push_query_with_a_limit_ends_by_itself(client: Driven, stream: str) -> None:
    client.call("inserts_stream", stream, rows(0, 3))
    sql = f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES LIMIT 2;"
    client.call("open_query", "limited", sql, EARLIEST)
    lines = [client.call("next_line", "limited") for _ in range(3)]
    assert lines == [*values(0, 2), None]


def test_a_refused_statement_is_an_http_error_without_the_reason(client: Driven) -> None:
    with pytest.raises(Raised, match="HTTPError: 400 Client Error"):
        client.call("ksql", "DROP STREAM NO_SUCH_STREAM;")


def test_a_refused_query_is_taken_for_its_first_line(client: Driven) -> None:
    # It never looks at the status of a query: the error object arrives where a header belongs.
    (error,) = client.call("query_sync", "SELECT * FROM NO_SUCH_STREAM;")
    assert error["error_code"] == 40001


def test_it_cannot_be_made_with_credentials(client: Driven) -> None:
    with pytest.raises(Raised, match="TypeError: string argument without an encoding"):
        client.call("with_credentials")
