"""What systemd hears, on a real datagram socket of its kind."""

import asyncio
import contextlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.process.notify import ServiceManager


@contextlib.contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.settimeout(10.0)
        yield made


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and the socket behind it."""
    if request.param == "path":
        name = str(tmp_path / "notify")
        with listening(name) as made:
            yield name, made
    else:
        name = f"headrace-{secrets.token_hex(8)}"
        with listening(f"\0{name}") as made:
            yield f"@{name}", made


def test_it_hears_of_ready_reloading_and_stopping(heard: tuple[str, socket.socket]) -> None:
    name, made = heard
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.ready("ready at\nsomewhere")
    assert made.recv(4096) == b"READY=1\nSTATUS=ready at somewhere"
    manager.reloading()
    manager.reloading()
    reloads = [made.recv(4096).decode() for _ in range(2)]
    times = [re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", text) for text in reloads]
    assert times[0]
    assert times[1]
    assert 0 < int(times[0][1]) <= int(times[1][1])
    manager.stopping()
    assert made.recv(4096).startswith(b"STOPPING=1\n")


async def test_the_watchdog_hears_of_a_loop_that_turns_and_not_of_one_that_hangs(
    heard: tuple[str, socket.socket],
) -> None:
    name, made = heard
    made.setblocking(False)
    mine = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    loop = asyncio.get_running_loop()
    alive = asyncio.create_task(ServiceManager({"NOTIFY_SOCKET": name, **mine}).keep_alive())
    for _ in range(3):
        assert await asyncio.wait_for(loop.sock_recv(made, 4096), 10.0) == b"WATCHDOG=1"
    with contextlib.suppress(BlockingIOError):
        while made.recv(4096):  # what was said before
            pass
    end = loop.time() + 0.2
    while loop.time() < end:  # ten times as long as it may: nobody speaks for the loop meanwhile
        with pytest.raises(BlockingIOError):
            made.recv(4096)
    assert await asyncio.wait_for(loop.sock_recv(made, 4096), 10.0) == b"WATCHDOG=1"
    alive.cancel()


@pytest.mark.parametrize(
    "environment",
    [
        {"NOTIFY_SOCKET": "/none"},
        {"WATCHDOG_USEC": "20000"},
        {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "0"},
    ],
)
async def test_a_watchdog_that_nobody_set_or_for_another_process_hears_nothing(
    environment: dict[str, str],
) -> None:
    await asyncio.wait_for(ServiceManager(environment).keep_alive(), 10.0)


@pytest.mark.parametrize("name", ["", "relative", "/none/at/all"])
def test_a_manager_that_is_not_there_holds_nothing_up(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ServiceManager({"NOTIFY_SOCKET": name}).ready("ready")
    said = capsys.readouterr()
    assert ("cannot be told" in said.out + said.err) == name.startswith("/")


def test_a_manager_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with listening(name) as made:
        manager = ServiceManager({"NOTIFY_SOCKET": name})
        for number in range(10_000):  # more than any queue of a socket holds
            manager.ready(str(number))
        assert made.recv(4096) == b"READY=1\nSTATUS=0"
