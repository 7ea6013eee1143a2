"""What systemd is told (sd_notify(3)): ready, reloading, stopping, and alive.

A datagram each on the socket that ``NOTIFY_SOCKET`` names; without one, nothing. A service manager
that does not listen never holds the gateway up.

Law: WATCHDOG=1 is sent from the event loop itself, at half of its time: a loop that hangs is told
of by silence.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping

import structlog

_log = structlog.get_logger("headrace")


class ServiceManager:
    """Who started the gateway, if it wants to be told."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog_s = _watchdog_s(environment)

    def ready(self, status: str) -> None:
        """All is open, or a reload is over."""
        self._tell(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        # CLOCK_MONOTONIC, by which systemd tells this reload from an earlier one.
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """A drain has begun."""
        self._tell("STOPPING=1\nSTATUS=draining")

    async def keep_alive(self) -> None:
        """Tell that the event loop lives, until cancelled; returns at once if nobody wants it."""
        if self._watchdog_s is None or self._address is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _tell(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("the service manager cannot be told", error=str(error))


def _address(text: str) -> str | None:
    """A path, or a name in the abstract namespace of Linux, which is written with an ``@``."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """The time it wants to hear within; None: it does not, or it means another process."""
    pid = environment.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) > 0 else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
