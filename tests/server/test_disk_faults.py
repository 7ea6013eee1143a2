"""A real gateway on a disk that fails: full, unwritable, read-only, with a damaged spool on it.

The disk of a gateway that runs is made to fail by lowering its own limit on file sizes (prlimit):
whatever lies beyond is refused by the kernel (EFBIG) until the limit is lifted. What SQLite is told
by a disk in each way that it can fail is met one by one in tests/model; here it is about what the
clients and the operator are told, and that all goes on by itself.
"""

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import GatewayProcess, NotReady, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    declare,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    query,
    records,
    until,
)

SMALL_BYTES = 64 << 10
"""Less than the log of a new spool takes, more than a gateway says in a test."""

SPOOL_AT_FAULT = "spool"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, to be broken."""
    with gateway_process(tmp_path / "data") as running:
        yield running


@contextmanager
def failing_disk(gateway: GatewayProcess) -> Iterator[None]:
    """No file of the gateway grows for the length of a ``with``."""
    pid = gateway.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL_BYTES, limits[1]))
    try:
        yield
    finally:
        # A test may have ended it: its limits went with it.
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def ids(peer: Peer, name: str) -> list[list[int]]:
    """Every id with how often it is there."""
    return query(peer, f"SELECT id, COUNT(*) FROM {name} GROUP BY id ORDER BY id;").rows


def once(*parts: range) -> list[list[int]]:
    return [[n, 1] for part in parts for n in part]


def health(peer: Peer) -> Any:
    return ask(peer, "GET", "/healthcheck").document


def is_healthy(peer: Peer) -> bool:
    document = health(peer)
    return bool(document["isHealthy"] and document["details"]["spool"]["isHealthy"])


@contextmanager
def broken_stream(gateway: GatewayProcess, peer: Peer, name: str) -> Iterator[None]:
    """A failing disk that a stream has met with row 10**6, so that the gateway knows of it."""
    stream = open_inserts(peer, name, ack="spooled")
    with failing_disk(gateway):
        stream.send(json_lines(numbered(10**6, 10**6 + 1)))
        stream.read_to_end()
        assert [line["status"] for line in records(stream)] == ["error"]
        yield


# ── a disk that fails under a gateway ────────────────────────────────────────────────────────


def test_rows_that_the_disk_refuses_are_not_acked_and_their_stream_says_why(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        assert insert(peer, name, numbered(0, 10), ack="spooled") == acks(0, 10)
        stream = open_inserts(peer, name, ack="spooled")
        stream.send(json_lines(numbered(10, 20)))
        stream.read_lines(10)
        with failing_disk(gateway):
            stream.send(json_lines(numbered(20, 30)))
            stream.read_to_end()
            *taken, last = records(stream)
            assert taken == acks(0, 10)
            assert (last["@type"], last["seq"], last["status"]) == ("InsertError", 10, "error")
            assert last["error_code"] == 50000
            assert SPOOL_AT_FAULT in last["message"]
        until(lambda: is_healthy(peer), "the gateway is healthy again")
        assert insert(peer, name, numbered(30, 40), ack="queryable") == acks(0, 10)
        assert ids(peer, name) == once(range(20), range(30, 40))


def test_the_health_says_that_the_disk_is_at_fault_until_it_is_back(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        assert is_healthy(peer)
        with broken_stream(gateway, peer, name):
            until(lambda: not is_healthy(peer), "the health tells of the disk")
            document = health(peer)
            assert document["isHealthy"] is False
            spool = document["details"]["spool"]
            assert spool["isHealthy"] is False
            assert "cannot be written" in spool["state"]
            assert ask(peer, "GET", "/chc/ready").status == 503
            assert ask(peer, "GET", "/chc/live").status == 200
        until(lambda: is_healthy(peer), "the gateway is healthy again")
        assert health(peer)["details"]["spool"]["isHealthy"] is True
        assert ask(peer, "GET", "/chc/ready").status == 200


def test_while_the_disk_fails_new_streams_are_refused_and_say_why(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        with broken_stream(gateway, peer, name):
            until(lambda: not is_healthy(peer), "the health tells of the disk")
            reply = ask(peer, "POST", "/inserts-stream", arguments_line(name, ack="spooled"))
            assert (reply.status, reply.document["error_code"]) == (503, 50000)
            assert SPOOL_AT_FAULT in reply.document["message"]
        until(lambda: is_healthy(peer), "the gateway is healthy again")
        assert insert(peer, name, numbered(5, 10), ack="queryable") == acks(0, 5)


def test_what_was_acked_before_the_disk_failed_is_committed_once_it_is_back(
    tmp_path: Path,
) -> None:
    """The batch of these rows cannot be sealed meanwhile: it is tried until the disk takes it."""
    settings = {"INGEST__BATCH_AGE_S": 0.5}
    with gateway_process(tmp_path / "data", settings=settings) as gateway, gateway.peer() as peer:
        name = declare(peer)
        committed = open_inserts(peer, name, ack="committed")
        committed.send(json_lines(numbered(0, 20)))
        assert insert(peer, name, numbered(20, 40), ack="spooled") == acks(0, 20)
        with failing_disk(gateway):
            until(lambda: not is_healthy(peer), "the batch cannot be sealed")
            assert committed.body == b""
            assert query(peer, f"SELECT * FROM {name};").rows == []
        committed.read_lines(20)
        assert records(committed) == acks(0, 20)
        until(lambda: ids(peer, name) == once(range(40)), "all rows are committed once")


def test_what_is_committed_can_be_read_while_the_disk_fails(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 30), ack="queryable")
        with broken_stream(gateway, peer, name):
            assert ids(peer, name) == once(range(30))


def test_a_load_across_a_failing_disk_loses_no_acked_row_and_stores_none_twice(
    gateway: GatewayProcess,
) -> None:
    """Streams of every level, rows on all of them when the disk goes and when it comes back."""
    size = 40
    acked: set[int] = set()
    sent = 0
    with gateway.peer() as peer:
        name = declare(peer)
        for broken in (False, True, False, True, False):
            levels = ("spooled", "committed", "queryable")
            streams = [open_inserts(peer, name, ack=level) for level in levels]
            starts = [sent + number * size for number in range(len(streams))]
            sent += len(streams) * size
            for stream, start in zip(streams, starts, strict=True):
                stream.send(json_lines(numbered(start, start + size // 2)))
            streams[0].read_lines(size // 2)
            with failing_disk(gateway) if broken else nullcontext():
                for stream, start in zip(streams, starts, strict=True):
                    stream.send(json_lines(numbered(start + size // 2, start + size)), end=True)
                if broken:
                    streams[0].read_to_end()
            for stream, start in zip(streams, starts, strict=True):
                stream.read_to_end()
                told = records(stream)
                acked |= {start + line["seq"] for line in told if line["status"] == "ok"}
                assert len(told) == size or told[-1]["error_code"] == 50000
            until(lambda: is_healthy(peer), "the gateway is healthy again")
        insert(peer, name, numbered(10**6, 10**6 + 1), ack="queryable")
        found = ids(peer, name)
        assert {times for _, times in found} == {1}
        assert acked <= {n for n, _ in found} <= {*range(sent), 10**6}
        assert len(acked) >= 3 * 3 * size


def test_a_gateway_whose_disk_fails_still_stops_when_told_to(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 10), ack="spooled")
        with broken_stream(gateway, peer, name):
            assert gateway.stop() == 0
    gateway.start()
    with gateway.peer() as peer:
        until(lambda: ids(peer, name) == once(range(10)), "all rows are committed once")


def test_a_gateway_that_is_killed_on_a_failing_disk_keeps_what_it_acked(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, 10), ack="spooled")
        with broken_stream(gateway, peer, name):
            gateway.kill()
            gateway.start()
    with gateway.peer() as peer:
        assert insert(peer, name, numbered(20, 30), ack="queryable") == acks(0, 10)
        found = ids(peer, name)
        assert {times for _, times in found} == {1}
        # The refused row may be there: its last bytes may have been down when the process died.
        expected = {*range(10), *range(20, 30)}
        assert expected <= {n for n, _ in found} <= expected | {10**6}
        assert ksql(peer, f"DESCRIBE {name};")


# ── a gateway that finds its disk bad ────────────────────────────────────────────────────────


def refusal(gateway: GatewayProcess) -> str:
    """Why a gateway does not start: one sentence of its own, and no stack."""
    try:
        with pytest.raises(NotReady) as refused:
            gateway.start()
    finally:
        if gateway.runs:
            gateway.kill()
    said = str(refused.value)
    assert "headrace: cannot start: " in said
    assert "Traceback" not in said
    return said.partition("headrace: cannot start: ")[2]


_LAUNCH = """
import ctypes, os, resource, sys
for capability in (1, 2, 3):  # dac_override, dac_read_search, fowner: root is bound by modes
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
if limit := int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


