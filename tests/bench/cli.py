"""The cli suite: `headrace insert` of a whole file to ``spooled``, against the bare wire.

The bare wire is `tests.bench.load`: the same rows to the same gateway, as frames that were built
before its clock started. The command's time is that of its whole process, from its start to its
end: Python's start, the connection, the reading and the parsing of the file are in it.
"""

import asyncio
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.compare import Bar, Sample, Verdict, alternate, judge
from tests.bench.options import Options
from tests.bench.processes import (
    BenchFailed,
    Gateway,
    cpu_seconds,
    quiet_disk,
    run_module,
    serving,
)
from tests.bench.streams import create_stream, expect_count

ROUNDS = 5
LIMIT_S = 180.0
WIRE, NDJSON, CSV, CHANNEL = "bare wire", "ndjson", "csv", "ndjson on a channel"
NDJSON_BAR = 0.5


@dataclass
class Inserting:
    """One way to bring a file into a stream of its own.

    Its rows must be in the warehouse before the next contender starts: until then the gateway works
    on, and would slow that one down.
    """

    name: str
    gateway: Gateway
    file: Path

    def measure(self) -> Sample:
        """See `tests.bench.compare.Contender`."""
        target = f"BENCH_{time.time_ns()}"
        asyncio.run(create_stream(self.gateway.url, target))
        quiet_disk()
        before_s = cpu_seconds(self.gateway.pid)
        done = self._run(target)
        server_s = cpu_seconds(self.gateway.pid) - before_s
        asyncio.run(expect_count(self.gateway.url, target, done["rows"]))
        cpu_s = {"server": round(server_s, 2), **done.get("cpu_s", {})}
        return Sample(self.name, done["rows"], done["seconds"], cpu_s, done.get("notes", {}))

    def _run(self, target: str) -> dict[str, Any]:
        if self.name == WIRE:
            flags = ("--port", self.gateway.port, "--target", target, "--file", self.file)
            done = run_module("tests.bench.load", *flags, "--ack", "spooled")
            return {"rows": done["rows"], "seconds": done["seconds"]}
        return self._command(target)

    def _command(self, target: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "gateway", "insert", target, str(self.file), "--json"]
        command += ["--url", self.gateway.url, "--ack", "spooled"]
        command += ["--channel", "bench"] * (self.name == CHANNEL)
        started_s = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        seconds = time.perf_counter() - started_s
        if done.returncode != 0:
            raise BenchFailed(f"{self.name}: {done.stderr.strip()[-2000:]}")
        told = json.loads(done.stdout)
        # The command's own clock begins when it is connected.
        notes = {"inner_rows_per_s": told["rowsPerSecond"]}
        return {"rows": told["acked"], "seconds": seconds, "notes": notes}


def write_csv(source: Path, target: Path) -> None:
    """The same rows as CSV with a header."""
    with source.open() as lines, target.open("w", newline="") as text:
        writer = csv.writer(text)
        for number, line in enumerate(lines):
            row = json.loads(line)
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())


def measure(options: Options, file: Path, folder: Path) -> list[Verdict]:
    """All contenders on one gateway that stays up."""
    csv_file = folder / "rows.csv"
    write_csv(file, csv_file)
    with serving(folder / "data", profile=options.profile) as gateway:
        contenders = [
            Inserting(WIRE, gateway, file),
            Inserting(NDJSON, gateway, file),
            Inserting(CHANNEL, gateway, file),
            Inserting(CSV, gateway, csv_file),
        ]
        for contender in contenders[:2]:
            contender.measure()
        rounds = alternate(contenders, options.rounds or ROUNDS, options.emit)
    return [
        judge(rounds, Bar(NDJSON, WIRE, NDJSON_BAR)),
        judge(rounds, Bar(CHANNEL, WIRE, None)),
        judge(rounds, Bar(CSV, WIRE, None)),
    ]
