"""The gateway that is killed: `headrace serve` on one port and one folder, life after life.

Owns: the process, its log, and that nothing of it stays behind. Law: between `start` and `kill` it
may not end by itself; `check` says so if it did.
"""

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
PORTS = range(20000, 32000)
"""Below the kernel's range for outgoing connections: none of those takes the port in between."""
READY_S = 60.0
STOP_S = 30.0
POLL_S = 0.01

_READY = re.compile(rb"headrace ready at ")
_COMPLAINT = re.compile(r'Traceback|"level":"critical"|never retrieved|was destroyed')


class EndedByItself(AssertionError):
    """The gateway ended without being killed; the text holds the end of its log."""


class Victim:
    """A gateway whose address never changes. ``settings`` as for `tests.gateways`."""

    def __init__(
        self,
        folder: Path,
        *,
        warehouse: str,
        arguments: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.address = (HOST, free_port())
        self.lives = 0
        """how often it was started"""
        self.log = folder.with_name(folder.name + ".log")
        self._command = [sys.executable, "-m", "gateway", "serve", "--data-dir", str(folder)]
        self._command += ["--port", str(self.address[1]), "--warehouse", warehouse, *arguments]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")}
        wanted = {"ADMIN__PORT": 0, **(settings or {})}
        given = {f"HEADRACE__{name}": str(value) for name, value in wanted.items()}
        self._environment = kept | given
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def spool(self) -> Path:
        """Its spool, to be read only."""
        return self.folder / "spool.db"

    def start(self) -> None:
        """Start it and wait for nothing."""
        assert self._process is None, "it runs"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stderr=stderr, env=self._environment
            )
        self.lives += 1

    async def ready(self, within_s: float = READY_S) -> None:
        """Wait until it says that it serves. Raises `EndedByItself`, TimeoutError."""
        async with asyncio.timeout(within_s):
            while not _READY.search(self._said()):
                self.check()
                await asyncio.sleep(POLL_S)

    def check(self) -> None:
        """Raises `EndedByItself` if it did."""
        if self._process is not None and self._process.poll() is not None:
            said = self._said()[-3000:].decode(errors="replace")
            raise EndedByItself(f"exit status {self._process.returncode}; it said:\n{said}")

    def kill(self) -> float:
        """SIGKILL, and wait until it is gone; when that was (monotonic clock)."""
        self.check()
        assert self._process is not None, "it does not run"
        killed_s = time.monotonic()
        self._process.kill()
        self._process.wait()
        self._process = None
        return killed_s

    def end(self) -> int | None:
        """SIGTERM, then SIGKILL if need be; its exit status, None if it did not run."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def complaints(self) -> list[str]:
        """Lines of all its lives that tell of a fault of its own."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if _COMPLAINT.search(line)]

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
