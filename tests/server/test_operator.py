"""The operator's commands against a real gateway: its spool, its warehouse, its admin port."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Ended, headrace
from tests.gateways import GatewayProcess, NotReady, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import insert, json_lines, ksql, query, unique, until


def command(gateway: GatewayProcess, *arguments: object) -> Ended:
    return headrace(*arguments, "--admin", gateway.admin_url)


def letters(gateway: GatewayProcess, stream: str, state: str = "open") -> list[dict[str, object]]:
    done = command(gateway, "dead-letters", "export", "--stream", stream, "--state", state)
    assert (done.status, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def streams(peer: Peer) -> tuple[str, str]:
    """Two streams of one datasource whose column X holds numbers; the second one's X is text.

    So a row of the second passes every check, and the warehouse cannot store it.
    """
    first, second = unique("S"), unique("S")
    for name, kind in ((first, "BIGINT"), (second, "STRING")):
        properties = f"kafka_topic='{first.lower()}', value_format='JSON'"
        ksql(peer, f"CREATE STREAM {name} (ID BIGINT, X {kind}) WITH ({properties});")
    assert insert(peer, first, [{"ID": 1, "X": 1}]) == [{"status": "ok", "seq": 0}]
    return first, second


def stored(peer: Peer, stream: str) -> list[list[int]]:
    return sorted(query(peer, f"SELECT ID, X FROM {stream};").rows)


def test_a_row_that_the_warehouse_refuses_is_listed_mended_retried_and_then_stored(
    gateway: GatewayProcess, peer: Peer, streams: tuple[str, str]
) -> None:
    first, second = streams
    rows = json_lines({"ID": number, "X": x} for number, x in ((2, "2"), (3, "three"), (4, "4")))
    verdicts = insert(peer, second, rows, on_error="continue")
    assert [line["status"] for line in verdicts] == ["ok", "error", "ok"]
    assert stored(peer, first) == [[1, 1], [2, 2], [4, 4]]

    listed = command(gateway, "dead-letters", "list", "--stream", second)
    assert (listed.status, listed.stderr, len(listed.fields)) == (0, "", 1)
    number, stream, *_, state, _, message, row = listed.fields[0]
    assert (stream, state) == (second, "open")
    assert "three" in message
    assert json.loads(row)["X"] == "three"

    mended = command(gateway, "dead-letters", "edit", number, "--row", '{"ID":3,"X":"33"}')
    assert (mended.status, mended.stderr) == (0, "")
    retried = command(gateway, "dead-letters", "retry", number)
    assert (retried.status, retried.fields) == (0, [[number, "retried"]])
    wanted = [[1, 1], [2, 2], [3, 33], [4, 4]]
    until(lambda: stored(peer, first) == wanted, "the mended row in the warehouse")
    assert letters(gateway, second) == []
    again = command(gateway, "dead-letters", "retry", number)
    assert (again.status, again.stdout) == (1, "")
    assert f"dead letter {number}" in again.stderr


def test_a_row_that_fails_again_is_a_dead_letter_again(
    gateway: GatewayProcess, peer: Peer, streams: tuple[str, str]
) -> None:
    first, second = streams
    insert(peer, second, json_lines([{"ID": 2, "X": "two"}]), on_error="continue")
    done = command(gateway, "dead-letters", "retry", "--all", "--stream", second)
    ((number, outcome),) = done.fields
    assert (done.status, outcome) == (0, "retried")
    until(lambda: len(letters(gateway, second)) == 1, "the row among the dead letters again")
    (letter,) = letters(gateway, second)
    assert letter["id"] != int(number)
    assert stored(peer, first) == [[1, 1]]


def test_a_row_that_its_stream_refuses_is_kept_as_it_was_sent_until_it_is_dropped(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    raw = '{"ID": 1.70, "AT":"2024-01-01"}'
    rows = b'{"ID":1,"AT":"2024-01-01"}\n' + raw.encode() + b"\n"
    insert(peer, stream_name, rows, on_error="continue", channel="edge-7", offset=0)
    (letter,) = letters(gateway, stream_name)
    assert (letter["row"], letter["channel"], letter["offset"]) == (raw, "edge-7", 1)
    assert "column `ID`" in str(letter["message"])

    refused = command(gateway, "dead-letters", "edit", letter["id"], "--row", '{"ID":"x"}')
    assert (refused.status, refused.stdout) == (1, "")
    assert "column `ID`" in refused.stderr
    refused = command(gateway, "dead-letters", "retry", letter["id"])
    assert (refused.status, "column `ID`" in refused.stderr) == (1, True)

    dropped = command(gateway, "dead-letters", "drop", "--all", "--yes", "--stream", stream_name)
    assert (dropped.status, dropped.fields) == (0, [[str(letter["id"]), "dropped"]])
    assert letters(gateway, stream_name) == []
    assert [each["id"] for each in letters(gateway, stream_name, "dropped")] == [letter["id"]]


def test_no_batch_is_listed_once_all_are_committed(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, b'{"ID":1,"AT":"2024-01-01"}\n')
    done = command(gateway, "batches", "list", "--stream", stream_name)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    done = command(gateway, "batches", "drop", "hr-never-was")
    assert (done.status, "hr-never-was" in done.stderr) == (1, True)


# ── the port itself ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_gateway_whose_admin_port_is_taken_does_not_start_and_says_where(
    tmp_path: Path, taken: int
) -> None:
    gateway = GatewayProcess(tmp_path / "data", arguments=["--admin-port", str(taken)])
    with pytest.raises(NotReady) as refused:
        gateway.start()
    for part in ("headrace: cannot start", f"127.0.0.1:{taken}", "admin.port"):
        assert part in str(refused.value)


def test_an_admin_port_that_is_off_is_not_there(tmp_path: Path) -> None:
    with gateway_process(tmp_path / "data", arguments=["--admin-port", "off"]) as gateway:
        assert gateway.admin_url == ""
        assert "admin port" not in gateway.said
        assert gateway.stop() == 0
