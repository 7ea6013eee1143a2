"""A front door in this process: any Quart app behind our HTTP/2 connection, on a real socket.

For what a whole gateway cannot be made to do: an application that fails in the middle of its
response, a handler that never attaches to its lane, tasks that can be counted. The server runs on
an event loop of its own in a thread; what it complains of is kept in `Door.faults`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from quart import Quart

from gateway.http.h2core import H2Options
from gateway.http.server import FrontDoor, listen, serve
from gateway.http.tls import ServerTls
from tests.peers import Peer

START_S = 10.0

Found = TypeVar("Found")


class Door:
    """A server that runs. Use `opened_door`."""

    def __init__(self, app: Quart, options: H2Options | None, tls: ServerTls | None = None) -> None:
        self.faults: list[str] = []
        """what the event loop's exception handler was told"""
        self._app = app
        self._tls = tls
        self._listener = listen("127.0.0.1", 0)
        self._front = FrontDoor(options)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def peer(self, **options: Any) -> Peer:
        """A connection to it; ``options`` as for `tests.peers.Peer`."""
        return Peer(self.address, **options)

    def tasks(self) -> int:
        """How many tasks the server has now, this question's own not counted."""

        async def counted() -> int:
            return len(asyncio.all_tasks()) - 1

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(counted(), self._loop).result(START_S)

    def call(self, work: Callable[[], Found]) -> Found:
        """Do something on the server's event loop, and wait for it."""

        async def called() -> Found:
            return work()

        return self.run(called())

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Run a coroutine on the server's event loop, and wait for its end."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def start(self) -> None:
        """Serve."""
        self._thread.start()
        assert self._ready.wait(START_S)

    def stop(self) -> None:
        """Drain and end."""
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)
        self._listener.close()
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self._stop = stop = asyncio.Event()

        async def stopping() -> None:
            self._ready.set()
            await stop.wait()
            await self._front.drain(1.0)

        with self._front.installed():
            await serve(self._app, self._listener, streams_max=1000, stop=stopping, tls=self._tls)


@contextlib.contextmanager
def opened_door(
    app: Quart, *, tls: ServerTls | None = None, lanes: bool = True, **limits: Any
) -> Iterator[Door]:
    """A front door that is up for the block and had no fault in it; ``limits`` of `H2Options`.

    Without ``lanes`` its HTTP/2 connection is Hypercorn's.
    """
    door = Door(app, H2Options(**limits) if lanes else None, tls)
    door.start()
    try:
        yield door
    finally:
        door.stop()
    assert door.faults == []
