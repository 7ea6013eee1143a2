"""A load that arrives while somebody watches: rows over real HTTP/2, until it is told to stop.

Owns: one thread and one connection. It sends a piece of rows and reads its acks for a little while,
over and over, so that a page has something to show and a test has its processor for the browser.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import open_inserts
from tests.streams import Headers

Row = dict[str, Any]
MakeRow = Callable[[int], Row]

STOP_S = 20.0


class Load:
    """Rows into ``target``, ``rows`` in each piece and ``pause_s`` between two."""

    def __init__(
        self,
        gateway: GatewayProcess,
        target: str,
        make: MakeRow,
        *,
        rows: int = 200,
        pause_s: float = 0.05,
        channel: str | None = None,
        ack: str = "committed",
        headers: Headers = (),
    ) -> None:
        self.sent = 0
        self._gateway = gateway
        self._target = target
        self._make = make
        self._rows = rows
        self._pause_s = pause_s
        self._headers = headers
        self._properties = {"ack": ack} | ({"channel": channel} if channel else {})
        self._stop = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        if kind is None and self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            with self._gateway.peer() as peer:
                self._send(peer)
        except BaseException as fault:  # noqa: BLE001 - it is raised where the load is stopped
            self._fault = fault

    def _send(self, peer: Peer) -> None:
        given: dict[str, Any] = self._properties
        stream = open_inserts(peer, self._target, headers=self._headers, **given)
        for first in itertools.count(step=self._rows):
            rows = (self._make(number) for number in range(first, first + self._rows))
            stream.send(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            self.sent = first + self._rows
            # Whoever does not read his acks is held back for it.
            peer.read_for(self._pause_s)
            if self._stop.is_set():
                break
        stream.end()
        stream.read_to_end()


@contextmanager
def loads(*several: Load) -> Iterator[None]:
    """All of them, for the block."""
    for load in several:
        load.__enter__()
    try:
        yield
    finally:
        for load in several:
            load.__exit__(None, None, None)
