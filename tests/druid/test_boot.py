"""The cluster itself: it works, it is alone on loopback, and it dies when told to, not before."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import HOME, BootFailed, Cluster
from jars import MARKER, Missing
from launch import HOST, ROLES, PortTaken, choose_ports
from process import Process
from readiness import ask

LISTEN = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
PATIENCE = 60.0


def reply(url: str, body: object = None) -> Any:
    status, text = ask(url, body)
    assert status in {200, 202}, text
    return json.loads(text)


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.2)


def insert(table: str, rows: list[dict[str, object]]) -> dict[str, object]:
    """The body of a task that inserts rows which travel in the statement."""
    lines = "\n".join(json.dumps(row) for row in rows)
    source = json.dumps({"type": "inline", "data": lines})
    columns = json.dumps([{"name": "at", "type": "string"}, {"name": "n", "type": "long"}])
    external = f"TABLE(EXTERN('{source}', '{{\"type\":\"json\"}}', '{columns}'))"
    select = f'SELECT TIME_PARSE("at") AS __time, "n" FROM {external}'
    query = f'INSERT INTO "{table}" {select} PARTITIONED BY DAY'
    return {"query": query, "context": {"maxNumTasks": 2}}


def insert_two_rows(druid: Cluster) -> None:
    table = f"boot_{uuid.uuid4().hex}"
    rows: list[dict[str, object]] = [{"at": "2026-01-01T00:00:00Z", "n": n} for n in (1, 2)]
    task = reply(f"{druid.router}/druid/v2/sql/task", insert(table, rows))["taskId"]

    def state() -> str:
        status = reply(f"{druid.router}/druid/indexer/v1/task/{task}/status")["status"]
        return str(status["statusCode"])

    until(lambda: state() != "RUNNING")
    assert state() == "SUCCESS"
    count = {"query": f'SELECT COUNT(*) AS c FROM "{table}"'}
    # Visible a little later than committed: the broker must hear of the table first.
    until(lambda: ask(f"{druid.router}/druid/v2/sql", count) == (200, b'[{"c":2}]\n'))


def sockets(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # A file may be closed while its folder is read.
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = os.readlink(entry).partition(":")
            if kind == "socket":
                yield inode.strip("[]")


def listeners(pids: Iterable[int]) -> Iterator[tuple[str, int]]:
    """Address (as the kernel writes it) and port of everything these processes listen on."""
    inodes = {inode for pid in pids for inode in sockets(pid)}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in inodes:
                address, port = fields[1].split(":")
                yield address, int(port, 16)


def test_a_query_is_answered_through_the_router(druid: Cluster) -> None:
    assert reply(f"{druid.router}/druid/v2/sql", {"query": "SELECT 1 AS n"}) == [{"n": 1}]


def test_the_indexer_offers_its_whole_capacity(druid: Cluster) -> None:
    workers = reply(f"{druid.router}/druid/indexer/v1/workers")
    capacities = [worker["worker"]["capacity"] for worker in workers]
    assert capacities == [4] == [druid.urls["capacity"]]


def test_inserted_rows_become_visible(druid: Cluster) -> None:
    insert_two_rows(druid)


def test_everything_listens_on_loopback_only(druid: Cluster) -> None:
    pids = {pid for pid in druid.pids().values() if pid is not None}
    found = set(listeners(pids))
    assert len(pids) == len(ROLES)
    assert {address for address, _ in found} <= LOOPBACK
    # Every role's port, and Derby's.
    assert len(found) == len(ROLES) + 1


@pytest.mark.skipif("HEADRACE_DRUID_RUN" in os.environ, reason="others use that cluster")
def test_a_killed_role_comes_back(druid: Cluster) -> None:
    before = druid.pid("indexer")
    druid.kill("indexer")
    assert druid.pid("indexer") is None
    druid.restart("indexer")
    assert druid.pid("indexer") not in {None, before}
    druid.wait_ready()
    insert_two_rows(druid)


@pytest.mark.usefixtures("druid")
def test_a_failed_start_shows_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    without_jars = tmp_path / "lib"
    without_jars.mkdir()
    shutil.copy(HOME / "lib" / MARKER, without_jars)
    cluster = Cluster(tmp_path / "run", without_jars, choose_ports("free"))
    with pytest.raises(BootFailed, match=r"died while starting\n.*\nError: Could not find"):
        cluster.start()
    assert not any(cluster.pids().values())


def test_a_start_without_jars_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="assemble"):
        Cluster(tmp_path / "run", tmp_path / "lib", choose_ports("free")).start()


@pytest.mark.usefixtures("druid")
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    ports = choose_ports("free")
    with socket.create_server((HOST, ports["broker"])):
        cluster = Cluster(tmp_path / "run", ports=ports)
        with pytest.raises(PortTaken, match=f"{ports['broker']}, meant for broker"):
            cluster.start()


def sleeper(folder: Path, script: str) -> Process:
    command = ["sh", "-c", script]
    return Process.spawn(command, folder=folder, log=folder / "log", pid_file=folder / "pid")


def test_stop_ends_a_process_that_ignores_the_first_signal(tmp_path: Path) -> None:
    stubborn = sleeper(tmp_path, "trap '' TERM; while :; do sleep 0.1; done")
    stubborn.stop(grace=0.3)
    assert not stubborn.alive()


def test_stop_spares_a_stranger_with_the_same_pid(tmp_path: Path) -> None:
    ours = sleeper(tmp_path, "sleep 60")
    try:
        stranger = Process(ours.pid, ours.born - 1)
        stranger.stop(grace=0.3)
        assert ours.alive()
        assert Process.load(tmp_path / "pid") == Process(ours.pid, ours.born)
    finally:
        ours.kill()
