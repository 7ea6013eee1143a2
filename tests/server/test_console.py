"""The console on a real socket: pictures, their bounds and their viewers; the query box; files."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway.console
from gateway.console.viewers import ViewerLimits
from gateway.metrics.declared import ACK_LATENCY, BYTES_RECEIVED, ROWS_ACKED, ROWS_RECEIVED
from gateway.seams import QueryKind, RowLines
from protocol.entities import LiveQuery
from protocol.errors import BadStatement, NotReady, ShuttingDown
from tests.admin_port import Reply, assert_refused, batch, letter
from tests.console_house import (
    DEADLINE_S,
    JSON,
    House,
    ScriptedQuery,
    events,
    opened_console,
    source,
    stream,
)
from tests.gateways import gateway_process
from tests.server.ksqldb import declare, insert, json_lines, numbered, open_inserts

QUICK = ViewerLimits(every_s=0.02, heartbeat_s=0.3)


@pytest.fixture
def house() -> Iterator[House]:
    with opened_console(QUICK) as opened:
        yield opened


def ask(
    house: House,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    connection = http.client.HTTPConnection(*house.door.address, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, response.read())


def query(house: House, sql: str) -> Reply:
    return ask(house, "POST", "/query", json.dumps({"sql": sql}).encode(), JSON)


def until(holds: Callable[[], object], what: str, within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def next_picture(coming: Iterator[tuple[str, Any]]) -> Any:
    return next(document for name, document in coming if name == "picture")


# ── the picture ──────────────────────────────────────────────────────────────────────────────


def test_a_picture_has_every_part_and_is_one_json_document(house: House) -> None:
    house.streams = [stream("EVENTS", "edge-7", principal="ada")]
    house.queries = [LiveQuery(query_id="q", sql="SELECT 1", rows_delivered=5, since_ms=1)]
    house.sources = [source("EVENTS")]
    house.letters.add(letter(3, raw=b'{"ID":"x"}'))
    house.batches.add(batch("b1", state="RUNNING", error=None), batch("b2"))
    house.task("b1", "RUNNING", STAGE="2:READING_INPUT", WORKERS=3, ROWS_IN=7, ROWS_OUT=4)
    house.task("b0", "COMMITTED", ROWS_OUT=10, SEGMENTS=2, DURATION_MS=900)
    picture = ask(house, "GET", "/picture").document
    assert (picture["version"], picture["state"]) == ("1.2.3", "RUNNING")
    assert picture["warehouse"] == {"name": "druid", "awaySinceMs": None, "why": None}
    assert picture["spool"]["storedBytes"] == 3 << 30
    assert picture["spool"]["oldestRowAgeS"] == 2.5
    assert picture["streams"]["items"] == [
        {
            "target": "EVENTS",
            "channel": "edge-7",
            "principal": "ada",
            "rows": 1200,
            "acked": 1100,
            "waitingBytes": 4096,
        }
    ]
    (moving,) = picture["batches"]["items"]
    assert (moving["id"], moving["stage"], moving["workers"]) == ("b1", "2:READING_INPUT", 3)
    assert (moving["rowsRead"], moving["rowsWritten"]) == (7, 4)
    assert [one["id"] for one in picture["held"]["items"]] == ["b2"]
    (done,) = picture["committed"]["items"]
    assert (done["id"], done["rows"], done["segments"], done["durationMs"]) == ("b0", 10, 2, 900)
    assert picture["queries"]["items"][0]["sql"] == "SELECT 1"
    assert picture["deadLetters"]["items"][0]["row"] == '{"ID":"x"}'
    assert picture["sources"]["items"][0]["columns"] == [
        {"name": "C0", "type": "STRING"},
        {"name": "C1", "type": "BIGINT"},
    ]


def test_every_list_of_a_picture_is_bounded_and_says_how_many_there_are(house: House) -> None:
    house.streams = [stream(f"S{number}") for number in range(200)]
    house.queries = [LiveQuery(query_id=str(number), sql="x" * 9000) for number in range(200)]
    house.sources = [source(f"S{number:03}", columns=100) for number in range(200)]
    house.letters.add(*(letter(one, raw=b"r" * 9000, message="m" * 9000) for one in range(1, 200)))
    house.batches.add(*(batch(f"b{one:03}", state="RUNNING") for one in range(200)))
    house.letter_total = 123_456
    reply = ask(house, "GET", "/picture")
    picture = reply.document
    for name in ("streams", "queries", "sources", "deadLetters", "batches"):
        assert len(picture[name]["items"]) == 50, name
        assert picture[name]["total"] == (123_456 if name == "deadLetters" else 200), name
    assert max(len(one["sql"]) for one in picture["queries"]["items"]) == 500
    assert max(len(one["row"]) for one in picture["deadLetters"]["items"]) == 500
    assert max(len(one["message"]) for one in picture["deadLetters"]["items"]) == 500
    assert picture["deadLetters"]["items"][0]["id"] == 199, "the newest come first"
    assert (picture["sources"]["items"][0]["columnsTotal"]) == 100
    assert len(picture["sources"]["items"][0]["columns"]) == 60
    assert len(reply.body) < 400_000


def test_rates_come_from_the_counters_of_the_gateway(house: House) -> None:
    async def a_second_of_rows() -> None:
        house.console._rates.sample(0.0)
        house.metrics.counter(ROWS_RECEIVED).labels("EVENTS").inc(400)
        house.metrics.counter(BYTES_RECEIVED).labels("EVENTS").inc(8000)
        house.metrics.counter(ROWS_ACKED).labels("EVENTS", "committed").inc(300)
        for _ in range(100):
            house.metrics.histogram(ACK_LATENCY).labels("committed").observe(0.02)
        house.console._rates.sample(2.0)

    house.door.run(a_second_of_rows())
    picture = ask(house, "GET", "/picture").document
    assert picture["rates"]["rowsIn"] == 200
    assert picture["rates"]["bytesIn"] == 4000
    assert picture["rates"]["acked"] == {"spooled": 0, "committed": 150, "queryable": 0}
    assert picture["totals"]["rowsIn"] == 400
    assert 0.01 <= picture["ackLatency"]["p50S"] <= picture["ackLatency"]["p99S"] <= 0.025
    assert picture["history"]["rowsIn"] == [200]


def test_acks_that_come_in_lumps_make_a_rate_that_stays(house: House) -> None:
    """As on Druid, where a batch of seconds is acked at once."""

    async def forty_seconds() -> None:
        for second in range(41):
            if second % 5 == 0:
                house.metrics.counter(ROWS_ACKED).labels("EVENTS", "committed").inc(500)
            house.console._rates.sample(float(second))

    house.door.run(forty_seconds())
    acked = ask(house, "GET", "/picture").document["history"]["acked"]
    assert set(acked[9:]) == {100}


def test_a_part_that_cannot_be_read_takes_no_other_away(house: House) -> None:
    house.broken_disk = True
    house.streams = [stream("EVENTS")]
    picture = ask(house, "GET", "/picture").document
    assert "batches" not in picture
    assert "held" not in picture
    assert picture["streams"]["total"] == 1
    assert picture["deadLetters"]["total"] == 0


def test_a_picture_is_given_while_the_rooms_are_not_open(house: House) -> None:
    house.state, house.refusal, house.broken_disk = "STARTING", NotReady(), True
    picture = ask(house, "GET", "/picture").document
    assert (picture["state"], picture["spool"]) == ("STARTING", None)
    assert picture["batches"] == {"total": 0, "items": []}
    assert house.pictures == 0, "no room was asked"


def test_a_warehouse_that_is_away_is_told_with_its_reason(house: House) -> None:
    house.health = {"warehouse": {"isHealthy": False, "unreachableSinceMs": 5, "state": "refused"}}
    picture = ask(house, "GET", "/picture").document
    assert picture["warehouse"] == {"name": "druid", "awaySinceMs": 5, "why": "refused"}


# ── who looks ────────────────────────────────────────────────────────────────────────────────


def test_the_first_picture_comes_at_once_and_others_follow(house: House) -> None:
    with events(house.door.address) as coming:
        assert next(coming) == ("retry", 1000)
        first, second = next_picture(coming), next_picture(coming)
        assert first["atMs"] < second["atMs"]


def test_all_viewers_are_shown_the_same_pictures(house: House) -> None:
    with events(house.door.address) as one, events(house.door.address) as other:
        seen = {next_picture(one)["atMs"] for _ in range(20)}
        seen_too = {next_picture(other)["atMs"] for _ in range(20)}
        made = house.pictures
    assert len(seen & seen_too) >= 10
    assert made < 60, "a picture is made once for all who look"


def test_nothing_is_read_while_nobody_looks(house: House) -> None:
    with events(house.door.address) as coming:
        next_picture(coming)
    until(lambda: house.door.call(lambda: len(house.console._viewers)) == 0, "the viewer's leaving")
    until(lambda: house.door.call(house.console._viewers._making.done), "the last picture")  # type: ignore[union-attr]
    made = house.pictures
    assert not house.task_log._waiting, "the log of tasks is not read either"
    ask(house, "GET", "/picture")
    until(lambda: house.door.call(house.console._viewers._making.done), "the last picture")  # type: ignore[union-attr]
    assert house.pictures - made <= 2, "one who asks for one picture costs one"


def test_viewers_are_bounded_and_the_next_is_told_so() -> None:
    with opened_console(ViewerLimits(viewers_max=2)) as house:
        with events(house.door.address) as one, events(house.door.address) as other:
            next_picture(one)
            next_picture(other)
            assert_refused(ask(house, "GET", "/events"), 503, 50300, "no more may")
            assert_refused(ask(house, "GET", "/picture"), 503, 50300, "no more may")
        until(lambda: house.door.call(lambda: len(house.console._viewers)) == 0, "room again")
        assert ask(house, "GET", "/picture").status == 200


def test_a_heartbeat_is_sent_while_no_picture_comes() -> None:
    limits = ViewerLimits(every_s=3600, heartbeat_s=0.05)
    with opened_console(limits) as house, events(house.door.address) as coming:
        next_picture(coming)
        assert [next(coming)[0] for _ in range(3)] == [":", ":", ":"]


def test_a_slow_viewer_gets_the_newest_picture_and_no_queue() -> None:
    # Fifty batches with their errors make a picture that soon fills a socket.
    with opened_console(ViewerLimits(every_s=0.005)) as house:
        house.batches.add(*(batch(f"b{one:03}", error="e" * 600) for one in range(50)))
        with events(house.door.address) as slow, events(house.door.address) as quick:
            first = next_picture(slow)["atMs"]
            made = house.pictures
            until(lambda: next_picture(quick) and house.pictures > made + 400, "400 pictures")
            newest = next_picture(quick)["atMs"]
            missed = 0
            while (seen := next_picture(slow)["atMs"]) < newest:
                assert seen >= first
                missed += 1
            assert missed < 380, "whatever waits for a slow viewer waits in a socket of some size"


def test_a_viewer_who_reads_nothing_is_ended_and_makes_room() -> None:
    limits = ViewerLimits(viewers_max=1, every_s=0.005, stuck_s=0.5)
    with opened_console(limits) as house:
        house.batches.add(*(batch(f"b{one:03}", error="e" * 600) for one in range(50)))
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(house.door.address)
            stuck.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            until(lambda: house.door.call(lambda: len(house.console._viewers)) == 1, "the viewer")
            until(lambda: house.door.call(lambda: len(house.console._viewers)) == 0, "his end")
            assert ask(house, "GET", "/picture").status == 200


def test_the_end_of_the_gateway_is_told_and_nobody_may_look_any_more(house: House) -> None:
    with events(house.door.address) as coming:
        next_picture(coming)
        house.door.run(house.console.close())
        assert [name for name, _ in coming][-1] == "end"
    assert_refused(ask(house, "GET", "/events"), 503, ShuttingDown.code)


def test_a_real_gateway_shows_the_rows_that_came_and_ends_its_viewers_at_drain(
    tmp_path: Path,
) -> None:
    with gateway_process(tmp_path / "data") as running:
        host, port = running.admin_url.removeprefix("http://").split(":")
        with running.peer() as peer, events((host, int(port))) as coming:
            name = declare(peer)
            waiting = open_inserts(peer, name, channel="edge <1>")
            assert insert(peer, name, json_lines(numbered(0, 500)))[-1]["status"] == "ok"
            bad = insert(peer, name, b'{"ID":"x"}\n', on_error="continue")
            assert bad[-1]["status"] == "error"
            picture = _picture_with(coming, lambda shown: shown["deadLetters"]["total"] == 1)
            assert picture["totals"]["rowsIn"] == 500
            assert picture["totals"]["acked"]["committed"] == 500
            assert sum(one["rows"] for one in picture["committed"]["items"]) == 500
            (open_stream,) = picture["streams"]["items"]
            assert (open_stream["target"], open_stream["channel"]) == (name, "edge <1>")
            assert open_stream["principal"] is None
            assert picture["deadLetters"]["items"][0]["row"] == '{"ID":"x"}'
            assert name in [one["name"] for one in picture["sources"]["items"]]
            assert picture["spool"]["storedBytes"] > 0
            waiting.end()
            waiting.read_to_end()
            running.terminate()
            assert [name for name, _ in coming][-1] == "end"
        assert running.wait() == 0
        assert running.complaints == []


def _picture_with(coming: Iterator[tuple[str, Any]], holds: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not holds(picture := next_picture(coming)):
        assert time.monotonic() < deadline, picture
    return picture


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def test_rows_of_a_query_come_as_lines_behind_its_columns(house: House) -> None:
    house.starts = ScriptedQuery([b'[1,"a"]\n[2,"b"]\n', b"[3,null]\n"])
    reply = query(house, "SELECT * FROM T;")
    header, *rows, end = reply.lines
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert header["query"]["columns"][0] == {"name": "ID", "type": "BIGINT"}
    assert (rows, end) == ([[1, "a"], [2, "b"], [3, None]], {"end": "completed"})
    assert house.asked[0].sql == "SELECT * FROM T;"
    assert house.starts.closed >= 1


def test_a_query_that_cannot_start_is_a_status_and_one_that_breaks_ends_in_its_error(
    house: House,
) -> None:
    house.starts = BadStatement("no such stream", "SELECT")
    assert query(house, "SELECT").status == 400
    house.starts = ScriptedQuery(error=BadStatement("too late", "SELECT"))
    assert query(house, "SELECT").status == 400, "a pull query without a row is still a status"
    house.starts = ScriptedQuery([b"[1,2]\n"], error=BadStatement("too late", "SELECT"))
    *_, last = query(house, "SELECT").lines
    assert last["error_code"] == 40001
    house.starts = ScriptedQuery([b"[1,2]\n"], error=ZeroDivisionError())
    *_, last = query(house, "SELECT").lines
    assert last["error_code"] == 50000


def test_whoever_leaves_closes_the_query(house: House) -> None:
    class Endless(ScriptedQuery):
        async def rows(self) -> Any:
            while True:
                await asyncio.sleep(0.01)
                yield RowLines(b"[1,2]\n", 1)

    endless = house.starts = Endless(kind=QueryKind.PUSH)
    connection = http.client.HTTPConnection(*house.door.address, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("POST", "/query", b'{"sql":"SELECT"}', JSON)
        response = connection.getresponse()
        assert response.readline().startswith(b'{"query"')
        assert response.readline() == b"[1,2]\n"
        response.close()
    until(lambda: endless.closed, "the end of the query")


def test_a_foreign_page_can_ask_nothing(house: House) -> None:
    house.starts = ScriptedQuery()
    as_text = ask(house, "POST", "/query", b'{"sql":"SELECT"}', {"content-type": "text/plain"})
    assert as_text.status == 415
    foreign = {**JSON, "origin": "http://evil.example"}
    assert ask(house, "POST", "/query", b'{"sql":"SELECT"}', foreign).status == 403
    assert ask(house, "GET", "/events", None, {"origin": "http://evil.example"}).status == 403
    assert house.asked == []


def test_nothing_is_asked_while_the_rooms_are_not_open(house: House) -> None:
    house.refusal = NotReady()
    assert_refused(query(house, "SELECT"), 503, NotReady.code)
    assert_refused(ask(house, "POST", "/queries/q/close"), 503, NotReady.code)


def test_a_query_is_closed_by_its_id(house: House) -> None:
    house.queries = [LiveQuery(query_id="transient_1", sql="SELECT")]
    reply = ask(house, "POST", "/queries/transient_1/close")
    assert reply.document == {"id": "transient_1", "outcome": "closed"}
    assert_refused(ask(house, "POST", "/queries/transient_1/close"), 404, 40400, "No query")


# ── files ────────────────────────────────────────────────────────────────────────────────────


def test_the_page_loads_nothing_but_its_own_files_and_runs_nothing_that_stands_in_it(
    house: House,
) -> None:
    page = ask(house, "GET", "/")
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.body.decode()
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|style=|javascript:", text)
    wanted = set(re.findall(r'(?:src|href)="([^"#]+)"', text))
    scripts = Path(gateway.console.__file__).parent.glob("*.js")
    wanted |= {
        f"console/{name}"
        for script in scripts
        for name in re.findall(r'from "\./([^"]+)"', script.read_text())
    }
    for path in wanted:
        found = ask(house, "GET", f"/{path}")
        assert (found.status, found.headers["x-content-type-options"]) == (200, "nosniff"), path
        assert "http" not in re.sub(rb"http://www.w3.org/\S+", b"", found.body).decode(), path


def test_a_file_is_sent_again_only_where_it_has_changed(house: House) -> None:
    tag = ask(house, "GET", "/console/page.js").headers["etag"]
    same = ask(house, "GET", "/console/page.js", None, {"if-none-match": tag})
    assert (same.status, same.body) == (304, b"")
    assert ask(house, "GET", "/console/page.js", None, {"if-none-match": '"x"'}).status == 200


@pytest.mark.parametrize("name", ["nothing.js", "room.py", "..%2froom.py", "%2e%2e/__init__.py"])
def test_no_other_file_can_be_read(house: House, name: str) -> None:
    assert_refused(ask(house, "GET", f"/console/{name}"), 404, 40400, "Path not found")


def test_scripts_never_make_elements_of_text() -> None:
    for script in Path(gateway.console.__file__).parent.glob("*.js"):
        text = re.sub(r"//.*", "", script.read_text())
        for danger in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
            assert danger not in text, f"{script.name}: {danger}"
