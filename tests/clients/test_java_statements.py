"""The imitated Java client's statements: what works is parsed as strictly as it parses, and what
Druid cannot do is refused in words that reach its user."""

import json
from collections.abc import Iterator

import pytest

from tests.clients.java_imitation import JavaClient
from tests.clients.java_records import ClientFailure
from tests.clients.scripts import create_stream, fresh
from tests.gateways import GatewayProcess


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[JavaClient]:
    with JavaClient(gateway.address) as connected:
        yield connected
        assert connected.peer.goaway is None


@pytest.fixture
def stream(client: JavaClient) -> str:
    name = fresh("java_ddl")
    assert client.execute_statement(create_stream(name)) is None
    return name


def refused(sql: str) -> str:
    return rf"Received 400 response from server: (?s:.*{sql}.*) Error code: 40001"


def test_the_server_is_known(client: JavaClient) -> None:
    """Its migrations tool wants a version that it can compare."""
    major, minor, *_ = client.server_info().version.split(".")
    assert (int(major), int(minor)) >= (6, 0)


def test_a_raw_request_gets_a_raw_reply(client: JavaClient) -> None:
    status, body = client.send("GET", "/info", {})
    assert (status, json.loads(body)["KsqlServerInfo"]["serverStatus"]) == (200, "RUNNING")
    payload = {"ksql": "list streams;", "streamsProperties": {"x": "y"}}
    status, body = client.send("POST", "/ksql", payload)
    assert (status, json.loads(body)[0]["@type"]) == (200, "streams")


def test_custom_headers_do_no_harm(gateway: GatewayProcess) -> None:
    with JavaClient(gateway.address, headers={"h1": "v1", "user-agent": "mine"}) as client:
        assert client.server_info().version


def test_streams_are_listed_and_described(client: JavaClient, stream: str) -> None:
    (listed,) = [source for source in client.list_streams() if source.name == stream]
    assert (listed.topic, listed.key_format, listed.value_format, listed.windowed) == (
        stream.lower(),
        "KAFKA",
        "JSON",
        False,
    )
    described = client.describe_source(stream)
    assert (described.name, described.type, described.timestamp) == (stream, "STREAM", "AT")
    assert described.fields == [
        ("ID", "BIGINT"),
        ("NAME", "STRING"),
        ("PRICE", "DOUBLE"),
        ("AT", "TIMESTAMP"),
    ]
    assert stream.lower() in client.list_topics()


def test_tables_are_listed_and_described(client: JavaClient) -> None:
    name = fresh("java_table")
    columns = "K STRING PRIMARY KEY, M MAP<STRING, INT>, S STRUCT<F ARRAY<DOUBLE>>, AT TIMESTAMP"
    client.execute_statement(f"CREATE TABLE {name} ({columns}) WITH (kafka_topic='t');")
    assert name in [source.name for source in client.list_tables()]
    described = client.describe_source(name)
    assert (described.type, described.keys) == ("TABLE", ["K"])
    assert [field.type for field in described.fields] == ["STRING", "MAP", "STRUCT", "TIMESTAMP"]
    assert client.execute_statement(f"DROP TABLE {name};") is None


def test_push_queries_are_listed_and_terminated(client: JavaClient, stream: str) -> None:
    query = client.stream_query(f"SELECT ID FROM {stream} EMIT CHANGES;")
    (listed,) = [listed for listed in client.list_queries() if listed.id == query.query_id]
    assert (listed.type, stream in listed.sql) == ("PUSH", True)
    # It cannot digest the entity that says so: of its own making, the statement was carried out.
    with pytest.raises(ClientFailure, match="Unexpected server response type"):
        client.execute_statement(f"TERMINATE {query.query_id};")
    assert query.poll() is None


def test_a_statement_may_be_run_again(client: JavaClient, stream: str) -> None:
    again = create_stream(stream)
    assert client.execute_statement(again.replace("STREAM", "STREAM IF NOT EXISTS", 1)) is None
    assert client.execute_statement(again.replace("CREATE", "CREATE OR REPLACE", 1)) is None
    with pytest.raises(ClientFailure, match="Cannot add stream"):
        client.execute_statement(again)
    assert client.execute_statement(f"DROP STREAM {stream};") is None
    assert client.execute_statement(f"DROP STREAM IF EXISTS {stream};") is None


def test_settings_leave_nothing_to_show(client: JavaClient) -> None:
    with pytest.raises(ClientFailure, match="accepted the statement"):
        client.execute_statement("SET 'auto.offset.reset' = 'earliest';")


def test_what_belongs_to_another_method_is_told(client: JavaClient, stream: str) -> None:
    for sql, method in (
        ("LIST STREAMS;", "listStreams"),
        (f"DESCRIBE {stream};", "describeSource"),
    ):
        with pytest.raises(ClientFailure, match=method):
            client.execute_statement(sql)


def test_persistent_queries_are_refused_with_a_way_out(client: JavaClient, stream: str) -> None:
    for kind in ("STREAM", "TABLE"):
        with pytest.raises(ClientFailure, match=refused("AS SELECT")):
            client.execute_statement(f"CREATE {kind} C AS SELECT * FROM {stream} EMIT CHANGES;")


def test_connectors_are_refused_with_a_way_out(client: JavaClient) -> None:
    with pytest.raises(ClientFailure, match=refused("CONNECTOR")):
        client.create_connector("c", {"connector.class": "x"})
    with pytest.raises(ClientFailure, match=refused("CONNECTOR")):
        client.drop_connector("c")
    with pytest.raises(ClientFailure, match=refused("CONNECTOR")):
        client.describe_connector("c")
    assert client.list_connectors() == []


def test_assertions_hold_or_fail_in_words(client: JavaClient, stream: str) -> None:
    client.assert_topic(stream.lower(), 1)
    client.assert_topic("no_such_topic", 1, exists=False)
    with pytest.raises(ClientFailure, match=r"Received 417 response .* Error code: 41700"):
        client.assert_topic("no_such_topic", 1)


def test_schemas_are_not_there_to_be_asserted(client: JavaClient) -> None:
    for exists in (True, False):
        with pytest.raises(ClientFailure, match=r"Received 4\d\d response from server: .*"):
            client.assert_schema("s", 1, exists=exists)


def test_a_refused_statement_is_told_with_code_and_text(client: JavaClient) -> None:
    with pytest.raises(ClientFailure, match=refused("NO_SUCH_STREAM")):
        client.describe_source("NO_SUCH_STREAM")
    with pytest.raises(ClientFailure, match=refused("NO_SUCH_STREAM")):
        client.execute_statement("DROP STREAM NO_SUCH_STREAM;")
    with pytest.raises(ClientFailure, match=r"Error code: 40002"):
        client.execute_statement("SELECT 1;")
