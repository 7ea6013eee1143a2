"""``/ws/query``: a schema, rows, an end; refusals that can be read; clients that leave."""

import json

import pytest

from gateway.http.drain import ServerState
from protocol.errors import InternalError
from tests.doors import opened_door
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.scripted import ScriptedQuery, scripted_app
from tests.server.ksqldb import declare, insert, ksql, numbered, until
from tests.websockets import StreamSocket, UpgradedSocket, query_path

DONE = {"error": "done"}
EARLIEST = {"auto.offset.reset": "earliest"}


@pytest.fixture(scope="module")
def filled(gateway: GatewayProcess) -> str:
    """A stream of three rows that nobody adds to."""
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 3), ack="queryable")
    return name


def live(peer: Peer, name: str) -> list[str]:
    found = ksql(peer, "LIST QUERIES;")[0]["queries"]
    return [entry["id"] for entry in found if name in entry["queryString"]]


def test_vector_71_a_push_query_gives_a_schema_rows_and_done(
    gateway: GatewayProcess, filled: str
) -> None:
    sql = f"SELECT id, name FROM {filled} EMIT CHANGES LIMIT 2;"
    with UpgradedSocket(gateway.address, query_path(sql, properties=EARLIEST)) as opened:
        assert opened.status == 101
        assert opened.read_to_close() == (1000, "done")
        schema, *rows, last = opened.documents
    assert schema == [
        {"name": "ID", "schema": {"type": "BIGINT", "fields": None, "memberSchema": None}},
        {"name": "NAME", "schema": {"type": "STRING", "fields": None, "memberSchema": None}},
    ]
    assert rows == [{"row": {"columns": [n, f"row {n}"]}} for n in range(2)]
    assert last == DONE


def test_a_pull_query_is_answered_too(gateway: GatewayProcess, filled: str) -> None:
    sql = f"SELECT id FROM {filled} WHERE id > 0 ORDER BY id;"
    with UpgradedSocket(gateway.address, query_path(sql, version=1)) as opened:
        assert opened.read_to_close() == (1000, "done")
        assert opened.documents[1:] == [
            {"row": {"columns": [1]}},
            {"row": {"columns": [2]}},
            DONE,
        ]


def test_a_large_result_arrives_whole(gateway: GatewayProcess, peer: Peer) -> None:
    name = declare(peer)
    insert(peer, name, numbered(0, 5000), ack="queryable", frames="coalesced")
    sql = f"SELECT id FROM {name} ORDER BY id;"
    with UpgradedSocket(gateway.address, query_path(sql)) as opened:
        opened.read_to_close()
        values = [message["row"]["columns"] for message in opened.documents[1:-1]]
    assert values == [[n] for n in range(5000)]


