"""Pulling a stream of many rows: the gateway against a bare reader of its warehouse, in one run.

On Druid the reference is a plain HTTP client that reads the same SELECT from ``/druid/v2/sql`` and
counts lines; embedded, DuckDB's own ``fetchmany`` over a table of the same rows. Readers are
processes of their own (`tests.bench.pull_reader`) and keep nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.compare import Bar, Sample, Verdict, alternate, judge
from tests.bench.options import Options
from tests.bench.processes import Gateway, cpu_seconds, peak_memory_bytes, run_module, serving
from tests.bench.streams import create_stream, expect_count

ROUNDS = 3
LOADING_S = 600.0
DRUID_AT_LEAST, DUCKDB_AT_LEAST = 0.8, 0.3


@dataclass
class Reading:
    """One reader of all rows; ``gateway``: whose CPU and memory are told beside it."""

    name: str
    rows: int
    flags: Sequence[object]
    gateway: Gateway | None = None
    _warm: list[bool] = field(default_factory=list)

    def measure(self) -> Sample:
        if not self._warm:
            self._read()
            self._warm.append(True)
        before_s = cpu_seconds(self.gateway.pid) if self.gateway else 0.0
        read = self._read()
        cpu_s = {f"{self.name} reader": round(read["cpu_s"], 2)}
        notes = {}
        if self.gateway:
            cpu_s["gateway"] = round(cpu_seconds(self.gateway.pid) - before_s, 2)
            notes["gateway_peak_mib"] = peak_memory_bytes(self.gateway.pid) >> 20
        return Sample(self.name, self.rows, read["seconds"], cpu_s, notes)

    def _read(self) -> dict[str, float]:
        read = run_module("tests.bench.pull_reader", *self.flags)
        assert read["rows"] == self.rows, read
        return read


def pull_embedded(options: Options, file: Path, folder: Path) -> Verdict:
    """`SELECT *` of the embedded warehouse, against DuckDB's own fetchmany."""
    database = folder / "reference.duckdb"
    run_module("tests.bench.duck", "--file", file, "--database", database)
    with serving(folder / "embedded", profile=options.profile) as gateway:
        through = _through(gateway, file, options)
        bare = Reading("duckdb", options.rows, ["--database", database])
        rounds = alternate([through, bare], options.rounds or ROUNDS, options.emit)
    return judge(rounds, Bar(through.name, bare.name, DUCKDB_AT_LEAST, case="pull embedded"))


def pull_druid(options: Options, file: Path, folder: Path, url: str) -> Verdict:
    """`SELECT *` of a Druid's datasource, against a bare HTTP client there."""
    flags = ("--warehouse", "druid", "--druid-url", url)
    with serving(folder / "druid", flags, profile=options.profile) as gateway:
        through = _through(gateway, file, options)
        target = through.flags[-1]
        bare = Reading("bare client", options.rows, ["--druid-url", url, "--target", target])
        rounds = alternate([through, bare], options.rounds or ROUNDS, options.emit)
    return judge(rounds, Bar(through.name, bare.name, DRUID_AT_LEAST, case="pull Druid"))


def _through(gateway: Gateway, file: Path, options: Options) -> Reading:
    """Load the file into a stream of a new name, and read that."""
    target = f"BENCH_PULL_{time.time_ns() // 1_000_000}"
    asyncio.run(create_stream(gateway.url, target))
    flags = ["--port", gateway.port, "--target", target, "--file", file]
    flags += ["--ack", "queryable", "--frame-bytes", options.frame_bytes]
    run_module("tests.bench.load", *flags, limit_s=LOADING_S)
    asyncio.run(expect_count(gateway.url, target, options.rows))
    reader = ["--port", gateway.port, "--target", target]
    return Reading("gateway", options.rows, reader, gateway)
