"""Compatibility vectors of the protocol notes (§8), by number, and the endpoints around streams."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.http.app import LANE_PATHS
from gateway.http.drain import ServerState
from gateway.seams import Permit
from protocol.errors import RowRejected
from protocol.framing import Framing
from protocol.inserts import InsertsStream
from protocol.rows import Field, RowChecker, RowSchema
from protocol.types import BIGINT, Column
from tests.doors import Door, opened_door
from tests.gateways import GatewayProcess, gateway_process
from tests.http1 import ChunkedRequest
from tests.peers import Peer
from tests.scripted import ScriptedQueries, ScriptedQuery, scripted_app
from tests.server.ksqldb import (
    JSON,
    Reply,
    acks,
    arguments_line,
    ask,
    count,
    declare,
    header_of,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    open_query,
    records,
    until,
)
from tests.streams import Stream

V1 = "application/vnd.ksql.v1+json"
EARLY_END = "Invalid JSON in request: Unexpected end-of-input: expected close marker for Object"


@pytest.fixture(scope="module")
def filled(gateway: GatewayProcess) -> str:
    """A stream of ten rows that nobody adds to."""
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 10), ack="queryable")
    return name


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that lets ten push queries live, and takes inserts over HTTP/1.1."""
    settings = {"QUERY__PUSH_QUERIES_MAX": 10, "HTTP__INSERTS_OVER_HTTP1": "true"}
    folder = tmp_path_factory.mktemp("limited") / "data"
    with gateway_process(folder, settings=settings) as running:
        yield running
        complaints = running.complaints
        assert running.stop() == 0
    assert complaints == []


@pytest.fixture
def target(limited: GatewayProcess) -> str:
    """A stream of that gateway's."""
    with limited.peer() as peer:
        return declare(peer)


def live_ids(peer: Peer) -> set[str]:
    return {entry["id"] for entry in ksql(peer, "LIST QUERIES;")[0]["queries"]}


def push(peer: Peer, name: str) -> tuple[Stream, str]:
    """A push query that runs, and its id."""
    stream = open_query(peer, f"SELECT * FROM {name} EMIT CHANGES;")
    return stream, header_of(stream)["queryId"]


def assert_error(reply: Reply, status: int, code: int, message: str = "") -> None:
    assert (reply.status, reply.document["error_code"]) == (status, code)
    assert reply.document["message"].startswith(message)
    assert reply.headers["content-type"] == JSON


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def test_vector_01_a_pull_query_gives_metadata_and_rows_and_is_no_push_query(
    peer: Peer, filled: str
) -> None:
    document = {"sql": f"SELECT * FROM {filled};", "properties": {"prop1": "val1", "prop2": 23}}
    reply = ask(peer, "POST", "/query-stream", document)
    header, *rows = [json.loads(line) for line in reply.body.splitlines()]
    assert reply.status == 200
    assert header["queryId"] is not None
    assert len(header["columnNames"]) == len(header["columnTypes"]) == len(rows[0]) == 7
    assert len(rows) == 10
    assert header["queryId"] not in live_ids(peer)


def test_vector_02_variables_are_put_into_the_text(peer: Peer, filled: str) -> None:
    document = {
        "sql": "SELECT id FROM ${name} WHERE id = 3;",
        "sessionVariables": {"name": filled},
    }
    reply = ask(peer, "POST", "/query-stream", document)
    assert json.loads(reply.body.splitlines()[1]) == [3]


def test_vector_02_properties_and_variables_reach_the_query_room_as_sent() -> None:
    queries = ScriptedQueries(ScriptedQuery())
    app = scripted_app(ScriptedQuery(), queries=queries)
    with opened_door(app, lane_paths=LANE_PATHS) as door, door.peer() as peer:
        sent = {"properties": {"a": 1}, "sessionVariables": {"v": "w"}, "requestProperties": {}}
        assert ask(peer, "POST", "/query-stream", {"sql": "x", **sent}).status == 200
    (asked,) = queries.asked
    assert (asked.sql, asked.properties, asked.session_variables) == ("x", {"a": 1}, {"v": "w"})


def test_vector_03_a_push_query_stays_open_and_is_listed(peer: Peer, stream_name: str) -> None:
    stream, query_id = push(peer, stream_name)
    insert(peer, stream_name, numbered(0, 2))
    stream.read_lines(3)
    assert not stream.over
    assert query_id in live_ids(peer)


