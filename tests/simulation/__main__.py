"""``python -m tests.simulation --seeds 5000``: run many seeds, or one with its trace."""

import argparse
import sys
import time

from tests.simulation.world import Verdict, simulate


def main() -> int:
    """Exit status 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--stop", action="store_true", help="stop at the first that fails")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _show(simulate(arguments.seed, print))
    return _run_many(arguments.first, arguments.seeds, stop=arguments.stop)


def _show(verdict: Verdict) -> int:
    print(verdict)
    return 1 if verdict.violations else 0


def _run_many(first: int, count: int, *, stop: bool) -> int:
    started, cpu = time.monotonic(), time.process_time()
    verdicts: list[Verdict] = []
    failed: list[Verdict] = []
    for seed in range(first, first + count):
        verdict = simulate(seed)
        verdicts.append(verdict)
        if verdict.violations:
            failed.append(verdict)
            print(f"seed {seed} FAILED: {verdict.violations[0]}")
            print(f"    replay: python -m tests.simulation --seed {seed}", flush=True)
            if stop:
                break
    print(
        f"{len(verdicts)} seeds, {len(failed)} failed; "
        f"{sum(v.rows for v in verdicts)} rows, {sum(v.published for v in verdicts)} published, "
        f"{sum(v.dead for v in verdicts)} at fault, {sum(v.tasks for v in verdicts)} tasks, "
        f"{sum(v.crashes for v in verdicts)} crashes, "
        f"{sum(v.virtual_s for v in verdicts) / 3600:.1f} virtual hours; "
        f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
