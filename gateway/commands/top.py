"""``headrace top``: the gateway's live page, for a terminal.

Pictures come from ``/events`` in a thread of their own, which comes back by itself when the gateway
does; only the newest counts. The main thread draws, and listens to the keyboard.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import orjson
from cyclopts import Parameter

from gateway.commands.failures import CommandFailed, Refused
from gateway.commands.options import DEFAULT_REACH, Reach
from gateway.commands.output import print_json
from gateway.commands.port import AdminPort, Document
from gateway.commands.screen import report, screen

AGAIN_S = 1.0
TEXT_WIDTH = 120
QUIT = frozenset("qQ\x03\x04")


def top(
    *,
    once: Annotated[
        bool, Parameter(help="print one picture, then end", negative="", show_default=False)
    ] = False,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """Watch a gateway: rates, latency, spool, streams, batches, queries, dead letters.

    q ends it. With --json, pictures are printed as JSON lines, one a second. Without a terminal,
    one picture is printed as text.
    """
    port = reach.port
    if reach.json and not once:
        for picture in _pictures(port):
            print_json(picture)
            sys.stdout.buffer.flush()
        return 0
    first = port.ask("GET", "/picture")
    if reach.json:
        print_json(first)
    elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
        print("\n".join(report(first, TEXT_WIDTH)))
    else:
        return _watch(port, first)
    return 0


def _pictures(port: AdminPort) -> Iterator[Document]:
    """Pictures until the gateway ends its stream."""
    for name, data in port.events("/events"):
        if name == "picture":
            yield orjson.loads(data)


# ── watching ─────────────────────────────────────────────────────────────────────────────────


class Feed:
    """The newest picture and the one before it, from a thread that never gives up."""

    def __init__(self, port: AdminPort, first: Document) -> None:
        self.picture = first
        self.before: Document | None = None
        self.lost: str | None = None
        """since when nothing has come"""
        self.refused: Refused | None = None
        """the gateway does not let us look any more"""
        self._port = port
        self._wake_end, self._tell_end = os.pipe()
        os.set_blocking(self._tell_end, False)

    @property
    def changes(self) -> int:
        """A descriptor that can be read from once something has changed."""
        return self._wake_end

    def start(self) -> None:
        """Begin to read; the thread ends with the process."""
        threading.Thread(target=self._run, daemon=True).start()

    def tell(self, *_: object) -> None:
        """Something has changed. Also the handler of a signal."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._tell_end, b"!")

    def heard(self) -> None:
        """Forget what was told."""
        os.read(self._wake_end, 4096)

    def _run(self) -> None:
        while self.refused is None:
            try:
                for picture in _pictures(self._port):
                    self.before, self.picture = self.picture, picture
                    self.lost = None
                    self.tell()
            except Refused as refused:
                self.refused = refused
            except CommandFailed:
                pass
            self.lost = self.lost or time.strftime("%H:%M:%S")
            self.tell()
            time.sleep(AGAIN_S)


def _watch(port: AdminPort, first: Document) -> int:
    """Draw until somebody wants to quit."""
    # Only who watches pays for loading them.
    from rich.console import Console, Group
    from rich.live import Live

    feed = Feed(port, first)
    console = Console()

    def drawn() -> Group:
        width, height = console.size
        return Group(*screen(feed.picture, feed.before, width, height, feed.lost))

    signal.signal(signal.SIGWINCH, feed.tell)
    with (
        _keys() as keyboard,
        Live(drawn(), console=console, screen=True, auto_refresh=False) as live,
    ):
        feed.start()
        while feed.refused is None:
            ready, _, _ = select.select([keyboard, feed.changes], [], [])
            if keyboard in ready and _quits(keyboard):
                return 0
            if feed.changes in ready:
                feed.heard()
            live.update(drawn(), refresh=True)
    raise feed.refused


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """The keyboard, key by key and without an echo; it is given back as it was."""
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _quits(keyboard: int) -> bool:
    """Whether what was typed, or the end of the terminal, ends it."""
    typed = os.read(keyboard, 64)
    return not typed or any(chr(key) in QUIT for key in typed)
