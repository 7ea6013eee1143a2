"""`make crash`: kill what can be killed, then count every row.

    python -m tests.crash embedded --kills 30 [--seed N] [--json]
    python -m tests.crash druid --kills 6 [--seed N] [--run FOLDER] [--json]

A seed draws the same plan and the same habits again; the machine's own timing differs. The exit
status is 1 if a row is not where it should be. What it ran on is kept then, and removed otherwise.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.druid import druid_cluster, run_druid
from tests.crash.embedded import run_embedded
from tests.crash.report import Report


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("warehouse", choices=("embedded", "druid"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, help="of an earlier campaign")
    parser.add_argument("--run", type=Path, help="run folder of a Druid that may be broken")
    parser.add_argument(
        "--json", action="store_true", help="the report as JSON, on standard output"
    )
    return parser.parse_args()


BEGAN_S = time.monotonic()


def say(line: str) -> None:
    print(f"{time.monotonic() - BEGAN_S:7.1f} s  {line}", file=sys.stderr, flush=True)


def campaign(given: argparse.Namespace, folder: Path, seed: int) -> Report:
    data = folder / "data"
    if given.warehouse == "embedded":
        return asyncio.run(run_embedded(data, given.kills, seed, say))
    with druid_cluster(folder / "druid", given.run, say) as cluster:
        return asyncio.run(run_druid(cluster, data, given.kills, seed, say))


def main() -> int:
    given = arguments()
    # Ended from outside, it must still end what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="headrace-crash-"))
    say(f"{given.warehouse}, seed {seed}, in {folder}")
    clean = False
    try:
        report = campaign(given, folder, seed)
        clean = report.clean
    finally:
        if clean:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"seed {seed}; all that it ran on is kept in {folder}")
    for line in report.details():
        say(line)
    print(json.dumps({"seed": seed, **report.document()}) if given.json else report.line())
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
