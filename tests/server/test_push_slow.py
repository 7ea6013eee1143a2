"""Slow readers of push queries: they wait on the disk, hurt nobody else, and are told."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from protocol.tokens import CONTINUE_FROM
from tests.frames import Credit, Setting
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.push_streams import FRAMINGS, error_of, ids, push, read_rows, read_token, rows_of
from tests.server.ksqldb import declare, header_of, insert, ksql, numbered, until
from tests.streams import Stream

MB = 1_000_000
ROWS = 20_000
WIDE_OPEN = 2**31 - 1
SHUT: dict[str, Any] = {"credit": Credit.WITHHELD, "connection_window_bytes": WIDE_OPEN}
"""a client whose streams have the window that they open with, and no more"""


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that has little patience, and little memory for a reader."""
    settings = {"QUERY__SLOW_READER_S": 0.3, "QUERY__MAILBOX_BYTES": 20_000}
    with gateway_process(tmp_path / "data", settings=settings) as running:
        yield running
        assert running.complaints == []


def live(peer: Peer) -> dict[str, int]:
    """Ids of the queries that run, with how far each is behind."""
    (entity,) = ksql(peer, "LIST QUERIES;")
    return {q["id"]: q["entriesBehind"] for q in entity["queries"]}


def read_to_reset(stream: Stream) -> None:
    """To the end of a query that breaks: its error line, and then a reset."""
    stream.peer.read_until(lambda: stream.over, 20.0, "the end")
    assert stream.reset_code is not None


def open_coalesced(peer: Peer, sql: str) -> Stream:
    """A query without tokens whose rows are packed: the test's own client has 500 to read."""
    stream = peer.open("POST", "/query-stream")
    document = {"sql": sql, "properties": {"headrace.frames": "coalesced"}}
    stream.send(json.dumps(document).encode(), end=True)
    return stream


def records_of(stream: Stream, count: int) -> list[Any]:
    """Wait for so many rows of a query without tokens: their first columns."""
    return [json.loads(line)[0] for line in stream.read_lines(1 + count)[1:]]


@pytest.mark.parametrize("accept", FRAMINGS)
def test_a_reader_that_takes_nothing_is_told_and_goes_on_behind_the_last_row_that_was_sent(
    hasty: GatewayProcess, accept: str
) -> None:
    with hasty.peer() as peer, hasty.peer(**SHUT) as stalled:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        stream = push(stalled, sql, accept=accept)
        insert(peer, name, numbered(0, ROWS), frames="coalesced")
        until(lambda: not live(peer), "the stalled query is given up")
        stream.open_window(MB)
        read_to_reset(stream)
        error = error_of(stream)
        assert error["error_code"] == 42900
        assert "query.slow_reader_s" in error["message"]
        token = error["message"].partition(f'"{CONTINUE_FROM}": "')[2].partition('"')[0]
        got = rows_of(stream)
        assert got == ids(0, len(got))
    # With patience again: on a busy machine the test itself may be the slow reader.
    hasty.stop()
    del hasty.settings["QUERY__SLOW_READER_S"]
    hasty.start()
    with hasty.peer() as peer:
        rest = push(peer, sql, token, accept)
        assert read_rows(rest, ROWS - len(got)) == ids(len(got), ROWS)


def test_a_reader_that_waits_for_rows_is_never_given_up(hasty: GatewayProcess) -> None:
    """Patience runs while rows wait for the reader, not while the reader waits for rows."""
    with hasty.peer() as peer, hasty.peer(**SHUT) as quiet:
        idle, busy = declare(peer), declare(peer)
        stream = push(quiet, f"SELECT id FROM {idle} EMIT CHANGES;")
        read_token(stream)
        stalled = push(quiet, f"SELECT id FROM {busy} EMIT CHANGES;")
        insert(peer, busy, numbered(0, ROWS), frames="coalesced")
        # The other one was given up: so much time has passed for this one too.
        until(lambda: len(live(peer)) == 1, "the stalled query is given up")
        stalled.reset()
        stream.open_window(MB)
        insert(peer, idle, numbered(0, 10))
        assert read_rows(stream, 10) == ids(0, 10)


def test_a_slow_reader_whom_the_retention_passes_is_told_and_gets_no_gap(tmp_path: Path) -> None:
    settings = {"QUERY__MAILBOX_BYTES": 20_000, "INGEST__RETENTION_BYTES": 1000}
    with gateway_process(tmp_path / "data", settings=settings) as gateway:
        with gateway.peer() as peer, gateway.peer(**SHUT) as stalled:
            name = declare(peer)
            sql = f"SELECT id FROM {name} EMIT CHANGES;"
            stream = push(stalled, sql)
            token = read_token(stream)
            insert(peer, name, numbered(0, ROWS), frames="coalesced")

            def passed() -> bool:
                again = push(peer, sql, token)
                again.reset()
                return again.status == 400

            until(passed, "the retention passes the first rows")
            stream.open_window(MB)
            read_to_reset(stream)
            assert "retention has passed" in error_of(stream)["message"]
            assert rows_of(stream) == ids(0, len(rows_of(stream)))
        assert gateway.complaints == []


def test_five_hundred_subscribers_of_whom_twenty_five_are_stalled(tmp_path: Path) -> None:
    """The others get every row; those who were stalled get theirs too once they read again."""
    batches, size = 10, 20
    settings = {
        "QUERY__PUSH_QUERIES_MAX": 500,
        "QUERY__MAILBOX_BYTES": 50_000,
        "INGEST__BATCH_AGE_S": 0.01,
    }
    with gateway_process(tmp_path / "data", settings=settings) as gateway, ExitStack() as stack:
        peer = stack.enter_context(gateway.peer())
        name = declare(peer)
        sql = f"SELECT id, name FROM {name} EMIT CHANGES;"
        wide = [
            stack.enter_context(gateway.peer(connection_window_bytes=WIDE_OPEN)) for _ in range(5)
        ]
        shut = stack.enter_context(
            gateway.peer(**SHUT, settings={Setting.INITIAL_WINDOW_SIZE: 600})
        )
        healthy = [open_coalesced(wide[number % 5], sql) for number in range(475)]
        stalled = [open_coalesced(shut, sql) for _ in range(25)]
        slow = {header_of(stream)["queryId"] for stream in stalled}
        for stream in healthy:
            header_of(stream)
        before = gateway.rss_bytes
        for batch in range(batches):
            rows = numbered(batch * size, (batch + 1) * size)
            insert(peer, name, [{**row, "NAME": "x" * 1000} for row in rows])
        for stream in healthy:
            assert records_of(stream, batches * size) == list(range(batches * size))
        behind = live(peer)
        assert set(behind) >= slow
        assert all(behind[query_id] > 0 for query_id in slow)
        assert not any(count for query_id, count in behind.items() if query_id not in slow)
        assert gateway.rss_bytes - before < 60 * MB
        shut.credit = Credit.GIVEN
        for stream in stalled:
            stream.credit = Credit.GIVEN
            stream.open_window(MB)
            assert records_of(stream, batches * size) == list(range(batches * size))
        assert gateway.complaints == []
