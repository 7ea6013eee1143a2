"""A real client in a process of its own, driven by one JSON line a call.

Owns the pipe to a driver (`tests.clients.drivers`): a call goes out, its outcome comes back, within
a deadline. Never knows what a call means.
"""

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.clients.installed import HERE, ROOT

CALL_S = 30.0
STARTED = "driver ready"


class Silent(AssertionError):
    """The client gave no answer in time, or its process ended."""


class Raised(Exception):
    """What the client raised: its type's name and its text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")


class Driven:
    """A driver's process. `call` runs one of the functions that the driver serves."""

    def __init__(
        self, command: Sequence[str], url: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        self._process = subprocess.Popen(
            [*command, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=ROOT,
            env=os.environ | (environment or {}),
        )
        self._read = b""
        try:
            assert self._line(CALL_S) == json.dumps(STARTED)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(self, name: str, *args: Any, within_s: float = CALL_S) -> Any:
        """The value that the client gave. Raises `Raised`, `Silent`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, args]).encode() + b"\n")
        self._process.stdin.flush()
        outcome = json.loads(self._line(within_s))
        if "raised" in outcome:
            raise Raised(*outcome["raised"])
        return outcome["value"]

    def stop(self) -> None:
        """End the process; closing its input is enough for one in good order."""
        with self._said, self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()

    def _line(self, within_s: float) -> str:
        """The next line of its output."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Silent(f"no answer within {within_s} s")
                more = os.read(self._process.stdout.fileno(), 1 << 16)
                if not more:
                    raise Silent(f"the client's process ended: {self._complaint()}")
                self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def _complaint(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-2000:]


def driven_python(python: Path, driver: str, url: str) -> Driven:
    """A driver of `tests.clients.drivers` under this interpreter."""
    return Driven([str(python), "-W", "ignore", "-m", f"tests.clients.drivers.{driver}"], url)


def driven_node(modules: Path, script: str, url: str) -> Driven:
    """A driver of ``tests/clients/npm`` with these modules."""
    return Driven(["node", str(HERE / "npm" / script)], url, {"NODE_PATH": str(modules)})
