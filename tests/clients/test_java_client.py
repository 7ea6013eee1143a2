"""The imitated Java client streams: rows in around every window, rows out, and every refusal."""

from collections.abc import Iterator

import pytest

from tests.clients.java_imitation import Dialect, JavaClient
from tests.clients.java_records import ClientFailure, Column
from tests.clients.scripts import EARLIEST, Row, create_stream, fresh, rows, values
from tests.gateways import GatewayProcess

AT = "2024-02-29T12:00:00"


@pytest.fixture(params=list(Dialect), ids=["new", "old"])
def client(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Iterator[JavaClient]:
    with JavaClient(gateway.address, request.param) as connected:
        yield connected
        assert connected.peer.goaway is None, "a GOAWAY costs it all that runs"
        assert connected.server_info().version, "the connection lives"


@pytest.fixture
def stream(client: JavaClient) -> str:
    name = fresh("java")
    assert client.execute_statement(create_stream(name)) is None
    return name


def select(stream: str, rest: str = "") -> str:
    return f"SELECT ID, NAME, PRICE FROM {stream}{rest};"


# ── inserts ──────────────────────────────────────────────────────────────────────────────────


def test_one_row_is_inserted_by_a_request_of_its_own(client: JavaClient, stream: str) -> None:
    client.insert_into(stream, rows(0, 1)[0])
    assert client.execute_query(select(stream)).read_to_end() == values(0, 1)


def test_acks_come_while_it_streams_and_the_end_comes_after(
    client: JavaClient, stream: str
) -> None:
    publisher = client.stream_inserts(stream)
    for seq, row in enumerate(rows(0, 5)):
        publisher.accept([row])
        assert publisher.acks(seq + 1) == list(range(seq + 1))
    publisher.complete()
    assert publisher.wait() == list(range(5))


def wide(count: int, width: int) -> list[Row]:
    return [{"ID": n, "NAME": "x" * width, "PRICE": None, "AT": AT} for n in range(count)]


@pytest.mark.parametrize(
    ("count", "width"),
    [(200, 25), (150, 1_000), (190, 5_000), (1, 20_000), (1, 100_000), (3, 900_000)],
)
def test_rows_that_no_window_and_no_frame_limit_allows_are_acked(
    client: JavaClient, stream: str, count: int, width: int
) -> None:
    publisher = client.stream_inserts(stream)
    publisher.accept(wide(count, width))
    publisher.complete()
    assert publisher.wait() == list(range(count))


def test_several_publishers_share_the_connection(client: JavaClient, stream: str) -> None:
    publishers = [client.stream_inserts(stream) for _ in range(3)]
    for publisher in publishers:
        publisher.accept(wide(100, 2_000))
    for publisher in publishers:
        publisher.complete()
        assert publisher.wait() == list(range(100))
    assert len(client.execute_query(f"SELECT ID FROM {stream};").read_to_end()) == 300


def test_a_bad_row_fails_the_publisher_in_ksqldbs_words(client: JavaClient, stream: str) -> None:
    publisher = client.stream_inserts(stream)
    publisher.accept([*rows(0, 2), {"ID": "no number", "AT": AT}])
    expected = r"Inserts sequence number: 2\. Error code: 40000\. Message: Can't coerce a field"
    with pytest.raises(ClientFailure, match=expected):
        publisher.wait()
    assert publisher.acked == [0, 1]
    # It does not know yet, and goes on: that must not cost it the connection.
    publisher.accept(wide(50, 5_000))
    publisher.complete()


def test_a_bad_single_row_fails_in_ksqldbs_words(client: JavaClient, stream: str) -> None:
    expected = r"Received error from /inserts-stream\. Error code: 40000\. Message: Can't coerce"
    with pytest.raises(ClientFailure, match=expected):
        client.insert_into(stream, {"ID": "no number", "AT": AT})


@pytest.mark.parametrize("target", ["NO_SUCH_STREAM", "`unbalanced"])
def test_a_refused_target_is_told_before_any_row(client: JavaClient, target: str) -> None:
    expected = r"Received 400 response from server: (?s:.*) Error code: 40001"
    with pytest.raises(ClientFailure, match=expected):
        client.stream_inserts(target)
    with pytest.raises(ClientFailure, match=expected):
        client.insert_into(target, {"A": 1})


def test_values_arrive_as_the_client_writes_them(client: JavaClient, stream: str) -> None:
    """BigDecimal as text, byte[] as base64 of either alphabet, names quoted or not."""
    columns = "K STRING, `lower` BIGINT, DEC DECIMAL(5, 2), B BYTES, AT TIMESTAMP"
    name = f"{stream}_values"
    properties = f"kafka_topic='{name.lower()}', timestamp='AT', ack='queryable'"
    client.execute_statement(f"CREATE STREAM {name} ({columns}) WITH ({properties});")
    for number, text in enumerate(["-_8", "+/8="]):
        row = {"k": "a", "`lower`": number, '"DEC"': "1.50", "B": text, "AT": AT}
        client.insert_into(name, row)
    found = client.execute_query(f"SELECT * FROM {name} ORDER BY `lower`;")
    assert found.columns == [
        Column("K", "STRING"),
        Column("lower", "BIGINT"),
        Column("DEC", "DECIMAL"),
        Column("B", "BYTES"),
        Column("AT", "TIMESTAMP"),
    ]
    assert found.read_to_end() == [
        ["a", number, 1.5, "+/8=", "2024-02-29T12:00:00.000"] for number in range(2)
    ]


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def test_a_pull_query_is_read_batched_and_streamed(client: JavaClient, stream: str) -> None:
    publisher = client.stream_inserts(stream)
    publisher.accept(rows(0, 50))
    publisher.complete()
    publisher.wait()
    batched = client.execute_query(select(stream, " ORDER BY ID"))
    assert batched.read_to_end() == values(0, 50)
    assert batched.columns == [
        Column("ID", "BIGINT"),
        Column("NAME", "STRING"),
        Column("PRICE", "DOUBLE"),
    ]
    streamed = client.stream_query(select(stream, " ORDER BY ID"))
    assert [streamed.poll() for _ in range(51)] == [*values(0, 50), None]
    assert streamed.query_id is not None


def test_an_empty_result_completes(client: JavaClient, stream: str) -> None:
    assert client.execute_query(select(stream)).read_to_end() == []


def test_an_idle_push_query_has_its_header_at_once_and_can_be_closed(
    client: JavaClient, stream: str
) -> None:
    query = client.stream_query(select(stream, " EMIT CHANGES"))
    assert query.query_id is not None
    client.terminate_push_query(query.query_id)
    assert query.poll() is None
    assert query.complete
    expected = f"No query with id {query.query_id}. Error code: 40000"
    with pytest.raises(ClientFailure, match=expected):
        client.terminate_push_query(query.query_id)


def test_a_push_query_gets_rows_as_they_are_committed(client: JavaClient, stream: str) -> None:
    query = client.stream_query(select(stream, " EMIT CHANGES"), EARLIEST)
    for n in range(3):
        client.insert_into(stream, rows(n, n + 1)[0])
        assert query.poll() == values(n, n + 1)[0]
    assert query.query_id in [listed.id for listed in client.list_queries()]


def test_a_limit_ends_a_push_query_batched_or_not(client: JavaClient, stream: str) -> None:
    client.insert_into(stream, rows(0, 1)[0])
    client.insert_into(stream, rows(1, 2)[0])
    query = select(stream, " EMIT CHANGES LIMIT 2")
    batched = client.execute_query(query, EARLIEST)
    assert batched.read_to_end() == values(0, 2)
    assert batched.finals == (["Limit Reached"] if client.dialect is Dialect.NEW else [])
    streamed = client.stream_query(query, EARLIEST)
    assert [streamed.poll() for _ in range(3)] == [*values(0, 2), None]


def test_a_batched_push_query_that_is_closed_gives_the_rows_so_far(
    client: JavaClient, stream: str
) -> None:
    batched = client.execute_query(select(stream, " EMIT CHANGES"), EARLIEST)
    client.insert_into(stream, rows(0, 1)[0])
    watched = client.stream_query(select(stream, " EMIT CHANGES"), EARLIEST)
    assert watched.poll() == values(0, 1)[0]
    assert batched.query_id is not None
    client.terminate_push_query(batched.query_id)
    assert batched.read_to_end() == values(0, 1)
    assert batched.finals == (["Query Completed"] if client.dialect is Dialect.NEW else [])


def test_a_user_who_takes_nothing_shuts_the_window_and_loses_nothing(
    client: JavaClient, stream: str
) -> None:
    for first in range(0, 2_000, 200):
        publisher = client.stream_inserts(stream)
        publisher.accept(rows(first, first + 200))
        publisher.complete()
        publisher.wait()
    query = client.stream_query(f"SELECT ID, NAME, PRICE, AT, NAME FROM {stream} ORDER BY ID;")
    assert query.poll() is not None
    stalled = query.bytes_while_paused(0.3)
    assert stalled < 2 * 65_535, "no more than its windows and what 200 rows gave back"
    assert query.bytes_while_paused(0.2) == stalled
    found = [query.poll() for _ in range(2_000)]
    assert found[-1] is None
    assert [row[0] for row in found[:-1] if row is not None] == list(range(1, 2_000))


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM NO_SUCH_STREAM;", 40001),
        ("SELECT * FROM NO_SUCH_STREAM EMIT CHANGES;", 40001),
        ("SLECTT 1;", 40001),
        ("DROP STREAM X;", 40001),
    ],
)
def test_a_refused_query_fails_with_code_and_reason(
    client: JavaClient, sql: str, code: int
) -> None:
    expected = rf"Received 400 response from server: (?s:.*) Error code: {code}"
    for ask in (client.execute_query, client.stream_query):
        with pytest.raises(ClientFailure, match=expected):
            ask(sql)


def test_variables_stay_in_the_client_and_reach_the_statement(
    client: JavaClient, stream: str
) -> None:
    client.define("source", stream)
    client.define("n", 7)
    client.insert_into(stream, {"ID": 7, "AT": AT})
    assert client.execute_query("SELECT ID FROM ${source} WHERE ID = ${n};").read_to_end() == [[7]]
    assert client.describe_source("${source}").name == stream
