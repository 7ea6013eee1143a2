"""`make bench`: ratios within one run, as JSON lines and a table.

    python -m tests.bench [SUITE …] [--rows N] [--rounds N] [--druid-url URL] [--profile FILE]

Nothing here judges a machine: only ratios between contenders of the same round count, and by
default a missed bar is a word in the table. ``--strict`` makes it the exit code.
"""

import argparse
import json
import os
import platform
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.compare import Verdict
from tests.bench.options import Options
from tests.bench.processes import BenchFailed
from tests.bench.suites import SUITES

LIBRARIES = ("duckdb", "h2", "hypercorn", "quart", "orjson", "msgspec")


def emit(result: dict[str, Any]) -> None:
    """One JSON line on standard output; collected for the table."""
    RESULTS.append(result)
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


RESULTS: list[dict[str, Any]] = []


def environment() -> dict[str, Any]:
    """What the numbers were made with."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    versions = {name: version(name) for name in LIBRARIES}
    python = platform.python_version()
    return {"cpu": model, "cores": os.cpu_count(), "python": python, "versions": versions}


def print_tables(verdicts: list[Verdict]) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 140
    samples = Table(title="samples", title_justify="left")
    for name in ("suite", "round", "contender", "rows", "seconds", "rows/s", "CPU s", "notes"):
        samples.add_column(name, justify="right")
    for result in RESULTS:
        if "sample" not in result:
            continue
        sample = result["sample"]
        samples.add_row(
            result.get("case", result["suite"]),
            str(result["round"] + 1),
            sample["contender"],
            f"{sample['rows']:,}",
            f"{sample['seconds']:.2f}",
            f"{result['rows_per_s']:,}",
            ", ".join(f"{name} {seconds:.2f}" for name, seconds in sample["cpu_s"].items()),
            ", ".join(f"{name} {value}" for name, value in sample["notes"].items()),
        )
    console.print(samples)
    bars = Table(title="ratios within a round", title_justify="left")
    for name in ("case", "ratio", "of", "median", "range", "bar", ""):
        bars.add_column(name, justify="right")
    for verdict in verdicts:
        bars.add_row(
            verdict.bar.case,
            f"{verdict.bar.contender} / {verdict.bar.against}",
            verdict.bar.by,
            f"{verdict.median:.2f}",
            f"{min(verdict.ratios):.2f} to {max(verdict.ratios):.2f}",
            "" if verdict.bar.at_least is None else f"{verdict.bar.at_least:.3g}",
            verdict.word,
        )
    console.print(bars)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=" or ".join(SUITES))
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, help="instead of the suite's own number")
    parser.add_argument("--frame-bytes", type=int, default=16_384, help="payload of a DATA frame")
    parser.add_argument("--ack", default="committed", help="spooled, committed or queryable")
    parser.add_argument("--druid-url", help="the Router of a cluster")
    parser.add_argument("--profile", type=Path, help="sample the gateway; its report goes here")
    parser.add_argument("--strict", action="store_true", help="a missed bar is exit code 1")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"unknown suite {', '.join(sorted(unknown))}: there are {', '.join(SUITES)}")
    return options


def main() -> int:
    given = arguments()
    # Ended from outside, it must still end its gateways.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emit({"environment": environment()})
    verdicts: list[Verdict] = []
    for name in given.suites or SUITES:
        options = Options(
            rows=given.rows,
            rounds=given.rounds,
            frame_bytes=given.frame_bytes,
            ack=given.ack,
            druid_url=given.druid_url,
            profile=given.profile,
            emit=lambda result, name=name: emit({"suite": name, **result}),  # type: ignore[misc]
        )
        try:
            found = SUITES[name](options)
        except BenchFailed as exc:
            emit({"suite": name, "failed": str(exc)})
            return 2
        if given.profile and given.profile.exists():
            emit({"suite": name, "profile": json.loads(given.profile.read_text())})
        for verdict in found:
            emit({"suite": name, **verdict.as_json()})
        verdicts += found
    print_tables(verdicts)
    missed = any(verdict.word == "missed" for verdict in verdicts)
    return 1 if missed and given.strict else 0


if __name__ == "__main__":
    sys.exit(main())
