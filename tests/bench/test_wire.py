"""The C load client counts what there is, on every server of the suite, and nothing else."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.bench import transport
from tests.bench.processes import BenchFailed, Gateway, module_command, up
from tests.bench.rows import row_line, write_rows
from tests.bench.transport import BIG_FRAMES, ROW_FRAMES, arguments_line, insert_arguments
from tests.bench.wire import build, compiler, load
from tests.unit.client_peer import Exchange, scripted

pytestmark = pytest.mark.skipif(
    compiler() is None or shutil.which("node") is None, reason="needs a C compiler and Node"
)

ROWS = 4096
REFERENCE = Path(transport.__file__).with_name("reference.js")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.ndjson"
    write_rows(file, ROWS)
    return file


@pytest.fixture(scope="module", params=["lanes", "stock", "node"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    command = ["node", str(REFERENCE)]
    if request.param != "node":
        command = [*module_command("tests.bench.ack_server"), request.param]
    with up(command, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.mark.parametrize("frame_bytes", [ROW_FRAMES, BIG_FRAMES, 7])
def test_a_flood_is_acked_to_its_last_row(
    client: Path, rows_file: Path, server: Gateway, frame_bytes: int
) -> None:
    for packed in (False, True):
        arguments = insert_arguments(rows_file, frame_bytes, 0.05, packed=packed)
        done = load(client, "insert", server.port, arguments)
        assert done["rows"] >= ROWS
        assert done["rows"] % ROWS == 0
        assert done["seconds"] >= 0.05


def test_paced_rows_leave_on_many_connections_at_their_pace(
    client: Path, rows_file: Path, server: Gateway
) -> None:
    arguments = ("/inserts-stream", arguments_line(packed=False), rows_file, 10, 1000, 0.3)
    done = load(client, "paced", server.port, arguments)
    assert done["rows"] == 300
    assert done["seconds"] >= 0.29
    assert 0 < done["p50_ms"] <= done["p99_ms"]


@pytest.mark.parametrize("kind", ["lanes", "stock"])
def test_a_query_gives_every_row_in_both_kinds_of_frames(
    client: Path, tmp_path: Path, kind: str
) -> None:
    with up([*module_command("tests.bench.ack_server"), kind], tmp_path / "log") as running:
        for properties in ({}, {"headrace.frames": "coalesced"}):
            body = orjson.dumps({"sql": "5000", "properties": properties}).decode()
            assert (
                load(client, "query", running.port, ("/query-stream", body, 5000))["rows"] == 5000
            )
        with pytest.raises(BenchFailed, match="5000 answers for 5001 rows"):
            load(client, "query", running.port, ("/query-stream", body, 5001))


@pytest.mark.parametrize("window", [20_000, 65_535, 1_000_000])
async def test_it_sends_every_row_within_any_window(
    client: Path, rows_file: Path, window: int
) -> None:
    got: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        async for line in exchange.lines():
            exchange.send(b'{"status":"ok","seq":%d}\n' % len(got))
            got.append(line + b"\n")
        exchange.end()

    async with scripted(script, initial_window_size=window) as peer:
        arguments = insert_arguments(rows_file, BIG_FRAMES, 0.0)
        port = int(peer.url.rpartition(":")[2])
        done = await asyncio.to_thread(load, client, "insert", port, arguments)
    assert got == [row_line(number) for number in range(ROWS)]
    assert done["rows"] == ROWS


@pytest.mark.parametrize(
    ("acks", "reason"),
    [
        ([0, 2, 1], "expected the answer for row 1"),
        ([0, 0], "expected the answer for row 1"),
        ([0, 1], f"2 answers for {ROWS} rows"),
    ],
)
async def test_it_believes_no_wrong_acks(
    client: Path, rows_file: Path, acks: list[int], reason: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        async for _ in exchange.lines():
            pass
        exchange.send(b"".join(b'{"status":"ok","seq":%d}\n' % seq for seq in acks), end=True)

    async with scripted(script) as peer:
        arguments = insert_arguments(rows_file, BIG_FRAMES, 0.0)
        port = int(peer.url.rpartition(":")[2])
        with pytest.raises(BenchFailed, match=reason):
            await asyncio.to_thread(load, client, "insert", port, arguments)
