"""A command on a pseudo-terminal that a test types at: what is shown is read until it is there."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.commands import command_line, environment

ROWS, COLUMNS = 40, 160
DEADLINE_S = 15.0
INTERRUPT, END_OF_FILE, TAB, UP = b"\x03", b"\x04", b"\t", b"\x1b[A"

_WHERE, _HERE = b"\x1b[6n", b"\x1b[1;1R"
"""a program that asks where the cursor is, and a terminal that says so"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|[\r\x08]")


class Terminal:
    """Use `on_a_terminal`. ``shown`` is all that was shown so far, control sequences left out."""

    def __init__(self, arguments: Sequence[object], settings: Mapping[str, str], stdin: int | None):
        self._screen, terminal = pty.openpty()
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        given = {"COLUMNS": str(COLUMNS), "TERM": "xterm", "NO_COLOR": "1", **settings}
        self._raw = b""
        self.process = subprocess.Popen(
            command_line(arguments),
            stdin=terminal if stdin is None else stdin,
            stdout=terminal,
            stderr=terminal,
            env=environment(given),
            start_new_session=True,
            # ^C reaches only the processes that have the terminal for their own.
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)

    @property
    def shown(self) -> str:
        return _CONTROL.sub("", self._raw.decode(errors="replace"))

    def type(self, keys: bytes) -> None:
        """Press them."""
        os.write(self._screen, keys)

    def expect(self, pattern: str, *, after: int = 0) -> int:
        """Read until what is shown from ``after`` on matches; where the match ends."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.compile(pattern).search(self.shown, after)):
            assert time.monotonic() < deadline, f"{pattern!r} is not shown in {self.shown!r}"
            assert self._read(0.1), f"{pattern!r} was not shown before the end: {self.shown!r}"
        return found.end()

    def shows(self, text: str, *, after: int = 0) -> bool:
        """Whether it is shown by now, or in a moment."""
        self._read(0.2)
        return text in self.shown[after:]

    def wait(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(0.1):
            assert time.monotonic() < deadline, f"it does not end; shown: {self.shown!r}"
        return self.process.wait(DEADLINE_S)

    def _read(self, within_s: float) -> bool:
        """False at the end."""
        if not select.select([self._screen], [], [], within_s)[0]:
            return True
        try:
            piece = os.read(self._screen, 1 << 16)
        except OSError:  # Linux's way to say that nobody holds the other side any more
            return False
        if _WHERE in piece:
            self.type(_HERE)
        self._raw += piece
        return bool(piece)

    def close(self) -> None:
        """Whatever happened, nothing stays behind."""
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@contextlib.contextmanager
def on_a_terminal(
    *arguments: object, settings: Mapping[str, str] | None = None, stdin: int | None = None
) -> Iterator[Terminal]:
    """The command with a terminal of its own; ``stdin``: a file that it reads in its place."""
    terminal = Terminal(arguments, settings or {}, stdin)
    try:
        yield terminal
    finally:
        terminal.close()
