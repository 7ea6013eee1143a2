"""`headrace query`, `streams`, `tasks` and `queries` against a real gateway."""

import contextlib
import csv
import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands import Ended, command_line, environment, headrace, headrace_on_a_terminal
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    declare,
    insert,
    json_lines,
    ksql,
    numbered,
    until,
)
from tests.terminal import INTERRUPT, on_a_terminal

EARLIEST = ("--property", "auto.offset.reset=earliest")


def command(gateway: GatewayProcess, *arguments: object, stdin: bytes = b"") -> Ended:
    return headrace(*arguments, "--url", gateway.url, stdin=stdin)


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs; it ends with the block."""
    pipe = subprocess.PIPE
    running = subprocess.Popen(
        command_line(arguments), stdout=pipe, stderr=pipe, env=environment({})
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def live_queries(peer: Peer) -> list[str]:
    return [each["id"] for each in ksql(peer, "LIST QUERIES;")[0]["queries"]]


@pytest.fixture
def filled(peer: Peer) -> str:
    """A stream with a row that no terminal is safe from, and one of nulls."""
    stream = declare(peer, "id BIGINT, name STRING, ok BOOLEAN, tags ARRAY<STRING>", timestamp=None)
    rows: list[dict[str, Any]] = [
        {"ID": 1, "NAME": 'a\tb\x1b[2J"é"', "OK": True, "TAGS": ["x", "y"]},
        {"ID": 22},
    ]
    insert(peer, stream, rows)
    return stream


# ── a query that ends ────────────────────────────────────────────────────────────────────────


def test_rows_are_tab_separated_away_from_a_terminal(gateway: GatewayProcess, filled: str) -> None:
    done = command(gateway, "query", f"SELECT id, name, ok, tags FROM {filled} ORDER BY id")
    assert (done.status, done.stderr) == (0, "")
    tabs = [["1", 'a\\tb\\x1b[2J"é"', "true", '["x","y"]'], ["22", "", "", ""]]
    assert done.fields == tabs


def test_rows_are_json_lines_or_csv_where_they_are_asked_for(
    gateway: GatewayProcess, filled: str
) -> None:
    sql = f"SELECT id, name, ok FROM {filled} ORDER BY id;"
    done = command(gateway, "query", sql, "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"ID": 1, "NAME": 'a\tb\x1b[2J"é"', "OK": True},
        {"ID": 22, "NAME": None, "OK": None},
    ]
    done = command(gateway, "query", sql, "--csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows == [["ID", "NAME", "OK"], ["1", 'a\tb\x1b[2J"é"', "true"], ["22", "", ""]]


def test_on_a_terminal_they_are_a_table_that_no_row_can_break(
    gateway: GatewayProcess, filled: str
) -> None:
    sql = f"SELECT id, name FROM {filled} ORDER BY id;"
    done = headrace_on_a_terminal("query", sql, "--url", gateway.url)
    assert (done.status, done.stdout.splitlines()) == (
        0,
        ["ID  NAME", "──  ──────────────", ' 1  a\\tb\\x1b[2J"é"', "22  null"],
    )
    done = headrace_on_a_terminal(
        "query", f"SELECT id FROM {filled} WHERE id=5", "--url", gateway.url
    )
    assert done.stdout.splitlines() == ["ID", "──"]


def test_a_query_may_come_through_a_pipe(gateway: GatewayProcess, filled: str) -> None:
    sql = f"-- how many\nSELECT COUNT(*) FROM {filled};"
    done = command(gateway, "query", "-", stdin=sql.encode())
    assert (done.status, done.stdout) == (0, "2\n")


def test_what_is_refused_is_told_in_the_gateways_words(gateway: GatewayProcess) -> None:
    done = command(gateway, "query", "SELEC 1;")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1] == "Unknown statement 'SELEC'"
    done = command(gateway, "query", "SELECT 1;", "--property", "nonsense")
    assert (done.status, "name=value" in done.stderr) == (2, True)
    done = command(gateway, "query", "SELECT 1;", "--csv", "--json")
    assert done.status == 2


def test_a_pull_query_that_takes_too_long_fails(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 5000))
    every = f"{stream_name} a JOIN {stream_name} b ON a.at = b.at JOIN {stream_name} c"
    sql = f"SELECT COUNT(*) FROM {every} ON c.at = b.at;"
    done = command(gateway, "query", sql, "--timeout", 0.2)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "headrace: The query was ended because it took longer than 200 ms"
    )


# ── a query that goes on ─────────────────────────────────────────────────────────────────────


def test_rows_of_a_push_query_are_printed_as_they_come_and_interrupt_closes_it(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with started("query", sql, *EARLIEST, "--json", "--url", gateway.url) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        for number in range(3):
            insert(peer, stream_name, numbered(number, number + 1))
            assert json.loads(running.stdout.readline()) == {"ID": number}
        assert len(live_queries(peer)) == 1
        running.send_signal(signal.SIGINT)
        assert (running.stderr.read(), running.wait(30)) == (b"", 130)
    until(lambda: live_queries(peer) == [], "the end of the query")


def test_on_a_terminal_a_push_query_is_a_table_that_grows(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id, name FROM {stream_name} EMIT CHANGES;"
    with on_a_terminal("query", sql, *EARLIEST, "--url", gateway.url) as terminal:
        insert(peer, stream_name, numbered(0, 1))
        shown = terminal.expect(r"ID +NAME\n─+ +─+\n +0  row 0\n")
        insert(peer, stream_name, numbered(1, 2))
        terminal.expect(r" +1  row 1\n", after=shown)
        terminal.type(INTERRUPT)
        assert terminal.wait() == 130


def test_a_limit_ends_a_push_query_well(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 5))
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES LIMIT 2;"
    done = command(gateway, "query", sql, *EARLIEST)
    assert (done.status, done.stdout, done.stderr) == (0, "0\n1\n", "")


def test_a_timeout_ends_a_push_query_well_and_a_table_of_nothing_shows_its_header(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with on_a_terminal("query", sql, "--timeout", 1, "--url", gateway.url) as terminal:
        assert terminal.wait() == 0
        assert terminal.shown == "ID\n──\n"
    until(lambda: live_queries(peer) == [], "the end of the query")


def test_a_query_that_is_closed_elsewhere_ends_well(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    sql = f"SELECT id FROM {stream_name} EMIT CHANGES;"
    with started("query", sql, "--url", gateway.url) as running:
        until(lambda: len(live_queries(peer)) == 1, "the query")
        (query_id,) = live_queries(peer)
        listed = command(gateway, "queries", "--json")
        assert json.loads(listed.stdout)["id"] == query_id
        (fields,) = command(gateway, "queries", "list").fields
        assert (fields[0], fields[1], fields[-1]) == (
            query_id,
            "PUSH",
            f"SELECT id FROM {stream_name}",
        )
        closed = command(gateway, "queries", "close", query_id, "query_7")
        assert (closed.status, closed.fields) == (1, [[query_id, "closed"]])
        assert "query query_7: " in closed.stderr
        assert running.wait(30) == 0
    assert command(gateway, "queries").stdout == ""
    assert command(gateway, "queries", "close").status == 2


# ── what there is ────────────────────────────────────────────────────────────────────────────


def test_streams_are_listed_and_described(gateway: GatewayProcess, peer: Peer) -> None:
    stream = declare(peer, "id BIGINT, amount DECIMAL(6, 2), at TIMESTAMP")
    done = command(gateway, "streams")
    assert [stream, "STREAM", stream.lower(), "JSON"] in done.fields
    done = command(gateway, "streams", stream.lower())
    columns = [["ID", "BIGINT", ""], ["AMOUNT", "DECIMAL(6, 2)", ""], ["AT", "TIMESTAMP", "time"]]
    assert (done.status, done.fields) == (0, columns)
    done = command(gateway, "streams", stream, "--json")
    assert json.loads(done.stdout.splitlines()[2]) == {
        "column": "AT",
        "type": "TIMESTAMP",
        "time": "time",
    }
    done = headrace_on_a_terminal("streams", stream, "--url", gateway.url)
    assert re.match(r"column +type +time *\nID +BIGINT", done.stdout)
    for name in ("NOPE", 'x"; DROP STREAM y; --'):
        done = command(gateway, "streams", name)
        assert (done.status, done.stdout, name in done.stderr) == (1, "", True)


def test_tasks_tell_what_became_of_batches_and_end_when_all_is_told(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    for number in range(3):
        insert(peer, stream_name, numbered(number, number + 1))

    def told(*options: str) -> list[dict[str, Any]]:
        done = command(gateway, "tasks", "--json", *options)
        assert (done.status, done.stderr) == (0, "")
        changes = [json.loads(line) for line in done.stdout.splitlines()]
        return [each for each in changes if each["TARGET"] == stream_name]

    until(lambda: len(told()) == 3, "a task for each insert")
    assert [(each["STATE"], each["ROWS_OUT"]) for each in told()] == [("COMMITTED", 1)] * 3
    assert {each["STATE"] for each in told("--all")} > {"COMMITTED"}
    lines = command(gateway, "tasks").fields
    assert [line[3] for line in lines if line[2] == stream_name] == ["COMMITTED"] * 3


def test_tasks_are_followed_until_interrupt(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    with on_a_terminal("tasks", "--follow", "--url", gateway.url) as terminal:
        terminal.expect("BATCH +ATTEMPT")
        insert(peer, stream_name, json_lines(numbered(0, 1)))
        terminal.expect(rf"{stream_name} .*COMMITTED")
        terminal.type(INTERRUPT)
        assert terminal.wait() == 130
