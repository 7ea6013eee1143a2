"""`headrace top` as its users have it: on a terminal, through a pipe, as JSON; a real gateway."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import headrace
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import declare, insert, json_lines, numbered, open_inserts

DEADLINE_S = 30.0
ROOT = Path(__file__).parents[2]


@dataclass
class Watching:
    """A `headrace top` on a terminal of its own."""

    process: "subprocess.Popen[bytes]"
    terminal: int
    shown: str = ""

    def until(self, holds: Callable[[str], object], what: str) -> None:
        """Read the terminal until it holds of all that was shown."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds(self.shown):
            assert time.monotonic() < deadline, f"waited for {what}: {self.shown[-3000:]}"
            ready, _, _ = select.select([self.terminal], [], [], 0.1)
            if ready:
                self.shown += os.read(self.terminal, 1 << 16).decode(errors="replace")

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.terminal, keys.encode())

    def resize(self, width: int, height: int) -> None:
        """As a window manager does it."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def end(self) -> int:
        """Wait for its end, reading what it still says; its exit status."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            ready, _, _ = select.select([self.terminal], [], [], 0.1)
            with contextlib.suppress(OSError):
                if ready:
                    self.shown += os.read(self.terminal, 1 << 16).decode(errors="replace")
        return self.process.returncode


@contextlib.contextmanager
def watching(url: str, width: int = 80, height: int = 24) -> Iterator[Watching]:
    """It, on a terminal of this size."""
    ours, theirs = pty.openpty()
    given = {name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")}
    for name in ("COLUMNS", "LINES"):
        given.pop(name, None)
    given |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "top", "--admin", url],
        stdin=theirs, stdout=theirs, stderr=theirs, env=given, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Watching(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def loaded(gateway: GatewayProcess, peer: Peer) -> Iterator[str]:
    """A stream with rows in it and an insert stream open; its name."""
    name = declare(peer)
    insert(peer, name, json_lines(numbered(0, 300)))
    stream = open_inserts(peer, name, channel="edge-7")
    yield name
    stream.end()
    stream.read_to_end()


def test_a_terminal_shows_the_gateway_and_q_quits(gateway: GatewayProcess, loaded: str) -> None:
    with watching(gateway.admin_url) as top:
        top.until(lambda shown: "Insert streams" in shown and loaded in shown, "the streams")
        top.until(lambda shown: "edge-7" in shown and "spool" in shown, "the rest")
        pictures = len(re.findall("q quits", top.shown))
        top.until(lambda shown: len(re.findall("q quits", shown)) > pictures, "the next picture")
        top.press("q")
        assert top.end() == 0
        assert "\x1b[?1049l" in top.shown, "the terminal was given back"


def test_a_terminal_that_changes_its_size_is_filled_anew(
    gateway: GatewayProcess, loaded: str
) -> None:
    with watching(gateway.admin_url, 80, 24) as top:
        top.until(lambda shown: "q quits" in shown, "the first picture")
        top.shown = ""
        top.resize(150, 40)
        os.killpg(top.process.pid, 28)  # a terminal that is nobody's own sends no SIGWINCH
        wide = re.compile(r"\d\d:\d\d:\d\d")
        top.until(
            lambda shown: any(len(_plain(line)) == 150 for line in shown.splitlines()
                              if wide.search(line)),
            "a line of the new width",
        )  # fmt: skip
        top.press("q")
        assert top.end() == 0


def test_it_says_that_the_gateway_is_gone_and_comes_back_with_it(tmp_path: Path) -> None:
    with gateway_process(tmp_path / "data") as first:
        port = first.admin_url.rpartition(":")[2]
        with watching(first.admin_url) as top:
            top.until(lambda shown: "RUNNING" in shown, "the first picture")
            assert first.stop() == 0
            top.until(lambda shown: "DISCONNECTED since" in shown, "the end of the gateway")
            top.shown = ""
            first.settings["ADMIN__PORT"] = port
            first.start()
            top.until(lambda shown: "RUNNING" in shown, "its return")
            top.press("q")
            assert top.end() == 0


def test_without_a_terminal_one_picture_is_printed_as_text(
    gateway: GatewayProcess, loaded: str
) -> None:
    ended = headrace("top", "--admin", gateway.admin_url)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Headrace RUNNING")
    assert "\x1b" not in ended.stdout
    assert loaded in ended.stdout


def test_json_is_one_picture_or_a_line_for_each(gateway: GatewayProcess, loaded: str) -> None:
    once = headrace("top", "--json", "--once", "--admin", gateway.admin_url)
    assert [json.loads(line)["state"] for line in once.stdout.splitlines()] == ["RUNNING"]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "top", "--json", "--admin", gateway.admin_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=given) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["atMs"] for _ in range(3)]
        process.terminate()
    assert times == sorted(set(times))


def test_where_no_gateway_answers_it_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    ended = headrace("top", "--admin", "http://127.0.0.1:1")
    assert ended.status == 69
    assert "headrace serve" in ended.stderr


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip("\r\n")
