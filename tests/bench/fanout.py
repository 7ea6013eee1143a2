"""The fan-out suite: one stream of rows to many push queries.

Flooded: rows go in as fast as they are taken, and the clock runs from the first of them to the last
one's arrival at the last subscriber. What the same rows cost the gateway with nobody to read them
is measured right before and taken off, so ``us_per_row`` is its CPU for a row at a subscriber.

Paced: rows trickle in, and each delivery is timed from the moment when the row's ack of
``committed`` is read. Nothing holds a row back until then: a delivery may well come first.

Subscribers are a process of their own (`tests.bench.push_reader`), on connections of up to a
hundred queries each.
"""

import asyncio
import json
import math
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.compare import Bar, By, Contender, Sample, Verdict, alternate, judge
from tests.bench.load import ARGUMENTS, DATA, END_STREAM, STREAM, LoadFailed, RawInsert, frame
from tests.bench.options import Options
from tests.bench.processes import BenchFailed, Gateway, cpu_seconds, run_module, serving
from tests.bench.rows import row_line, write_rows
from tests.bench.streams import create_stream
from tests.tcp import connected

ROUNDS = 3
QUERIES_A_CONNECTION = 100
LIMIT_S = 60.0
PACED_ROWS_PER_S, PACED_ROWS, TICK_S = 200, 200, 0.01
"""a row every 5 ms, sent two at a time"""
WARM_ROWS = 20_000
CPU_MIN_S = 0.01
"""what proc(5) can tell apart"""


@dataclass(frozen=True)
class Audience:
    """Who subscribes, how, and how many rows go in."""

    name: str
    rows: int
    subscribers: int
    statements: int = 1
    flags: Sequence[str] = ("--coalesced",)

    @property
    def connections(self) -> int:
        """How many sockets they share."""
        return math.ceil(self.subscribers / QUERIES_A_CONNECTION)


ONE, FIFTY, MANY, EACH_ITS_OWN = "1", "50", "500", "50 statements"
ROW_FRAMES, CREDITED = "500, a frame a row", "500, a frame and a credit a row"
FLOODED = (
    Audience(ONE, 300_000, 1),
    Audience(FIFTY, 40_000, 50),
    Audience(MANY, 4_000, 500),
    Audience(ROW_FRAMES, 4_000, 500, flags=()),
    Audience(CREDITED, 400, 500, flags=("--credits",)),
    Audience(EACH_ITS_OWN, 40_000, 50, statements=50),
)
PACED = tuple(
    Audience(name, PACED_ROWS, subscribers, statements)
    for name, subscribers, statements in (
        (ONE, 1, 1),
        (FIFTY, 50, 1),
        (MANY, 500, 1),
        (EACH_ITS_OWN, 50, 50),
    )
)


# ── contenders ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Flooded:
    """An audience of rows that come as fast as they are taken."""

    name: str
    gateway: Gateway
    audience: Audience
    folder: Path

    def measure(self) -> Sample:
        """See `tests.bench.compare.Contender`."""
        file = self.folder / f"{self.audience.rows}.ndjson"
        if not file.exists():
            write_rows(file, self.audience.rows)
        alone_s = cpu_seconds(self.gateway.pid)
        self._load(new_stream(self.gateway), file)
        before_s = cpu_seconds(self.gateway.pid)
        alone_s = before_s - alone_s
        target = new_stream(self.gateway)
        with subscribed(self.gateway, target, self.audience) as reader:
            before_s, began_at = cpu_seconds(self.gateway.pid), time.monotonic()
            self._load(target, file)
            read = result_of(reader)
            fanned_s = cpu_seconds(self.gateway.pid) - before_s
        server_s = max(CPU_MIN_S, fanned_s - alone_s)
        cpu_s = {"server": round(server_s, 2), "rows alone": round(alone_s, 2)}
        cpu_s["client"] = round(read["cpu_s"], 2)
        notes = {"us_per_row": round(server_s / read["rows"] * 1e6, 2)}
        return Sample(self.name, read["rows"], read["ended_at"] - began_at, cpu_s, notes)

    def _load(self, target: str, file: Path) -> None:
        run_module("tests.bench.load", "--port", self.gateway.port, "--target", target,
                   "--file", file)  # fmt: skip


@dataclass
class Paced:
    """An audience of rows that trickle in."""

    name: str
    gateway: Gateway
    audience: Audience

    def measure(self) -> Sample:
        """See `tests.bench.compare.Contender`."""
        target = new_stream(self.gateway)
        with subscribed(self.gateway, target, self.audience, "--arrivals") as reader:
            before_s, began_at = cpu_seconds(self.gateway.pid), time.monotonic()
            acked_at = trickle(self.gateway.port, target, self.audience.rows)
            read = result_of(reader)
            server_s = cpu_seconds(self.gateway.pid) - before_s
        late_ms = lateness_ms(acked_at, read["arrivals"], self.audience.statements)
        p50_ms, p99_ms = (late_ms[int(len(late_ms) * share)] for share in (0.5, 0.99))
        cpu_s = {"server": round(server_s, 2), "client": round(read["cpu_s"], 2)}
        notes = {"p50_ms": round(p50_ms, 2), "p99_ms": round(p99_ms, 2)}
        seconds = read["ended_at"] - began_at
        return Sample(self.name, read["rows"], seconds, cpu_s, notes, p99_ms)