class BoundGateway(GatewayProcess):
    """A gateway that file modes bind even as root, and a limit on file sizes if one is given."""

    def __init__(self, folder: Path, limit_bytes: int = 0) -> None:
        super().__init__(folder)
        self._command = [sys.executable, "-c", _LAUNCH, str(limit_bytes), *self._command]


@pytest.fixture
def stopped(gateway: GatewayProcess) -> GatewayProcess:
    """A gateway with 200 rows that it acked as spooled and as committed; stopped in peace."""
    with gateway.peer() as peer:
        fill(peer)
    assert gateway.stop() == 0
    return gateway


def fill(peer: Peer) -> str:
    name = declare(peer)
    insert(peer, name, numbered(0, 200), ack="committed")
    return name


def test_a_second_gateway_on_the_folder_says_which_process_holds_it(
    gateway: GatewayProcess,
) -> None:
    said = refusal(GatewayProcess(gateway.folder))
    assert f"{gateway.folder} is held by another gateway (process {gateway.pid})" in said
    assert "--data-dir" in said


def test_a_new_gateway_on_a_full_disk_says_so(tmp_path: Path) -> None:
    gateway = BoundGateway(tmp_path / "data", limit_bytes=SMALL_BYTES)
    assert f"{tmp_path / 'data' / 'spool.db'} cannot be used: " in refusal(gateway)


