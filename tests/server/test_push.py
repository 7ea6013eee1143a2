"""Push queries that last: tokens over reconnects and crashes, levels, the registry, drain."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.tokens import TOKENS_ENABLED
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.push_streams import (
    FRAMINGS,
    V1_JSON,
    ids,
    parsed,
    push,
    read_rows,
    read_token,
    refusal,
    rows_of,
    tokens_of,
)
from tests.server.ksqldb import (
    Reply,
    acks,
    ask,
    declare,
    insert,
    ksql,
    numbered,
    until,
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, to be broken."""
    with gateway_process(tmp_path / "data") as running:
        yield running
        assert running.complaints == []


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("accept", FRAMINGS)
def test_a_token_stands_behind_the_header_and_behind_rows_in_every_framing(
    peer: Peer, stream_name: str, accept: str
) -> None:
    stream = push(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;", accept=accept)
    read_rows(stream, 0)
    assert len(tokens_of(stream)) == 1
    insert(peer, stream_name, numbered(0, 3))
    assert read_rows(stream, 3) == ids(0, 3)
    body = parsed(stream)
    kinds = ["row" if isinstance(e, list) else next(iter(e)) for e in body]
    assert kinds[0] == ("header" if accept == V1_JSON else "queryId")
    assert (kinds[1], kinds[-1]) == ("continuationToken", "continuationToken")
    assert len(set(tokens_of(stream))) > 1


def test_without_the_property_no_token_is_sent(peer: Peer, stream_name: str) -> None:
    insert(peer, stream_name, numbered(0, 3))
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES LIMIT 3;"
    given = {TOKENS_ENABLED: "false", "auto.offset.reset": "earliest"}
    reply = ask(peer, "POST", "/query-stream", {"sql": sql, "properties": given})
    assert b"Token" not in reply.body
    assert len(reply.body.splitlines()) == 4


@pytest.mark.parametrize("accept", FRAMINGS)
def test_a_query_goes_on_at_its_token_after_a_reconnect(
    gateway: GatewayProcess, peer: Peer, stream_name: str, accept: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with gateway.peer() as first:
        stream = push(first, sql, accept=accept)
        insert(peer, stream_name, numbered(0, 5))
        assert read_rows(stream, 5) == ids(0, 5)
        token = tokens_of(stream)[-1]
    insert(peer, stream_name, numbered(5, 9))
    again = push(peer, sql, token, accept)
    assert read_rows(again, 4) == ids(5, 9)
    again.reset()


@pytest.mark.parametrize("where", ["", " WHERE id % 7 = 3"])
def test_a_query_goes_on_within_a_batch_after_a_kill_without_a_gap_or_a_duplicate(
    own: GatewayProcess, where: str
) -> None:
    """LIMIT cuts the rows in the middle of a batch: the token behind them names the very row."""
    expected = [[n] for n in range(2000) if not where or n % 7 == 3]
    got: list[Any] = []
    token: str | None = None
    with own.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 2000))
    for limit in (1, 177, 10_000):
        with own.peer() as peer:
            sql = f"SELECT id FROM {name}{where} EMIT CHANGES LIMIT {limit};"
            stream = push(peer, sql, token, auto_offset_reset="earliest")
            due = min(limit, len(expected) - len(got))
            got += read_rows(stream, due)
            token = tokens_of(stream)[-1]
            own.kill()
            own.start()
    assert got == expected


