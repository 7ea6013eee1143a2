"""The bench measures what it says: its arithmetic, its rows, and its load client's checks."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import load
from tests.bench.compare import Bar, By, Sample, alternate, judge
from tests.bench.rows import DAY_START_MS, ROW_BYTES, row_line, write_rows
from tests.unit.client_peer import Exchange, scripted

DAY_MS = 86_400_000


@given(st.integers(0, 800_000))
def test_every_row_is_a_line_of_120_bytes_with_six_fields_of_one_day(number: int) -> None:
    line = row_line(number)
    assert len(line) == ROW_BYTES
    assert line.endswith(b"\n")
    row = orjson.loads(line)
    assert list(row) == ["TS", "ID", "USERNAME", "KIND", "AMOUNT", "NOTE"]
    assert DAY_START_MS <= row["TS"] < DAY_START_MS + DAY_MS


class Fixed:
    """A contender that always takes its time."""

    def __init__(self, name: str, seconds: list[float], log: list[str]) -> None:
        self.name = name
        self._seconds = iter(seconds)
        self._log = log

    def measure(self) -> Sample:
        self._log.append(self.name)
        return Sample(self.name, 100, next(self._seconds))


def test_rounds_turn_their_order_and_ratios_stay_within_a_round() -> None:
    log: list[str] = []
    emitted: list[dict[str, Any]] = []
    contenders = [Fixed("a", [1.0, 4.0, 2.0], log), Fixed("b", [2.0, 1.0, 2.0], log)]
    rounds = alternate(contenders, 3, emitted.append)
    assert log == ["a", "b", "b", "a", "a", "b"]
    assert [e["round"] for e in emitted] == [0, 0, 1, 1, 2, 2]
    verdict = judge(rounds, Bar("a", "b", 1.5))
    assert verdict.ratios == (2.0, 0.25, 1.0)
    assert (verdict.median, verdict.word) == (1.0, "unclear")
    assert judge(rounds, Bar("a", "b", 1.0)).word == "reached"
    assert judge(rounds, Bar("a", "b", 2.5)).word == "missed"


def test_a_ratio_compares_what_its_bar_says_and_nothing_where_the_client_was_the_limit() -> None:
    fast = Sample("fast", 100, 1.0, {"server": 0.5, "client": 0.6}, p99_ms=2.0)
    slow = Sample("slow", 100, 2.0, {"server": 1.0, "client": 0.1}, p99_ms=3.0)
    rounds = [{"fast": fast, "slow": slow}]
    by_rate = judge(rounds, Bar("fast", "slow", 2.0))
    assert (by_rate.median, by_rate.word) == (2.0, "client-bound")
    by_cpu = judge(rounds, Bar("fast", "slow", 2.0, By.PER_CPU))
    assert (by_cpu.median, by_cpu.word) == (2.0, "reached")
    assert judge(rounds, Bar("fast", "slow", 1.5, By.QUICKNESS)).ratios == (1.5,)
    assert judge(rounds, Bar("slow", "fast", None, By.PER_CPU)).word == ""


@given(st.binary(max_size=200), st.integers(1, 50))
def test_data_frames_carry_the_body_and_end_the_stream_once(body: bytes, size: int) -> None:
    frames, at, payload, ends = load.data_frames(body, size), 0, b"", 0
    while at < len(frames):
        length = int.from_bytes(frames[at : at + 3], "big")
        assert frames[at + 3] == load.DATA
        assert length <= size
        ends += frames[at + 4] & load.END_STREAM
        payload += frames[at + 9 : at + 9 + length]
        at += 9 + length
    assert (payload, ends, frames[-5] & load.END_STREAM) == (body, 1, load.END_STREAM)


async def run_load(url: str, file: Path, *flags: str) -> tuple[int, bytes, bytes]:
    """The load client as a process, as the bench runs it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.load", "--port", url.rpartition(":")[2]),
        *("--target", "T", "--file", str(file), "--limit-s", "10", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout, stderr


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.ndjson", 3000)
    return tmp_path / "rows.ndjson"


@pytest.mark.parametrize("window", [20_000, 65_535, 1_000_000])
async def test_the_load_client_sends_every_row_within_any_window(
    rows_file: Path, window: int
) -> None:
    got: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        arguments = orjson.loads(await exchange.line())
        assert arguments["properties"]["headrace.ack"] == "committed"
        exchange.respond()
        async for line in exchange.lines():
            exchange.send(b'{"status":"ok","seq":%d}\n' % len(got))
            got.append(line + b"\n")
        exchange.end()

    async with scripted(script, initial_window_size=window) as server:
        code, stdout, stderr = await run_load(server.url, rows_file)
        assert (code, stderr) == (0, b"")
    assert got == [row_line(number) for number in range(3000)]
    assert orjson.loads(stdout)["rows"] == 3000


@pytest.mark.parametrize(
    ("acks", "reason"),
    [
        ([0, 2, 1], b"expected the ack of row 1"),
        ([0, 1], b"2 acks for 3000 rows"),
    ],
)
async def test_the_load_client_believes_no_wrong_acks(
    rows_file: Path, acks: list[int], reason: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        async for _ in exchange.lines():
            pass
        exchange.send(b"".join(b'{"status":"ok","seq":%d}\n' % seq for seq in acks), end=True)

    async with scripted(script) as server:
        code, stdout, stderr = await run_load(server.url, rows_file)
    assert (code, stdout) == (1, b"")
    assert reason in stderr


async def test_the_load_client_tells_a_refusal(rows_file: Path) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond(400, b'{"error_code":40001,"message":"unknown stream"}')

    async with scripted(script) as server:
        code, _, stderr = await run_load(server.url, rows_file)
    assert code == 1
    assert b"unknown stream" in stderr
