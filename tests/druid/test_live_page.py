"""The live page's picture on a real Druid: a batch at the stages of its task, then committed."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from tests.contract.druid_fixture import unique
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import json_lines, ksql, open_inserts, records

SLOW_S = 120.0
"""A batch takes 2 to 5 s on an idle cluster; this is for one that others use too."""
BATCHES_MAX = 8
ROWS = 20_000
PAD_BYTES = 100
PAUSE_S = 0.2
START_MS = 1_700_000_000_000

Item = dict[str, Any]


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture
def gateway(druid: RunningDruid, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One of the test's own, which must end in peace."""
    arguments = ["--druid-url", druid.router]
    with gateway_process(tmp_path / "data", warehouse="druid", arguments=arguments) as running:
        yield running
        assert running.complaints == []


class Watcher:
    """Asks for one picture after another, in a thread of its own, and keeps what it says of
    batches: as somebody does who looks at the page."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.batches: list[Item] = []
        self.committed: list[Item] = []
        self._url = f"{gateway.admin_url}/picture"
        self._came = threading.Condition()
        self._fault: BaseException | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(SLOW_S)

    @property
    def at_work(self) -> list[Item]:
        """Batches whose tasks ran and had a stage."""
        return [one for one in self.batches if one["state"] == "RUNNING" and one["stage"]]

    def committed_one(self, batch_id: str) -> Item:
        """Wait until it is among those that were committed last."""
        with self._came:
            assert self._came.wait_for(lambda: self._find(batch_id) or self._fault, SLOW_S)
        assert self._fault is None
        return self._find(batch_id)[0]

    def _find(self, batch_id: str) -> list[Item]:
        return [one for one in self.committed if one["id"] == batch_id]

    def _run(self) -> None:
        try:
            while not self._is_over:
                self._look()
        except BaseException as fault:  # noqa: BLE001 - whoever waits for a batch is told
            self._fault = fault

    def _look(self) -> None:
        with urllib.request.urlopen(self._url, timeout=SLOW_S) as answer:
            picture = json.load(answer)
        with self._came:
            self.batches += picture["batches"]["items"]
            self.committed = picture["committed"]["items"]
            self._came.notify_all()
            # A picture is made once a second.
            self._came.wait(PAUSE_S)


def declare(peer: Peer) -> str:
    name = unique("page")
    ksql(
        peer,
        f"CREATE STREAM {name} (id BIGINT, pad STRING, at BIGINT) "
        f"WITH (kafka_topic='{name}', timestamp='at', partitioned_by='HOUR');",
    )
    return name


def insert_batch(peer: Peer, name: str) -> None:
    """All rows of one hour, to their acks."""
    rows = [{"ID": n, "PAD": "x" * PAD_BYTES, "AT": START_MS} for n in range(ROWS)]
    stream = open_inserts(peer, name, frames="coalesced")
    stream.send(json_lines(rows), end=True)
    stream.read_to_end(SLOW_S)
    assert len(records(stream)) == ROWS


def status_in_druid(druid: RunningDruid, task_id: str) -> Item:
    """What Druid itself says of a task of that name."""
    url = f"{druid.router}/druid/indexer/v1/task/query-{task_id}/status"
    with urllib.request.urlopen(url, timeout=SLOW_S) as answer:
        status: Item = json.load(answer)["status"]
        return status


def test_the_picture_shows_a_batch_at_its_stage_and_then_its_segments(
    druid: RunningDruid, gateway: GatewayProcess
) -> None:
    with Watcher(gateway) as watcher, gateway.peer() as writer:
        name = declare(writer)
        for _ in range(BATCHES_MAX):
            insert_batch(writer, name)
            if watcher.at_work:
                break
            # Between two looks a task of a second may come and go.
        assert watcher.at_work, f"no task of {BATCHES_MAX} was seen at work"
        seen = watcher.at_work[-1]
        ended = watcher.committed_one(seen["id"])
    assert (seen["stream"], seen["datasource"]) == (name.upper(), name)
    assert seen["stage"].split(":")[0] in ("0", "1")
    assert seen["workers"] == 1
    assert 0 < seen["rows"] <= ROWS
    status = status_in_druid(druid, seen["taskId"])
    assert (status["statusCode"], status["dataSource"]) == ("SUCCESS", name)
    assert ended["taskId"] == seen["taskId"]
    assert ended["rows"] == seen["rows"]
    assert ended["segments"] >= 1
    assert ended["durationMs"] > 100
    assert ended["committedMs"] >= seen["sealedMs"]
