"""``HEADRACE_TASKS`` on a real Druid: stages, workers, rows and segments of real tasks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.ingest.task_log import COLUMNS
from tests.contract.druid_fixture import unique
from tests.gateways import gateway_process
from tests.peers import Peer
from tests.push_streams import push, read_token, rows_of
from tests.server.ksqldb import json_lines, ksql, open_inserts, records
from tests.streams import Stream

NAMES = [column.name for column in COLUMNS]
SLOW_S = 120.0
"""A batch takes 2 to 5 s on an idle cluster; this is for one that others use too."""
BATCHES_MAX = 8
ROWS = 20_000
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture
def peers(druid: RunningDruid, tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    """Two connections to a gateway of the test's own."""
    with gateway_process(
        tmp_path / "data", warehouse="druid", arguments=["--druid-url", druid.router]
    ) as gateway:
        with gateway.peer() as one, gateway.peer() as other:
            yield one, other
        assert gateway.complaints == []


def declare(peer: Peer) -> str:
    name = unique("tasks")
    ksql(
        peer,
        f"CREATE STREAM {name} (id BIGINT, pad STRING, at BIGINT) "
        f"WITH (kafka_topic='{name}', timestamp='at', partitioned_by='HOUR');",
    )
    return name


def insert_over_two_hours(peer: Peer, name: str) -> None:
    """One batch of rows that lie in two hours, so that it makes two segments."""
    rows = [{"ID": n, "PAD": "x" * 100, "AT": START_MS + n % 2 * HOUR_MS} for n in range(ROWS)]
    stream = open_inserts(peer, name, frames="coalesced")
    stream.send(json_lines(rows), end=True)
    stream.read_to_end(SLOW_S)
    assert len(records(stream)) == ROWS


def told(stream: Stream) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows_of(stream)]


def lives(stream: Stream) -> dict[str, list[dict[str, Any]]]:
    """Rows by batch."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in told(stream):
        found.setdefault(row["BATCH"], []).append(row)
    return found


def test_a_real_task_is_seen_at_its_stages_and_at_its_end(peers: tuple[Peer, Peer]) -> None:
    writer, watcher = peers
    name = declare(writer)
    stream = push(watcher, "SELECT * FROM headrace_tasks EMIT CHANGES;")
    read_token(stream)
    for count in range(1, BATCHES_MAX + 1):
        insert_over_two_hours(writer, name)

        def has_ended(count: int = count) -> bool:
            ended = [row for row in told(stream) if row["STATE"] == "COMMITTED"]
            return bool(sum(row["ROWS_OUT"] for row in ended) == count * ROWS)

        watcher.read_until(has_ended, SLOW_S, "all rows are told to be committed")
        if any(row["STATE"] == "RUNNING" and row["STAGE"] for row in told(stream)):
            break
        # Between two looks a task of a second may come and go.
    looked_at = [row for row in told(stream) if row["STATE"] == "RUNNING" and row["STAGE"]]
    assert looked_at, f"no task of {BATCHES_MAX} was seen at work"
    for row in looked_at:
        assert row["STAGE"].split(":")[0] in ("0", "1")
        assert row["WORKERS"] == 1
        assert row["DURATION_MS"] > 0
    for life in lives(stream).values():
        states = [row["STATE"] for row in life]
        assert states[:3] == ["SEALED", "SUBMITTING", "RUNNING"]
        assert states[-1] == "COMMITTED"
        last = life[-1]
        assert (last["STAGE"], last["WORKERS"]) == ("1:FINISHED", 1)
        assert last["ROWS_IN"] == last["ROWS_OUT"] > 0
        assert last["SEGMENTS"] == 2
        assert last["DURATION_MS"] > 100
        assert last["TARGET"] == name.upper()
