"""The suites: who is measured against whom, and the bars.

A suite is a function from `Options` to verdicts; `SUITES` lists them in the order of their
running.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import cli as bench_cli
from tests.bench.compare import Bar, Sample, Verdict, alternate, judge
from tests.bench.druid import DirectInsert
from tests.bench.fanout import fanout
from tests.bench.options import Options
from tests.bench.processes import (
    Gateway,
    cpu_seconds,
    peak_memory_bytes,
    quiet_disk,
    run_module,
    serving,
)
from tests.bench.pull import pull_druid, pull_embedded
from tests.bench.rows import write_rows
from tests.bench.streams import create_stream, expect_count
from tests.bench.transport import transport

WARM_ROWS = 20_000
ROUNDS = 3
GATEWAY = "gateway"


# ── through the gateway ──────────────────────────────────────────────────────────────────────


@dataclass
class Through:
    """Rows through a gateway over HTTP/2 to the asked ack level; the gateway runs already."""

    gateway: Gateway
    file: Path
    options: Options
    name: str = GATEWAY
    _runs: int = 0

    def warm_up(self, file: Path) -> None:
        """Make every piece of code on the way have run once."""
        self._load(file)

    def measure(self) -> Sample:
        quiet_disk()
        before_s = cpu_seconds(self.gateway.pid)
        loaded = self._load(self.file)
        gateway_s = cpu_seconds(self.gateway.pid) - before_s
        peak_mib = peak_memory_bytes(self.gateway.pid) >> 20
        cpu_s = {"gateway": round(gateway_s, 2), "client": round(loaded["cpu_s"], 2)}
        notes = {"ack": self.options.ack, "gateway_peak_mib": peak_mib}
        return Sample(self.name, loaded["rows"], loaded["seconds"], cpu_s, notes)

    def _load(self, file: Path) -> dict[str, Any]:
        """One file into a stream of its own, counted afterwards."""
        self._runs += 1
        # A cluster outlives its benches: the name must be new to it.
        target = f"BENCH_{time.time_ns() // 1_000_000}_{self._runs}"
        asyncio.run(create_stream(self.gateway.url, target))
        flags = ["--port", self.gateway.port, "--target", target, "--file", file]
        flags += ["--ack", self.options.ack, "--frame-bytes", self.options.frame_bytes]
        loaded = run_module("tests.bench.load", *flags)
        asyncio.run(expect_count(self.gateway.url, target, loaded["rows"]))
        return loaded


# ── embedded ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class FreshThrough:
    """Like `Through`, with a gateway and a data folder of its own for each run."""

    file: Path
    warm_file: Path
    folder: Path
    options: Options
    name: str = GATEWAY
    _runs: int = 0

    def measure(self) -> Sample:
        self._runs += 1
        data = self.folder / f"data-{self._runs}"
        with serving(data, profile=self.options.profile) as gateway:
            through = Through(gateway, self.file, self.options)
            through.warm_up(self.warm_file)
            return through.measure()


@dataclass
class DuckDb:
    """DuckDB's own insert of the same file into a new file database."""

    file: Path
    folder: Path
    name: str = "duckdb"
    _runs: int = 0

    def measure(self) -> Sample:
        self._runs += 1
        database = self.folder / f"reference-{self._runs}.duckdb"
        quiet_disk()
        done = run_module("tests.bench.duck", "--file", self.file, "--database", database)
        database.unlink()
        return Sample(
            self.name, done["rows"], done["seconds"], {self.name: round(done["cpu_s"], 2)}
        )


def embedded(options: Options) -> list[Verdict]:
    """To ``committed`` on the embedded warehouse, against DuckDB itself."""
    with row_files(options.rows) as (folder, file, warm_file):
        through = FreshThrough(file, warm_file, folder, options)
        reference = DuckDb(file, folder)
        rounds = alternate([through, reference], options.rounds or ROUNDS, options.emit)
    return [judge(rounds, Bar(GATEWAY, reference.name, 0.4))]


# ── Druid ────────────────────────────────────────────────────────────────────────────────────


def druid(options: Options) -> list[Verdict]:
    """To ``committed`` on a Druid cluster, against one MSQ INSERT of the same file there."""
    url = options.druid_url or running_druid()
    if url is None:
        options.emit(
            {"skipped": "druid", "reason": "no --druid-url, and no cluster of `make druid`"}
        )
        return []
    with row_files(options.rows) as (folder, file, warm_file):
        flags = ("--warehouse", "druid", "--druid-url", url)
        with serving(folder / "data", flags, profile=options.profile) as gateway:
            through = Through(gateway, file, options)
            direct = DirectInsert(url, file)
            through.warm_up(warm_file)
            DirectInsert(url, warm_file).measure()
            rounds = alternate([through, direct], options.rounds or ROUNDS, options.emit)
    return [judge(rounds, Bar(GATEWAY, direct.name, 0.8))]


def running_druid() -> str | None:
    """The Router of the cluster that `make druid` keeps running, if one does."""
    file = Path(".druid/run/urls.json")
    return str(json.loads(file.read_text())["router"]) if file.exists() else None


@contextmanager
def row_files(rows: int) -> Iterator[tuple[Path, Path, Path]]:
    """A folder for the suite, the file of rows in it, and a small one to warm up with."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        write_rows(folder / "rows.ndjson", rows)
        write_rows(folder / "warm.ndjson", min(WARM_ROWS, rows))
        yield folder, folder / "rows.ndjson", folder / "warm.ndjson"


def pull(options: Options) -> list[Verdict]:
    """Rows up: a stream of 1 M rows (``--rows``) from each warehouse, against its bare readers."""
    url = options.druid_url or running_druid()
    with row_files(options.rows) as (folder, file, _):
        verdicts = [pull_embedded(options, file, folder)]
        if url is None:
            reason = "no --druid-url, and no cluster of `make druid`"
            options.emit({"skipped": "pull druid", "reason": reason})
        else:
            verdicts.append(pull_druid(options, file, folder, url))
    return verdicts


def cli(options: Options) -> list[Verdict]:
    """`headrace insert` of a file (``--rows``) to ``spooled``, against the bare wire."""
    with row_files(options.rows) as (folder, file, _):
        return bench_cli.measure(options, file, folder)


SUITES: dict[str, Callable[[Options], list[Verdict]]] = {
    "embedded": embedded,
    "druid": druid,
    "pull": pull,
    "fanout": fanout,
    "transport": transport,
    "cli": cli,
}