def test_the_schema_comes_at_once_and_rows_as_they_are_inserted(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with UpgradedSocket(gateway.address, query_path(sql)) as opened:
        opened.read_texts(1)
        for number in range(3):
            insert(peer, stream_name, numbered(number, number + 1))
            text = opened.read_texts(number + 2)[-1]
            assert json.loads(text) == {"row": {"columns": [number]}}
        ksql(peer, f"TERMINATE {live(peer, stream_name)[0]};")
        assert opened.read_to_close() == (1000, "done")


REFUSED = {
    "no request": ("/ws/query", "The parameter 'request' is missing"),
    "another version": (query_path("SELECT 1;", version=2), "Received request in unsupported"),
    "no JSON": ("/ws/query?request=%7B", "Invalid JSON in request: "),
    "no statement": (query_path(""), "Expected exactly one KSQL statement"),
    "no query": (query_path("LIST STREAMS;"), "Neither a query nor a print statement"),
    "an unknown source": (query_path("SELECT * FROM nope EMIT CHANGES;"), ""),
    "a long refusal": (query_path(f"SELECT {'é' * 300} FROM nope;"), ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_a_message_and_a_close_frame(gateway: GatewayProcess, case: str) -> None:
    path, message = REFUSED[case]
    with UpgradedSocket(gateway.address, path) as opened:
        assert opened.status == 101
        code, reason = opened.read_to_close()
        (document,) = opened.documents
    assert code == 1003
    assert document["error"].startswith(message)
    assert document["error"].startswith(reason.removesuffix("..."))
    assert len(reason.encode()) <= 123


def test_a_query_that_breaks_closes_with_an_internal_error() -> None:
    query = ScriptedQuery(chunks=[b"[0]\n"], error=InternalError("broken"))
    with opened_door(scripted_app(query)) as door:
        with UpgradedSocket(door.address, query_path("SELECT 1;")) as opened:
            assert opened.read_to_close() == (1011, "broken")
            assert opened.documents[1:] == [{"row": {"columns": [0]}}, {"error": "broken"}]
        assert query.closed


def test_a_fault_inside_is_not_told_but_its_kind() -> None:
    with (
        opened_door(scripted_app(RuntimeError("a secret"))) as door,
        UpgradedSocket(door.address, query_path("SELECT 1;")) as opened,
    ):
        assert opened.read_to_close()[0] == 1011
        assert "secret" not in opened.texts[0]


@pytest.mark.parametrize("state", [ServerState.STARTING, ServerState.STOPPING])
def test_a_server_that_does_not_run_asks_to_try_later(state: ServerState) -> None:
    with (
        opened_door(scripted_app(ScriptedQuery(), state)) as door,
        UpgradedSocket(door.address, query_path("SELECT 1;")) as opened,
    ):
        assert opened.read_to_close()[0] == 1013


@pytest.mark.parametrize("way", ["close frame", "disconnect"])
def test_a_client_that_leaves_ends_its_query(
    gateway: GatewayProcess, peer: Peer, stream_name: str, way: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with UpgradedSocket(gateway.address, query_path(sql)) as opened:
        opened.read_texts(1)
        assert live(peer, stream_name)
        if way == "close frame":
            opened.send(opened.close_frame())
            until(lambda: not live(peer, stream_name), "the query is over")
    until(lambda: not live(peer, stream_name), "the query is over")


def test_what_a_client_says_is_not_heard(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES LIMIT 1;"
    with UpgradedSocket(gateway.address, query_path(sql)) as opened:
        opened.read_texts(1)
        opened.send(b"".join(opened.text_frame("hello " * 100) for _ in range(200)))
        insert(peer, stream_name, numbered(0, 1))
        assert opened.read_to_close() == (1000, "done")


def test_other_paths_have_no_websocket_and_this_one_is_nothing_else(
    gateway: GatewayProcess, peer: Peer
) -> None:
    with UpgradedSocket(gateway.address, "/nope") as opened:
        assert opened.status == 404
        assert json.loads(opened.read_rest())["error_code"] == 40400
    stream = peer.open("GET", query_path("SELECT 1;"), end=True)
    stream.read_to_end()
    assert stream.status == 400
    assert json.loads(stream.body)["error_code"] == 40000


def test_a_websocket_may_be_a_stream_of_http2(
    gateway: GatewayProcess, peer: Peer, filled: str
) -> None:
    """RFC 8441: extended CONNECT."""
    sql = f"SELECT id FROM {filled} EMIT CHANGES LIMIT 3;"
    opened = StreamSocket(peer, query_path(sql, properties=EARLIEST))
    assert opened.stream.status == 200
    assert opened.read_to_close() == (1000, "done")
    assert [document["row"]["columns"] for document in opened.documents[1:-1]] == [[0], [1], [2]]
    opened.stream.send(opened.close_frame(), end=True)
    peer.read_until(lambda: opened.stream.over, what="the end of the stream")
    peer.ping()


def test_a_websocket_over_http2_whose_stream_is_reset_ends_its_query(
    peer: Peer, stream_name: str
) -> None:
    opened = StreamSocket(peer, query_path(f"SELECT id FROM {stream_name} EMIT CHANGES;"))
    opened.read_texts(1)
    assert live(peer, stream_name)
    opened.stream.reset()
    until(lambda: not live(peer, stream_name), "the query is over")
