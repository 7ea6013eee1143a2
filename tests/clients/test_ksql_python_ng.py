"""PyPI's ``ksql-python-ng``: takes each chunk for a line; no newline after its last row."""

import json
from collections.abc import Iterator

import pytest

from tests.clients.driven import Driven, Raised, driven_python
from tests.clients.installed import python_with
from tests.clients.scripts import COLUMNS, EARLIEST, create_stream, fresh, rows, values
from tests.gateways import GatewayProcess
from tests.server.ksqldb import acks


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[Driven]:
    with driven_python(python_with("ksql-python-ng"), "ksql_python_ng", gateway.url) as started:
        yield started


@pytest.fixture
def stream(client: Driven) -> str:
    name = fresh("pypi_ng")
    (entity,) = client.call("ksql", create_stream(name))
    assert entity["commandStatus"]["status"] == "SUCCESS"
    return name


def named(first: int, end: int) -> list[dict[str, object]]:
    return [dict(zip(("ID", "NAME", "PRICE"), row, strict=True)) for row in values(first, end)]


def test_it_asks_for_the_version_when_it_is_made(client: Driven) -> None:
    assert client.call("get_ksql_version")[0].isdigit()
    assert {"name", "scope", "value"} <= client.call("get_properties")[0].keys()


def test_it_lists_describes_and_drops(client: Driven, stream: str) -> None:
    assert stream in client.call("get_all_streams", "pypi_ng")
    info = client.call("get_stream_info", stream)
    assert [field["name"] for field in info["fields"]] == ["ID", "NAME", "PRICE", "AT"]
    client.call("drop_stream", stream)
    assert stream not in client.call("get_all_streams", "pypi_ng")
    assert client.call("get_stream_info", stream) is None


def test_its_builder_creates_a_stream(client: Driven) -> None:
    name = fresh("pypi_ng_built")
    assert client.call("create_stream", name, COLUMNS.split(", "), name.lower()) is True
    assert client.call("inserts_stream", name, rows(0, 2)) == acks(0, 2)


def test_it_runs_a_file_of_statements(client: Driven) -> None:
    one, two = fresh("pypi_ng_file"), fresh("pypi_ng_file")
    results = client.call("upload", f"{create_stream(one)}\n{create_stream(two)}\n")
    assert [entity["@type"] for (entity,) in results] == ["currentStatus"] * 2


@pytest.mark.parametrize("http2", [True, False])
def test_it_inserts_and_pulls_line_by_line(client: Driven, stream: str, http2: bool) -> None:
    assert client.call("inserts_stream", stream, rows(0, 200)) == acks(0, 200)
    sql = f"SELECT ID, NAME, PRICE FROM {stream} ORDER BY ID"
    assert client.call("pull", sql, http2, True) == named(0, 200)


@pytest.mark.parametrize("http2", [True, False])
def test_it_subscribes_and_closes(client: Driven, stream: str, http2: bool) -> None:
    sql = f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES;"
    header = json.loads(client.call("open_query", "push", sql, EARLIEST, http2))
    client.call("inserts_stream", stream, rows(0, 3))
    chunks = [client.call("next_chunk", "push") for _ in range(3)]
    assert [json.loads(chunk) for chunk in chunks] == values(0, 3)
    assert client.call("close_query", header["queryId"]) is True
    assert client.call("next_chunk", "push") is None
    assert client.call("close_query", header["queryId"]) is False


def test_a_bad_row_reaches_it_as_the_last_line(client: Driven, stream: str) -> None:
    *good, error = client.call("inserts_stream", stream, [*rows(0, 2), {"ID": "no number"}])
    assert good == acks(0, 2)
    assert (error["@type"], error["seq"], error["error_code"]) == ("InsertError", 2, 40000)


def test_refusals_reach_it_in_the_gateways_own_words(client: Driven, stream: str) -> None:
    with pytest.raises(Raised, match=r"KSQLError: .*NO_SUCH_STREAM"):
        client.call("ksql", "DROP STREAM NO_SUCH_STREAM;")
    for http2 in (True, False):
        with pytest.raises(Raised, match=r"ValueError: HTTP error encountered: 400: .*40001"):
            client.call("pull", "SELECT * FROM NO_SUCH_STREAM;", http2, False)
    with pytest.raises(Raised, match=r"KSQLError: .*AS SELECT"):
        client.call("create_stream_as", fresh("copy"), ["ID"], stream, "copy")


def test_its_table_builder_has_no_key_column(client: Driven) -> None:
    # It writes `key='ID'` into WITH, which ksqlDB dropped in 0.10; the columns are declared.
    name = fresh("pypi_ng_table")
    columns = ["ID BIGINT PRIMARY KEY", "AT TIMESTAMP"]
    assert client.call("create_table", name, columns, "t", "JSON", "ID") is True
