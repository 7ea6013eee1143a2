"""The synchronous client on a real gateway: from threads, over a restart, through Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.client import KsqlResponseError, SyncClient
from tests.gateways import GatewayProcess
from tests.server.ksqldb import unique

COLUMNS = "(ID BIGINT, NAME STRING, AT TIMESTAMP)"


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[SyncClient]:
    with SyncClient(gateway.url) as connected:
        yield connected


@pytest.fixture
def target(client: SyncClient) -> str:
    name = unique("SYNC")
    client.ksql(
        f"CREATE STREAM {name} {COLUMNS} WITH (kafka_topic='{name.lower()}', "
        "value_format='JSON', timestamp='AT');"
    )
    return name


def rows(first: int, end: int) -> Iterator[dict[str, object]]:
    return ({"ID": n, "NAME": f"row {n}", "AT": "2024-02-29T12:00:00"} for n in range(first, end))


@pytest.mark.parametrize("channel", [None, "edge"])
def test_rows_go_in_and_come_back(client: SyncClient, target: str, channel: str | None) -> None:
    insert = client.insert(target, rows(0, 5000), channel=channel, ack="queryable")
    told = [seq for acks in insert for seq in range(acks.first_seq, acks.last_seq + 1)]
    assert told == list(range(5000))
    assert insert.progress.acked == 5000
    with client.query(f"SELECT ID FROM {target};") as query:
        assert [column.name for column in query.columns] == ["ID"]
        assert sorted(row[0] for row in query) == told


def test_the_rows_are_read_on_demand_by_the_thread_that_takes_the_acks(
    client: SyncClient, target: str
) -> None:
    readers = set[int]()

    def slow() -> Iterator[dict[str, object]]:
        for row in rows(0, 2000):
            readers.add(threading.get_ident())
            yield row

    with client.insert(target, slow(), channel="edge") as insert:
        assert readers == set()
        assert sum(len(acks) for acks in insert) == 2000
    assert readers == {threading.get_ident()}


def test_a_source_that_fails_ends_the_insert_after_the_acks_of_what_it_gave(
    client: SyncClient, target: str
) -> None:
    def broken() -> Iterator[dict[str, object]]:
        yield from rows(0, 100)
        raise LookupError("the source broke")

    told = 0
    with pytest.raises(LookupError, match="the source broke"):  # noqa: PT012 - acks come first
        for acks in client.insert(target, broken(), channel="edge"):
            told += len(acks)
    assert told == 100


def test_several_threads_insert_and_query_with_one_client(client: SyncClient, target: str) -> None:
    def work(number: int) -> int:
        first = number * 1000
        insert = client.insert(target, rows(first, first + 1000), channel=f"edge-{number}")
        told = sum(len(acks) for acks in insert)
        with client.query(f"SELECT COUNT(*) FROM {target} WHERE ID >= {first};") as query:
            assert next(query)[0] >= 1000
        return told

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, range(6))) == [1000] * 6
    with client.query(f"SELECT COUNT(*), COUNT(DISTINCT ID) FROM {target};") as query:
        assert list(query) == [[6000, 6000]]


def test_an_insert_that_is_left_early_takes_no_more_rows(client: SyncClient, target: str) -> None:
    closed = threading.Event()

    def endless() -> Iterator[dict[str, object]]:
        try:
            while True:
                yield from rows(0, 1000)
        finally:
            closed.set()

    with client.insert(target, endless(), channel="edge", ack="spooled") as insert:
        next(insert)
    assert closed.is_set()
    assert list(insert) == []


def test_a_push_query_is_closed_from_another_thread(client: SyncClient, target: str) -> None:
    with client.query(f"SELECT ID FROM {target} EMIT CHANGES;") as query:
        list(client.insert(target, rows(0, 3)))
        assert [next(query) for _ in range(3)] == [[0], [1], [2]]
        closing = threading.Thread(target=client.close_query, args=(query.query_id,))
        closing.start()
        assert list(query) == []
        closing.join()


def test_the_statements(client: SyncClient, target: str) -> None:
    assert target in [stream["name"] for stream in client.streams()]
    assert [field["name"] for field in client.describe(target)["fields"]] == ["ID", "NAME", "AT"]
    assert client.healthcheck()["isHealthy"] is True
    assert client.info()["ksqlServiceId"] == "headrace"
    assert client.channel(target, "edge/ä %") is None
    list(client.insert(target, rows(0, 7), channel="edge/ä %"))
    found = client.channel(target, "edge/ä %")
    assert found is not None
    assert (found.spooled, found.committed) == (7, 7)
    with client.query(f"SELECT ID FROM {target} EMIT CHANGES;") as query:
        assert query.query_id in [one["id"] for one in client.queries()]
        client.terminate(query.query_id)
        assert list(query) == []
    with pytest.raises(KsqlResponseError):
        client.describe('x"; DROP STREAM y; --')
    reply = client.ksql("DESCRIBE ${name};", variables={"name": target})
    assert reply[0]["sourceDescription"]["name"] == target


SCRIPT = """
import sys
from gateway.client import SyncClient
with SyncClient(sys.argv[1]) as client:
    with client.query(f"SELECT ID FROM {sys.argv[2]} EMIT CHANGES;") as query:
        print("waiting", flush=True)
        try:
            next(query)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise SystemExit(3)
"""


def test_an_interrupt_ends_a_program_that_waits_for_rows_and_leaves_nothing_behind(
    gateway: GatewayProcess, client: SyncClient, target: str
) -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, gateway.url, target]
    root = str(Path(__file__).parents[2])
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, cwd=root
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == b"waiting\n"
        program.send_signal(signal.SIGINT)
        out, said = program.communicate(timeout=20)
    finally:
        program.kill()
        program.wait()
    assert (program.returncode, out, said) == (3, b"interrupted\n", b"")
    assert client.queries() == []
