"""One child process that outlives the program which started it.

Owns: the pid file, and every signal that is sent. Laws:

* a signal goes only to the process that was started: the pid file also holds the start time (field
  22 of /proc/<pid>/stat), and a pid file descriptor is opened before that time is compared, so a
  pid that was given to a stranger meanwhile is never hit;
* each process leads a session of its own: a ctrl-C at the terminal does not reach it;
* dead means that the last thread is gone, and with it every port and lock: the kernel says so by
  that descriptor. A zombie counts as dead, whoever has yet to collect it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL = 0.05


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def born(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine's boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name and may hold spaces: count from behind it.
    return int(stat.rpartition(")")[2].split()[19])


@dataclass
class Process:
    pid: int
    born: int
    child: subprocess.Popen[bytes] | None = None

    @classmethod
    def spawn(cls, command: Sequence[str], *, folder: Path, log: Path, pid_file: Path) -> Process:
        with log.open("ab") as out:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        start = born(child.pid)
        assert start is not None, "even a dead child keeps its entry until it is collected"
        pid_file.write_text(json.dumps({"pid": child.pid, "born": start}))
        return cls(child.pid, start, child)

    @classmethod
    def load(cls, pid_file: Path) -> Process | None:
        try:
            noted = json.loads(pid_file.read_text())
        except FileNotFoundError:
            return None
        return cls(noted["pid"], noted["born"])

    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        with self._handle() as handle:
            return handle is not None

    def signal(self, number: signal.Signals) -> None:
        with self._handle() as handle:
            if handle is not None:
                # It may still end by itself between the look and the signal.
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)

    @contextlib.contextmanager
    def _handle(self) -> Iterator[int | None]:
        """A descriptor of this very process, or None if it is dead."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            # Readable is how the kernel says that the process has ended.
            watch = select.poll()
            watch.register(handle, select.POLLIN)
            yield None if watch.poll(0) or born(self.pid) != self.born else handle
        finally:
            os.close(handle)

    def gone_within(self, seconds: float) -> bool:
        limit = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > limit:
                return False
            time.sleep(POLL)
        return True

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if not self.gone_within(10):
            raise TimeoutError(f"process {self.pid} survives SIGKILL")

    def stop(self, grace: float) -> None:
        self.signal(signal.SIGTERM)
        if not self.gone_within(grace):
            self.kill()