def test_a_gateway_that_could_not_make_its_spool_makes_it_once_there_is_room(
    tmp_path: Path,
) -> None:
    refusal(BoundGateway(tmp_path / "data", limit_bytes=SMALL_BYTES))
    with gateway_process(tmp_path / "data") as gateway, gateway.peer() as peer:
        assert insert(peer, declare(peer), numbered(0, 5), ack="queryable") == acks(0, 5)


@contextmanager
def read_only(*paths: Path) -> Iterator[None]:
    """Nobody may write these for the length of a ``with``."""
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def test_a_read_only_data_folder_is_refused_by_its_name(stopped: GatewayProcess) -> None:
    with read_only(stopped.folder, *stopped.folder.iterdir()):
        said = refusal(BoundGateway(stopped.folder))
    assert f"the data folder {stopped.folder} cannot be written: " in said


def test_a_read_only_spool_is_refused_by_its_name_and_taken_up_when_it_is_writable(
    stopped: GatewayProcess,
) -> None:
    spool = stopped.folder / "spool.db"
    with read_only(spool):
        assert f"{spool} cannot be used: " in refusal(BoundGateway(stopped.folder))
    stopped.start()
    assert stopped.stop() == 0


def overwrite_the_header(spool: Path) -> None:
    with spool.open("r+b") as file:
        file.write(os.urandom(100))


def overwrite_the_middle(spool: Path) -> None:
    size = spool.stat().st_size
    with spool.open("r+b") as file:
        file.seek(size // 8)
        file.write(os.urandom(size // 2))


def cut_in_half(spool: Path) -> None:
    os.truncate(spool, spool.stat().st_size // 2)


def empty_all_but_a_page(spool: Path) -> None:
    os.truncate(spool, 16384)


def put_something_else_there(spool: Path) -> None:
    spool.write_bytes(b"these are somebody's notes\n" * 1000)


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_the_header,
        overwrite_the_middle,
        cut_in_half,
        empty_all_but_a_page,
        put_something_else_there,
    ],
)
def test_a_damaged_spool_is_refused_with_its_name_and_the_remedy_which_helps(
    stopped: GatewayProcess, damage: Callable[[Path], None]
) -> None:
    spool = stopped.folder / "spool.db"
    damage(spool)
    damaged = spool.read_bytes()
    said = refusal(stopped)
    assert f"{spool} " in said
    assert "move it away to start empty" in said
    assert spool.read_bytes() == damaged, "what may be saved of it is left as it is"
    shutil.move(spool, spool.with_suffix(".damaged"))
    stopped.start()
    with stopped.peer() as peer:
        assert insert(peer, declare(peer), numbered(0, 5), ack="queryable") == acks(0, 5)


def wreck_half_a_frame(log: Path) -> None:
    with log.open("ab") as file:
        file.write(os.urandom(9000))


def wreck_a_frame_of_the_next_transaction(log: Path) -> None:
    """The header of a frame that was being written, copied from one before it: a torn write."""
    raw = log.read_bytes()
    log.write_bytes(raw + raw[32 : 32 + 24 + 16384 // 2])


@pytest.mark.parametrize("tear", [wreck_half_a_frame, wreck_a_frame_of_the_next_transaction])
def test_a_torn_end_of_the_write_ahead_log_costs_nothing_that_was_acked(
    tmp_path: Path, tear: Callable[[Path], None]
) -> None:
    with gateway_process(tmp_path / "data", settings={"INGEST__BATCH_AGE_S": 3600}) as gateway:
        with gateway.peer() as peer:
            name = declare(peer)
            assert insert(peer, name, numbered(0, 100), ack="spooled") == acks(0, 100)
        gateway.kill()
        tear(gateway.folder / "spool.db-wal")
        del gateway.settings["INGEST__BATCH_AGE_S"]
        gateway.start()
        with gateway.peer() as peer:
            until(lambda: ids(peer, name) == once(range(100)), "all rows are committed once")
