"""The two Python clients on HTTP/2 against the real Druid, whose commits outlast their patience.

Both give up on an insert after 5 s without a byte. A batch here waits 6 s before it is even sent
to Druid: only the gateway's PINGs keep them.
"""

import json
import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.clients.driven import Driven, driven_python
from tests.clients.installed import python_with
from tests.clients.scripts import COLUMNS, EARLIEST, rows, values
from tests.contract.druid_fixture import unique
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import acks

READ_TIMEOUT_S = 5.0
BATCH_AGE_S = 6.0
SLOW_S = 90.0


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture(scope="module")
def gateway(
    druid: RunningDruid, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway in front of the real Druid, slower than the clients wait."""
    with gateway_process(
        tmp_path_factory.mktemp("gateway") / "data",
        warehouse="druid",
        arguments=["--druid-url", druid.router],
        settings={"INGEST__BATCH_AGE_S": BATCH_AGE_S},
    ) as running:
        yield running


@pytest.fixture
def stream() -> str:
    """A name that no cluster has seen."""
    return unique("clients").upper()


def create(stream: str) -> str:
    properties = f"kafka_topic='{stream.lower()}', timestamp='AT', ack='queryable'"
    return f"CREATE STREAM {stream} ({COLUMNS}) WITH ({properties});"


def insert_slowly(client: Driven, stream: str) -> None:
    """Three rows, whose acks take longer than the client waits for a byte."""
    began = time.monotonic()
    assert client.call("inserts_stream", stream, rows(0, 3), within_s=SLOW_S) == acks(0, 3)
    assert time.monotonic() - began > READ_TIMEOUT_S, "this proves nothing: it was fast"


def test_ksqldb_outlasts_a_slow_commit_and_reads_it_back(
    gateway: GatewayProcess, stream: str
) -> None:
    with driven_python(python_with("ksqldb"), "ksqldb_1", gateway.url) as client:
        client.call("ksql", create(stream))
        sql = f"SELECT ID, NAME, PRICE FROM {stream}"
        header = client.call("open_query", "push", f"{sql} EMIT CHANGES;", EARLIEST)
        insert_slowly(client, stream)
        assert [client.call("next_line", "push") for _ in range(3)] == values(0, 3)
        assert client.call("close_query", header["queryId"]) is True
        assert client.call("next_line", "push") is None
        pulled = client.call("query_sync", f"{sql};", within_s=SLOW_S)
        assert sorted(pulled[1:]) == values(0, 3)
        (described,) = client.call("ksql", f"DESCRIBE {stream};")
        assert len(described["sourceDescription"]["fields"]) == 4


def test_ksql_python_ng_outlasts_a_slow_commit_and_reads_it_back(
    gateway: GatewayProcess, stream: str
) -> None:
    with driven_python(python_with("ksql-python-ng"), "ksql_python_ng", gateway.url) as client:
        client.call("ksql", create(stream))
        sql = f"SELECT ID, NAME, PRICE FROM {stream}"
        opened = client.call("open_query", "push", f"{sql} EMIT CHANGES;", EARLIEST, True)
        insert_slowly(client, stream)
        chunks = [client.call("next_chunk", "push") for _ in range(3)]
        assert [json.loads(chunk) for chunk in chunks] == values(0, 3)
        assert client.call("close_query", json.loads(opened)["queryId"]) is True
        assert client.call("next_chunk", "push") is None
        for http2 in (True, False):
            found = client.call("pull", f"{sql};", http2, False, within_s=SLOW_S)
            assert sorted(json.loads(chunk) for chunk in found[1:]) == values(0, 3)
        assert stream in client.call("get_all_streams", stream)
