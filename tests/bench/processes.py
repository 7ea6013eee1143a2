"""The processes of a bench: the gateway and the clients. They end with it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_S = 60.0
STOP_S = 30.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """A run could not be made, so there is nothing to compare."""


def run_module(module: str, *arguments: object, limit_s: float = 180.0) -> dict[str, Any]:
    """Run ``python -m module`` and read the JSON line that it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"{module}: {done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def quiet_disk() -> None:
    """Wait until what earlier runs wrote is on disk.

    Without it the kernel writes one contender's files back while the next one waits in fsync:
    DuckDB alone was measured at 0.55 s right after a gateway and at 0.15 s otherwise.
    """
    os.sync()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its ended children (proc(5), stat)."""
    # The name, second field, may hold blanks: fields are counted from behind its bracket.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_S


def peak_memory_bytes(pid: int) -> int:
    """The largest resident size so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


@dataclass(frozen=True)
class Gateway:
    """A running server: `headrace serve`, or one that stands in for it."""

    pid: int
    url: str
    port: int
    log: Path


@contextlib.contextmanager
def serving(
    folder: Path,
    arguments: Sequence[str] = (),
    *,
    profile: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Gateway]:
    """A gateway with its data in ``folder``, up for the block and ended by SIGTERM.

    With ``profile`` it runs under `tests.bench.sampled`, which writes what it saw there.
    ``settings`` are environment variables without their prefix: ``{"INGEST__BATCH_AGE_S": 2}``.
    """
    command = [*module_command("gateway", profile), "serve", "--data-dir", str(folder)]
    command += ["--port", "0", "--admin-port", "0", *arguments]
    folder.mkdir(parents=True, exist_ok=True)
    given = {f"HEADRACE__{name}": str(value) for name, value in (settings or {}).items()}
    with up(command, folder / "gateway.log", given) as gateway:
        yield gateway


def module_command(module: str, profile: Path | None = None) -> list[str]:
    """The command that runs a module, under `tests.bench.sampled` where a profile is asked for."""
    sampled = ["tests.bench.sampled", str(profile)] if profile else []
    return [sys.executable, "-m", *sampled, module]


@contextlib.contextmanager
def up(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Gateway]:
    """A server that says "ready at URL" into its ``log``, up for the block, ended by SIGTERM."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=os.environ | (environment or {}))
    try:
        url = wait_ready(process, log)
        yield Gateway(process.pid, url, int(url.rpartition(":")[2]), log)
    finally:
        stop(process)


def wait_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address in the ready line, once it is there."""
    deadline_s = time.monotonic() + READY_S
    while not (ready := re.search(rb" ready at (http://\S+)", log.read_bytes())):
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = log.read_text(errors="replace")[-2000:]
            raise BenchFailed(f"{process.args!r} did not get ready; it said:\n{said}")
        time.sleep(0.05)
    return ready[1].decode()


def stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def in_thread(serve: Any, stop_serving: Any) -> Iterator[None]:
    """A blocking server in a thread for the block."""
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop_serving()
        thread.join()