def new_stream(gateway: Gateway) -> str:
    """A stream of a new name."""
    name = f"BENCH_{time.time_ns()}"
    asyncio.run(create_stream(gateway.url, name))
    return name


# ── subscribers ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def subscribed(
    gateway: Gateway, target: str, audience: Audience, *flags: str
) -> Iterator[subprocess.Popen[str]]:
    """The audience's process, up for the block, all of its queries running."""
    command = [sys.executable, "-m", "tests.bench.push_reader", "--target", target, *flags]
    for flag in ("rows", "subscribers", "statements", "connections"):
        command += [f"--{flag}", str(getattr(audience, flag))]
    command += ["--port", str(gateway.port), *audience.flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as reader:  # type: ignore[call-overload]
        try:
            if line_of(reader) != "ready\n":
                raise BenchFailed(f"push_reader: {said(reader)}")
            yield reader
        finally:
            reader.kill()


def result_of(reader: subprocess.Popen[str]) -> dict[str, Any]:
    """What the audience says when it has all of its rows."""
    line = line_of(reader)
    if not line:
        raise BenchFailed(f"push_reader: {said(reader)}")
    result: dict[str, Any] = json.loads(line)
    return result


def line_of(reader: subprocess.Popen[str]) -> str:
    """Its next line; it gives up by itself when it has waited for too long."""
    assert reader.stdout is not None
    return reader.stdout.readline()


def said(reader: subprocess.Popen[str]) -> str:
    assert reader.stderr is not None
    return reader.stderr.read().strip()[-2000:]


# ── rows that trickle in ─────────────────────────────────────────────────────────────────────


def trickle(port: int, target: str, rows: int) -> list[float]:
    """Insert rows at a steady rate; returns when the ``committed`` ack of each was read."""
    acked_at: list[float] = []
    with connected(("127.0.0.1", port), None, LIMIT_S) as sock:
        insert = RawInsert(sock)
        insert.open("/inserts-stream", (ARGUMENTS % (target, "committed")).encode())
        began_at, sent = time.monotonic(), 0
        while len(acked_at) < rows:
            now = time.monotonic()
            if now - began_at > LIMIT_S:
                raise BenchFailed(f"{len(acked_at)} acks for {rows} rows")
            due = min(rows, int((now - began_at) * PACED_ROWS_PER_S))
            if due > sent:
                lines = b"".join(row_line(number) for number in range(sent, due))
                sock.sendall(frame(DATA, END_STREAM if due == rows else 0, STREAM, lines))
                sent = due
            if select.select([sock], [], [], TICK_S)[0]:
                insert.read()
                acked_at += [time.monotonic()] * (insert.acked - len(acked_at))
        try:
            insert.check(rows)
        except LoadFailed as failed:
            raise BenchFailed(str(failed)) from failed
    return acked_at


def lateness_ms(
    acked_at: Sequence[float], arrivals: Sequence[Sequence[tuple[float, int]]], statements: int
) -> list[float]:
    """Of every row at every subscriber, from the row's ack to its arrival; sorted."""
    late_ms = []
    for number, arrived in enumerate(arrivals):
        acks = acked_at[number % statements :: statements]
        first = 0
        for at, count in arrived:
            late_ms += [(at - ack) * 1e3 for ack in acks[first:count]]
            first = count
    return sorted(late_ms)


# ── the suite ────────────────────────────────────────────────────────────────────────────────


def fanout(options: Options) -> list[Verdict]:
    """Push queries on the embedded warehouse: 1, 50 and 500 of one statement, 50 of as many."""
    settings = {"QUERY__PUSH_QUERIES_MAX": max(audience.subscribers for audience in FLOODED)}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
        serving(Path(name) / "data", settings=settings, profile=options.profile) as gateway,
    ):
        flooded = [Flooded(a.name, gateway, a, Path(name)) for a in FLOODED]
        replace(flooded[0], audience=replace(FLOODED[0], rows=WARM_ROWS)).measure()
        verdicts = run_case("push, flooded", flooded, FLOODED_BARS, options)
        case = f"push, {PACED_ROWS_PER_S} rows/s"
        paced = [Paced(a.name, gateway, a) for a in PACED]
        return verdicts + run_case(case, paced, PACED_BARS, options)


FLOODED_BARS = (
    Bar(MANY, ONE, None, By.PER_CPU),
    Bar(MANY, FIFTY, None, By.PER_CPU),
    Bar(ROW_FRAMES, MANY, None, By.PER_CPU),
    Bar(CREDITED, ROW_FRAMES, None, By.PER_CPU),
    Bar(EACH_ITS_OWN, ONE, None, By.PER_CPU),
)
PACED_BARS = (
    Bar(MANY, ONE, None, By.QUICKNESS),
    Bar(EACH_ITS_OWN, ONE, None, By.QUICKNESS),
)


def run_case(
    case: str,
    contenders: Sequence[Contender],
    bars: Sequence[Bar],
    options: Options,
) -> list[Verdict]:
    """Its rounds, then its bars."""
    rounds = alternate(
        contenders,
        options.rounds or ROUNDS,
        lambda result: options.emit({"case": case, **result}),
    )
    return [judge(rounds, replace(bar, case=case)) for bar in bars]
