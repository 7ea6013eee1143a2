"""Gateways for tests: `headrace serve` as a process of its own, on a free port and its own folder.

A gateway can be stopped as an operator stops it, killed as a crash kills it, and started again on
what it left. What it said is kept; `complaints` finds what no test should leave behind.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.peers import Peer

READY_S = 60.0
STOP_S = 30.0
POLL_S = 0.02

_READY = re.compile(
    rb"headrace ready at https?://([\d.]+):(\d+) \(data folder (.+), warehouse (\w+)\)"
    rb"(?:, admin port at (https?://\S+))?\n"
)
_COMPLAINT = re.compile(
    r'Traceback|"level":"(?:error|critical)"|Error:|never retrieved|was destroyed'
)


class NotReady(AssertionError):
    """The gateway ended, or did not get ready in time; the text holds what it said."""


class GatewayProcess:
    """A `headrace serve` and its data folder. Use `gateway_process`.

    ``settings`` are environment variables without their prefix: ``{"INGEST__BATCH_AGE_S": "60"}``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        warehouse: str = "embedded",
        arguments: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.address = ("127.0.0.1", 0)
        self.admin_url = ""
        """where the admin port answers; empty if it is off"""
        self.settings = {"ADMIN__PORT": 0, **(settings or {})}
        self._command = [sys.executable, "-m", "gateway", "serve", "--data-dir", str(folder)]
        self._command += ["--port", "0", "--warehouse", warehouse, *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder.with_name(folder.name + ".log")
        self._log_start = 0

    # ── its life ──

    def start(self) -> None:
        """Start it and wait for its ready line; the port is a new one each time."""
        assert self._process is None, "it runs"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        ours = {name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")}
        given = {f"HEADRACE__{name}": str(value) for name, value in self.settings.items()}
        with self._log.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stderr=stderr, env=ours | given
            )
        self._await_ready()

    def keep_port(self) -> None:
        """From now on it starts at the port that it has."""
        self._command[self._command.index("--port") + 1] = str(self.address[1])

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM) and do not wait."""
        self._running.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = STOP_S) -> int:
        """Wait until it has ended; its exit status."""
        status = self._running.wait(within_s)
        self._process = None
        return status

    def stop(self) -> int:
        """SIGTERM and wait; its exit status."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash does."""
        self._running.kill()
        self.wait()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    # ── what it says of itself ──

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def rss_bytes(self) -> int:
        """Resident memory now (proc(5), status)."""
        return self._memory("VmRSS")

    @property
    def peak_rss_bytes(self) -> int:
        """The most resident memory so far."""
        return self._memory("VmHWM")

    @property
    def said(self) -> str:
        """Its standard error since the last start."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    @property
    def complaints(self) -> list[str]:
        """Lines of a log that tells of a fault of the gateway's own."""
        return [line for line in self.said.splitlines() if _COMPLAINT.search(line)]

    def peer(self, **options: Any) -> Peer:
        """A connection to it; ``options`` as for `tests.peers.Peer`."""
        return Peer(self.address, **options)

    # ── inside ──

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not (ready := _READY.search(self.said.encode())):
            if not self.runs or time.monotonic() > deadline:
                said = self.said[-3000:]
                self._end()
                raise NotReady(f"headrace serve did not get ready; it said:\n{said}")
            time.sleep(POLL_S)
        self.address = (ready[1].decode(), int(ready[2]))
        self.admin_url = (ready[5] or b"").decode()

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, "the process has ended"
        return int(found[1]) * 1024

    def _end(self) -> None:
        """Whatever happened, nothing stays behind."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def gateway_process(folder: Path, **options: Any) -> Iterator[GatewayProcess]:
    """A gateway that is ready, up for the block; ``options`` as for `GatewayProcess`."""
    made = GatewayProcess(folder, **options)
    made.start()
    try:
        yield made
    finally:
        made._end()
