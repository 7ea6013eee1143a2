"""The command line as its users have it: a process, with pipes or on a terminal."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 60.0
COLUMNS = 160


@dataclass(frozen=True)
class Ended:
    """A command that has ended. On a terminal ``stdout`` is what the terminal got."""

    status: int
    stdout: str
    stderr: str

    @property
    def fields(self) -> list[list[str]]:
        """The fields of each line."""
        return [line.split("\t") for line in self.stdout.splitlines()]


def headrace(
    *arguments: object,
    stdin: bytes = b"",
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ended:
    """Run it with pipes; ``settings`` are environment variables, no others of ours are there."""
    done = subprocess.run(
        command_line(arguments),
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=folder,
        env=environment(settings),
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def headrace_on_a_terminal(*arguments: object, settings: Mapping[str, str] | None = None) -> Ended:
    """Run it with a terminal for its input and output, `COLUMNS` wide."""
    master, terminal = pty.openpty()
    given = {"COLUMNS": str(COLUMNS), "TERM": "xterm", "NO_COLOR": "1", **(settings or {})}
    with os.fdopen(master, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            command_line(arguments),
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.PIPE,
            env=environment(given),
        )
        os.close(terminal)
        shown = b"".join(iter(lambda: _read(screen.fileno()), b""))
        _, stderr = process.communicate(timeout=DEADLINE_S)
    return Ended(process.returncode, shown.decode().replace("\r\n", "\n"), stderr.decode())


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 1 << 16)
    except OSError:  # Linux's way to say that nobody holds the other side any more
        return b""


def command_line(arguments: Sequence[object]) -> list[str]:
    """What runs it."""
    return [sys.executable, "-m", "gateway", *map(str, arguments)]


def environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """Ours without what is Headrace's, and ``settings``."""
    unset = ("HEADRACE_", "EDITOR", "VISUAL", "COLUMNS")
    ours = {name: text for name, text in os.environ.items() if not name.startswith(unset)}
    root = str(Path(__file__).parents[1])
    return {**ours, "PYTHONPATH": root, **(settings or {})}