def test_a_query_goes_on_where_it_was_though_rows_were_committed_while_the_gateway_was_down(
    own: GatewayProcess,
) -> None:
    own.settings["INGEST__BATCH_AGE_S"] = 3600
    with own.peer() as peer:
        name = declare(peer)
    own.stop()
    own.start()
    with own.peer() as peer:
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        token = read_token(push(peer, sql))
        assert insert(peer, name, numbered(0, 50), ack="spooled") == acks(0, 50)
        own.kill()
    del own.settings["INGEST__BATCH_AGE_S"]
    own.start()
    with own.peer() as peer:
        assert read_rows(push(peer, sql, token), 50) == ids(0, 50)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda t: "nonsense", "damaged"),
        (lambda t: t[:-6], "damaged"),
        (lambda t: t[:10] + ("A" if t[10] != "A" else "B") + t[11:], "damaged"),
        (lambda t: "eyJzIjp7Im8iOlsxXX0sImUiOnsibyI6WzFdfSwidiI6MH0=", "damaged"),
        (lambda t: 17, "text of a continuation token"),
    ],
)
def test_a_token_that_is_none_is_refused(
    peer: Peer, stream_name: str, spoil: Any, why: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    stream = push(peer, sql)
    token = read_token(stream)
    stream.reset()
    assert why in refusal(push(peer, sql, spoil(token)))


def test_a_token_of_another_stream_level_statement_or_gateway_is_refused(
    gateway: GatewayProcess, own: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    other = declare(peer)
    sql = "SELECT id FROM {} EMIT CHANGES{};"
    insert(peer, stream_name, numbered(0, 10))
    stream = push(peer, sql.format(stream_name, " LIMIT 4"), auto_offset_reset="earliest")
    read_rows(stream, 4)
    before, within = tokens_of(stream)[0], tokens_of(stream)[-1]
    assert "another source" in refusal(push(peer, sql.format(other, ""), before))
    spooled = push(peer, sql.format(stream_name, ""), before, headrace_push_at="spooled")
    assert "headrace.push.at" in refusal(spooled)
    changed = sql.format(stream_name, "").replace("id FROM", "id, name FROM")
    assert "same statement" in refusal(push(peer, changed, within))
    # Between two batches any statement of the source goes on.
    assert [row[0] for row in read_rows(push(peer, changed, before), 10)] == list(range(10))
    with own.peer() as stranger:
        statement = f"CREATE STREAM {stream_name} (id BIGINT) WITH (kafka_topic='x');"
        ksql(stranger, statement)
        assert "another gateway" in refusal(push(stranger, sql.format(stream_name, ""), before))


def test_a_token_older_than_the_retention_is_refused_and_says_so(own: GatewayProcess) -> None:
    own.settings["INGEST__RETENTION_BYTES"] = 0
    own.stop()
    own.start()
    with own.peer() as peer:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        stream = push(peer, sql)
        token = read_token(stream)
        stream.reset()
        for number in range(3):
            insert(peer, name, numbered(number, number + 1))

        def refused() -> bool:
            again = push(peer, sql, token)
            if again.status == 200:
                again.reset()
                return False
            return "older than the retention" in refusal(again)

        until(refused, "the retention passes the token")


def test_an_unclear_choice_of_tokens_or_of_a_level_is_refused(peer: Peer, stream_name: str) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    unclear = {TOKENS_ENABLED.replace(".", "_"): "perhaps"}
    assert TOKENS_ENABLED in refusal(push(peer, sql, **unclear))
    assert "committed or spooled" in refusal(push(peer, sql, headrace_push_at="soon"))


# ── levels ───────────────────────────────────────────────────────────────────────────────────


def test_at_spooled_rows_come_before_any_batch_is_made_and_across_a_kill(
    own: GatewayProcess,
) -> None:
    own.settings["INGEST__BATCH_AGE_S"] = 3600
    own.stop()
    own.start()
    with own.peer() as peer:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        committed = push(peer, sql)
        live = push(peer, sql, headrace_push_at="spooled")
        insert(peer, name, numbered(0, 20), ack="spooled")
        assert read_rows(live, 20) == ids(0, 20)
        token = tokens_of(live)[-1]
        insert(peer, name, numbered(20, 30), ack="spooled")
        assert rows_of(committed) == []
        own.kill()
    own.start()
    with own.peer() as peer:
        again = push(peer, sql, token, headrace_push_at="spooled")
        assert read_rows(again, 10) == ids(20, 30)
        early = push(peer, sql, headrace_push_at="spooled", auto_offset_reset="earliest")
        assert read_rows(early, 30) == ids(0, 30)


# ── registry ─────────────────────────────────────────────────────────────────────────────────


def listed(peer: Peer, query_id: str) -> dict[str, Any] | None:
    (entity,) = ksql(peer, "LIST QUERIES;")
    return next((q for q in entity["queries"] if q["id"] == query_id), None)


def test_a_listed_query_says_what_it_delivered_since_when_and_how_far_it_is_behind(
    peer: Peer, stream_name: str
) -> None:
    stream = push(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;")
    read_token(stream)
    query_id = parsed(stream)[0]["queryId"]
    found = listed(peer, query_id)
    assert found is not None
    assert (found["state"], found["rowsDelivered"], found["pushAt"]) == ("RUNNING", 0, "committed")
    insert(peer, stream_name, numbered(0, 30))
    read_rows(stream, 30)
    later = listed(peer, query_id)
    assert later is not None
    assert (later["rowsDelivered"], later["entriesBehind"]) == (30, 0)
    assert later["sinceMs"] == found["sinceMs"]
    ksql(peer, f"TERMINATE {query_id};")
    stream.read_to_end()
    assert listed(peer, query_id) is None


def test_ids_of_queries_have_nothing_in_common_that_could_be_guessed(
    peer: Peer, stream_name: str
) -> None:
    streams = [push(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;") for _ in range(8)]
    for stream in streams:
        read_token(stream)
    texts = [parsed(stream)[0]["queryId"].rpartition("_")[2] for stream in streams]
    assert all(re.fullmatch(r"\d+", text) for text in texts)
    assert len({int(text) >> 40 for text in texts}) == len(texts)
    for stream in streams:
        stream.reset()


def test_beyond_the_limit_a_push_query_is_refused_until_another_ends(own: GatewayProcess) -> None:
    own.settings["QUERY__PUSH_QUERIES_MAX"] = 2
    own.stop()
    own.start()
    with own.peer() as peer:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        first, second = push(peer, sql), push(peer, sql)
        read_token(first)
        read_token(second)
        reply: Reply = ask(peer, "POST", "/query-stream", {"sql": sql})
        assert (reply.status, reply.document["error_code"]) == (400, 40003)
        first.reset()

        def taken() -> bool:
            return ask(peer, "POST", "/query-stream", {"sql": sql[:-1] + " LIMIT 0;"}).status == 200

        until(taken, "there is room for another")


def test_a_drain_ends_push_queries_well_and_their_tokens_go_on_afterwards(
    own: GatewayProcess,
) -> None:
    with own.peer() as peer:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        stream = push(peer, sql, accept=V1_JSON)
        insert(peer, name, numbered(0, 10))
        read_rows(stream, 10)
        own.terminate()
        stream.read_to_end()
        assert json.loads(stream.body)[-1] == {"finalMessage": "Query Completed"}
        assert own.wait() == 0
    own.start()
    with own.peer() as peer:
        again = push(peer, sql, tokens_of(stream)[-1])
        insert(peer, name, numbered(10, 12))
        assert read_rows(again, 2) == ids(10, 12)