def test_vector_04_many_push_queries_live_on_one_connection(peer: Peer, stream_name: str) -> None:
    ids = {push(peer, stream_name)[1] for _ in range(10)}
    assert len(ids) == 10
    assert ids <= live_ids(peer)


def test_vector_05_queries_on_different_connections_are_closed_one_by_one(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(gateway.peer()) for _ in range(10)]
        ids = [push(each, stream_name)[1] for each in peers]
        for left, query_id in reversed(list(enumerate(ids))):
            assert ask(peer, "POST", "/close-query", {"queryId": query_id}).status == 200
            assert len(live_ids(peer) & set(ids)) == left


def test_vector_06_a_connection_takes_its_queries_with_it(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with gateway.peer() as leaver:
        ids = {push(leaver, stream_name)[1] for _ in range(10)}
        assert ids <= live_ids(peer)
    until(lambda: not ids & live_ids(peer), "no query lives")


def test_vector_07_each_connection_takes_only_its_own_queries_with_it(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(gateway.peer()) for _ in range(5)]
        ids = [{push(each, stream_name)[1] for _ in range(5)} for each in peers]
        mine = set[str]().union(*ids)
        left = set(mine)

        def only_the_others_live() -> bool:
            return live_ids(peer) & mine == left

        for leaver, its_own in zip(peers, ids, strict=True):
            leaver.close()
            left -= its_own
            until(only_the_others_live, f"{len(left)} live")


def test_vector_08_a_query_without_its_text_is_refused(peer: Peer) -> None:
    reply = ask(peer, "POST", "/query-stream", {"foo": "bar"})
    assert_error(
        reply,
        400,
        40000,
        "Invalid JSON in request: Missing required creator property 'sql'",
    )


def test_vector_09_an_unknown_path_is_a_404_in_json(peer: Peer) -> None:
    """The real body is ``Not Found``, on which the Java client hangs: ours is an error object."""
    assert_error(ask(peer, "POST", "/unknown", {}), 404, 40400)


def test_vector_10_an_unknown_path_without_a_body_is_a_404(peer: Peer) -> None:
    assert_error(ask(peer, "POST", "/no-such-endpoint"), 404, 40400)


def test_vector_12_arguments_that_end_early_are_refused(peer: Peer) -> None:
    reply = ask(peer, "POST", "/query-stream", b'{"foo":1')
    assert_error(reply, 400, 40000, EARLY_END)


def test_vector_15_closing_a_query_ends_its_response_well(peer: Peer, stream_name: str) -> None:
    stream, query_id = push(peer, stream_name)
    reply = ask(peer, "POST", "/close-query", {"queryId": query_id})
    assert (reply.status, reply.body) == (200, b"{}")
    assert "content-type" not in reply.headers
    assert query_id not in live_ids(peer)
    stream.read_to_end()
    assert stream.status == 200


def test_vector_16_missing_query_id_in_close_query(peer: Peer) -> None:
    reply = ask(peer, "POST", "/close-query", {"foo": "bar"})
    assert_error(
        reply, 400, 40000, "Invalid JSON in request: Missing required creator property 'queryId'"
    )


def test_vector_17_unknown_query_id_in_close_query(peer: Peer) -> None:
    reply = ask(peer, "POST", "/close-query", {"queryId": "xyzfasgf"})
    assert_error(reply, 400, 40000, "No query with id xyzfasgf")


def test_vector_33_push_queries_beyond_the_limit_are_refused(
    limited: GatewayProcess, target: str
) -> None:
    with limited.peer() as peer:
        streams = [open_query(peer, f"SELECT * FROM {target} EMIT CHANGES;") for _ in range(14)]
        for stream in streams:
            stream.read_headers()
        refused = [stream for stream in streams if stream.status != 200]
        assert len(refused) == 4
        for stream in refused:
            stream.read_to_end()
            assert stream.headers is not None
            reply = Reply(stream.status, stream.headers, stream.body)
            assert_error(reply, 400, 40003, "Maximum number of push queries exceeded")
        assert len(live_ids(peer)) == 10
        first = next(stream for stream in streams if stream.status == 200)
        first.reset()
        until(lambda: len(live_ids(peer)) == 9, "one has gone")
        push(peer, target)
    with limited.peer() as peer:
        until(lambda: not live_ids(peer), "all have gone")


# ── inserts ──────────────────────────────────────────────────────────────────────────────────


def test_vector_18_rows_of_one_body_are_acked(peer: Peer, stream_name: str) -> None:
    assert insert(peer, stream_name, numbered(0, 3)) == acks(0, 3)


def test_vector_19_the_first_ack_comes_before_the_last_row_is_sent(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name)
    for number in range(5):
        stream.send(json_lines(numbered(number, number + 1)))
        assert records(stream)[:number] == acks(0, number)
        stream.read_lines(number + 1)
    stream.end()
    stream.read_to_end()
    assert records(stream) == acks(0, 5)


def test_vector_20_missing_target_in_inserts(peer: Peer) -> None:
    reply = ask(peer, "POST", "/inserts-stream", b"{}\n")
    assert_error(
        reply, 400, 40000, "Invalid JSON in request: Missing required creator property 'target'"
    )


def test_vector_21_a_row_that_the_store_fails_ends_the_stream_after_the_acks_before_it() -> None:
    stream = InsertsStream(Framing.DELIMITED, row_limit_bytes=1000)
    stream.receive_data(b'{"target":"S"}\n', 0)
    schema = RowSchema(fields=(Field(column=Column("A", BIGINT), stored_as="A"),))
    stream.admit(RowChecker(schema, row_limit_bytes=1000), 0, coalesced=False)
    stream.receive_data(b'{"A":1}\n' * 10, 0)
    stream.receive_end(0)
    stream.settle(0, 9)
    message = "Error in processing inserts. Check server logs for details."
    stream.fail(9, RowRejected(message, 50000))
    *taken, last = [json.loads(frame) for frame in stream.frames_to_send(100)]
    assert taken == acks(0, 9)
    assert (len(last), last["seq"], last["error_code"], last["message"]) == (5, 9, 50000, message)
    assert stream.ended


def test_vector_22_insert_arguments_that_end_early_are_refused(peer: Peer) -> None:
    assert_error(ask(peer, "POST", "/inserts-stream", b'{"foo":1'), 400, 40000, EARLY_END)


def test_vector_23_a_row_that_is_no_json_is_told_by_its_number(
    peer: Peer, stream_name: str
) -> None:
    *taken, last = insert(peer, stream_name, json_lines(numbered(0, 3)) + b"{ijqwdijqw")
    assert taken == acks(0, 3)
    assert last == {
        "@type": "InsertError",
        "status": "error",
        "seq": 3,
        "message": "Invalid JSON in inserts stream",
        "error_code": 40000,
    }


@pytest.mark.parametrize("accept", [None, "*/*", "application/vnd.ksqlapi.delimited.v1"])
def test_vector_28_acks_are_delimited_by_default(
    peer: Peer, stream_name: str, accept: str | None
) -> None:
    headers = [] if accept is None else [("accept", accept)]
    body = arguments_line(stream_name) + json_lines(numbered(0, 2))
    reply = ask(peer, "POST", "/inserts-stream", body, headers)
    assert reply.body == b'{"status":"ok","seq":0}\n{"status":"ok","seq":1}\n'
    assert "content-type" not in reply.headers


def test_vector_29_acks_may_be_one_json_array(peer: Peer, stream_name: str) -> None:
    body = arguments_line(stream_name) + json_lines(numbered(0, 2))
    reply = ask(peer, "POST", "/inserts-stream", body, [("accept", JSON)])
    assert reply.document == acks(0, 2)
    empty = ask(peer, "POST", "/inserts-stream", arguments_line(stream_name), [("accept", JSON)])
    assert empty.body == b"[]"


def test_acks_are_not_given_in_v1_json(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "POST", "/inserts-stream", arguments_line(stream_name), [("accept", V1)])
    assert_error(reply, 404, 40400)


# ── inserts over HTTP/1.1 ────────────────────────────────────────────────────────────────────


def test_vector_32_inserts_over_http1_are_refused_by_default(gateway: GatewayProcess) -> None:
    with ChunkedRequest(gateway.address, "/inserts-stream") as request:
        request.send(arguments_line("s"))
        document = json.loads(request.response.read())
    assert (request.response.status, document["error_code"]) == (400, 40004)
    assert document["message"] == "This endpoint is only available when using HTTP2"


def test_over_http1_acks_come_while_rows_are_sent(limited: GatewayProcess, target: str) -> None:
    with ChunkedRequest(limited.address, "/inserts-stream") as request:
        request.send(arguments_line(target))
        assert request.response.status == 200
        for number in range(4):
            line = json_lines(numbered(number, number + 1))
            request.send(line[:5])
            request.send(line[5:])
            assert json.loads(request.response.readline()) == acks(number, number + 1)[0]
        request.end()
        assert request.response.read() == b""
    with limited.peer() as peer:
        until(lambda: count(peer, target) == 4, "four rows are there")


@pytest.mark.parametrize("accept", [None, JSON])
def test_over_http1_a_whole_body_is_taken_too_and_the_connection_goes_on(
    limited: GatewayProcess, target: str, accept: str | None
) -> None:
    body = arguments_line(target) + json_lines(numbered(0, 2000))
    http1 = http.client.HTTPConnection(*limited.address, timeout=15)
    with contextlib.closing(http1):
        for _ in range(2):
            http1.request("POST", "/inserts-stream", body=body, headers={"accept": accept or "*/*"})
            answer = http1.getresponse().read()
            found = json.loads(answer) if accept else [json.loads(x) for x in answer.splitlines()]
            assert found == acks(0, 2000)


def test_over_http1_an_error_reaches_a_client_that_sends_everything_before_it_reads(
    limited: GatewayProcess, target: str
) -> None:
    rows = json_lines(numbered(0, 3)) + b"nope\n" + json_lines(numbered(0, 100_000))
    with ChunkedRequest(limited.address, "/inserts-stream") as request:
        request.send(arguments_line(target))
        for start in range(0, len(rows), 1 << 16):
            request.send(rows[start : start + (1 << 16)])
        request.end()
        lines = [json.loads(line) for line in request.response.read().splitlines()]
    assert lines[:3] == acks(0, 3)
    assert (lines[3]["seq"], lines[3]["error_code"]) == (3, 40000)


def test_over_http1_a_refusal_is_a_status(limited: GatewayProcess) -> None:
    with ChunkedRequest(limited.address, "/inserts-stream") as request:
        request.send(arguments_line("no_such_stream"))
        document = json.loads(request.response.read())
    assert (request.response.status, document["error_code"]) == (400, 40001)


def test_over_http1_a_client_that_leaves_keeps_the_rows_it_was_acked(
    limited: GatewayProcess, target: str
) -> None:
    with ChunkedRequest(limited.address, "/inserts-stream") as request:
        request.send(arguments_line(target) + json_lines(numbered(0, 3)))
        assert json.loads(request.response.readline())["seq"] == 0
    with limited.peer() as peer:
        until(lambda: count(peer, target) == 3, "three rows are there")


def test_http_1_0_is_told_what_is_needed(limited: GatewayProcess) -> None:
    for path, code in (("/query-stream", 40000), ("/inserts-stream", 40004)):
        http1 = http.client.HTTPConnection(*limited.address, timeout=15)
        http1._http_vsn, http1._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
        with contextlib.closing(http1):
            http1.request("POST", path, body=b'{"sql":"x","target":"x"}')
            response = http1.getresponse()
            assert (response.status, json.loads(response.read())["error_code"]) == (400, code)


# ── documents ────────────────────────────────────────────────────────────────────────────────


def test_vector_30_replies_of_ksql_have_a_content_type(peer: Peer) -> None:
    for headers in ([], [("accept", V1)], [("accept", JSON)]):
        reply = ask(peer, "POST", "/ksql", {"ksql": "SHOW STREAMS;"}, headers)
        assert (reply.status, reply.headers["content-type"]) == (200, JSON)


def test_vector_31_metadata_names_the_clusters(peer: Peer) -> None:
    reply = ask(peer, "GET", "/v1/metadata/id")
    assert set(reply.document["scope"]["clusters"]) == {"kafka-cluster", "ksql-cluster"}
    assert (reply.document["id"], reply.document["scope"]["path"]) == ("", [])
    whole = ask(peer, "GET", "/v1/metadata").document
    assert whole["clusterId"] == reply.document
    info = ask(peer, "GET", "/info").document["KsqlServerInfo"]
    assert whole["version"] == info["version"]


def test_vector_70_the_root_leads_to_info(peer: Peer) -> None:
    reply = ask(peer, "GET", "/")
    assert (reply.status, reply.headers["location"]) == (307, "/info")


def test_the_cluster_is_this_server_alone(peer: Peer) -> None:
    ((host, status),) = ask(peer, "GET", "/clusterStatus").document["clusterStatus"].items()
    assert host.startswith("127.0.0.1:")
    assert status["hostAlive"] is True
    assert status["hostStoreLags"]["stateStoreLags"] == {}


def test_terminating_the_cluster_is_refused_with_a_reason(peer: Peer) -> None:
    reply = ask(peer, "POST", "/ksql/terminate", {"deleteTopicList": ["x"]})
    assert_error(reply, 400, 40000, "Terminating the cluster is not supported by this gateway")


@pytest.mark.parametrize(
    "path",
    ["/info", "/healthcheck", "/clusterStatus", "/status", "/v1/metadata", "/v1/metadata/id"],
)
def test_a_document_is_not_for_those_who_take_no_json(peer: Peer, path: str) -> None:
    assert_error(ask(peer, "GET", path, b"", [("accept", "text/plain")]), 404, 40400)
    for accept in ("*/*", V1, "text/html,application/xml;q=0.9,*/*;q=0.8"):
        reply = ask(peer, "GET", path, b"", [("accept", accept)])
        assert (reply.status, reply.headers["content-type"]) == (200, JSON)


def test_info_may_be_asked_with_a_body_over_http1(gateway: GatewayProcess) -> None:
    http1 = http.client.HTTPConnection(*gateway.address, timeout=15)
    with contextlib.closing(http1):
        for _ in range(2):
            http1.request("GET", "/info", body=b"{}")
            document = json.loads(http1.getresponse().read())
            assert document["KsqlServerInfo"]["serverStatus"] == "RUNNING"


def test_the_status_of_a_created_stream_is_told(peer: Peer, stream_name: str) -> None:
    command_id = f"stream/`{stream_name}`/create"
    assert ask(peer, "GET", "/status").document["commandStatuses"][command_id] == "SUCCESS"
    assert ask(peer, "GET", f"/status/{command_id}").document["status"] == "SUCCESS"
    assert ask(peer, "GET", "/is_valid_property/auto.offset.reset").document is True
    assert ask(peer, "GET", "/is_valid_property/nope").status == 400


COMMAND = "stream/`X`/create"


@pytest.fixture
def told() -> Iterator[Door]:
    """A door whose rooms know one command and one property."""
    done = {"status": "SUCCESS", "message": "Stream created", "queryId": None}

    async def statuses(_: Permit) -> dict[str, str]:
        return {COMMAND: "SUCCESS"}

    async def status(command_id: str, _: Permit) -> dict[str, Any] | None:
        return done if command_id == COMMAND else None

    app = scripted_app(
        ScriptedQuery(),
        statuses=statuses,
        status=status,
        is_known_property=lambda name: name == "auto.offset.reset",
    )
    with opened_door(app, lane_paths=LANE_PATHS) as door:
        yield door


def test_the_status_of_a_command_is_told(told: Door) -> None:
    with told.peer() as peer:
        assert ask(peer, "GET", "/status").document == {"commandStatuses": {COMMAND: "SUCCESS"}}
        for path in (f"/status/{COMMAND}", "/status/stream/%60X%60/create"):
            assert ask(peer, "GET", path).document["message"] == "Stream created"
        unknown = ask(peer, "GET", "/status/stream/`Y`/create")
        assert_error(unknown, 404, 40400, "Command not found")


def test_whether_a_property_is_valid_is_told(told: Door) -> None:
    with told.peer() as peer:
        assert ask(peer, "GET", "/is_valid_property/auto.offset.reset").document is True
        assert_error(
            ask(peer, "GET", "/is_valid_property/nope"),
            400,
            40000,
            "Not recognizable as ksql, streams, consumer, or producer property: 'nope'",
        )


# ── the server's state ───────────────────────────────────────────────────────────────────────

REFUSALS = {
    ServerState.STARTING: (50302, "KSQL is not yet ready to serve requests."),
    ServerState.STOPPING: (50303, "The server is shutting down"),
    ServerState.STOPPED: (50304, "The server is shut down"),
}


@pytest.mark.parametrize("state", REFUSALS)
def test_vector_34_a_server_that_does_not_run_says_so(state: ServerState) -> None:
    code, message = REFUSALS[state]
    app = scripted_app(ScriptedQuery(), state)
    with opened_door(app, lane_paths=LANE_PATHS) as door, door.peer() as peer:
        body = {"sql": "x", "ksql": "x", "target": "x"}
        for path in ("/query-stream", "/query", "/inserts-stream", "/ksql"):
            assert_error(ask(peer, "POST", path, body), 503, code, message)
        assert_error(ask(peer, "GET", "/chc/ready"), 503, code, message)
        for path in ("/info", "/healthcheck", "/chc/live", "/v1/metadata/id"):
            assert ask(peer, "GET", path).status == 200
