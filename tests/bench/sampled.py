"""A server under a small sampling profiler: where its threads' CPU time goes.

    python -m tests.bench.sampled PROFILE.json gateway serve --data-dir …

Every 2 ms the CPU time that each thread has used since the last look (proc(5), schedstat) is booked
on the place where it is: the innermost frame of the gateway's own code, and the innermost frame of
all. A C call (DuckDB, fsync, orjson) counts for the line that made it. Threads that are not
Python's, DuckDB's for one, are booked as ``native``.
"""

import json
import runpy
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

PERIOD_S = 0.002
SWITCH_S = 0.0002
"""how long a thread may keep the interpreter: with Python's 5 ms the sampler would get its turn
only where the event loop pauses, and book everything on the pause"""
TASKS = Path("/proc/self/task")
OWN = ("/gateway/", "/protocol/")


class Sampler:
    """Books CPU nanoseconds on places, from a thread of its own, until `stop`."""

    def __init__(self) -> None:
        self.places_ns: Counter[str] = Counter()
        self.threads_ns: Counter[str] = Counter()
        self._seen_ns: dict[int, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        for task in TASKS.iterdir():
            self._used_ns(int(task.name))  # What was used before, by imports, does not count.
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            frames = sys._current_frames()
            threads = {t.native_id: t for t in threading.enumerate()}
            for task in TASKS.iterdir():
                native_id = int(task.name)
                used_ns = self._used_ns(native_id)
                thread = threads.get(native_id)
                name = thread.name if thread else "native"
                self.threads_ns[name] += used_ns
                frame = frames.get(thread.ident or 0) if thread else None
                if used_ns and frame is not None and thread is not self._thread:
                    self.places_ns[f"{name} | {place(frame)}"] += used_ns

    def _used_ns(self, native_id: int) -> int:
        try:
            now_ns = int((TASKS / str(native_id) / "schedstat").read_text().split()[0])
        except OSError:
            return 0  # The thread ended between the two looks.
        before_ns = self._seen_ns.get(native_id, 0)
        self._seen_ns[native_id] = now_ns
        return now_ns - before_ns


def place(leaf: FrameType) -> str:
    """``own.function:line < leaf.function``; only one where they are the same."""
    own: FrameType | None = leaf
    while own is not None and not any(part in own.f_code.co_filename for part in OWN):
        own = own.f_back
    if own is None:
        return named(leaf)
    line = f"{named(own)}:{own.f_lineno}"
    return line if own is leaf else f"{line} < {named(leaf)}"


def named(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"


def main() -> None:
    target = Path(sys.argv[1])
    sys.argv = sys.argv[2:]
    sampler = Sampler()
    sampler.start()
    started_s = time.monotonic()
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        report = {
            "seconds": round(time.monotonic() - started_s, 2),
            "thread_cpu_ms": {n: round(ns / 1e6) for n, ns in sampler.threads_ns.most_common()},
            "place_cpu_ms": {n: round(ns / 1e6) for n, ns in sampler.places_ns.most_common(40)},
        }
        target.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
