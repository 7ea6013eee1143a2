"""One picture a second for whoever looks: made once, given to all, and only while somebody does.

Server-sent events (WHATWG HTML §9.2): ``picture`` with the document, a comment as a heartbeat while
no picture comes, ``end`` when the gateway stops. Browsers come back by themselves.

Laws:
1. A viewer holds no queue: whoever reads slowly gets the newest picture next.
2. There are at most so many viewers, and one that reads nothing for so long is none any more.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass

import orjson
import structlog

from gateway.console.picture import Document
from gateway.console.tasks import TaskBoard
from protocol.errors import KsqlError, ShuttingDown

_log = structlog.get_logger("headrace.console")


class TooManyViewers(KsqlError):
    """As many look already as may."""

    code = 50300


class NoPicture(KsqlError):
    """None could be made in time: a disk, or the event loop, hangs."""

    code = 50300


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerLimits:
    """``take_s``: how long making a picture may last."""

    viewers_max: int = 32
    every_s: float = 1.0
    heartbeat_s: float = 5.0
    stuck_s: float = 60.0
    take_s: float = 5.0


@dataclass(slots=True)
class Viewer:
    """Somebody who looks. ``heard_at``: when he last took something, by the event loop's clock."""

    heard_at: float
    task: "asyncio.Task[object] | None" = None


class Viewers:
    """Everybody who looks now."""

    def __init__(
        self,
        take: Callable[[], Awaitable[Document]],
        tasks: TaskBoard,
        limits: ViewerLimits | None = None,
    ) -> None:
        self._take = take
        self._tasks = tasks
        self._limits = limits or ViewerLimits()
        self._viewers: dict[int, Viewer] = {}
        self._newest = b""
        self._number = 0
        """of the newest picture; it grows by one with each"""
        self._changed = asyncio.Event()
        self._making: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._viewers)

    # ── coming and going ──

    def enter(self) -> Viewer:
        """Somebody begins to look. Raises `TooManyViewers`, `ShuttingDown`."""
        if self._closed:
            raise ShuttingDown
        if len(self._viewers) >= self._limits.viewers_max:
            raise TooManyViewers(
                f"{len(self._viewers)} look at this gateway already, and no more may at once. "
                "Close a page or a `headrace top`, or ask GET /metrics"
            )
        viewer = Viewer(self._now())
        self._viewers[id(viewer)] = viewer
        if self._making is None or self._making.done():
            # In a context of its own: its lines of the log are not those of who looked first.
            self._making = asyncio.create_task(self._make(), context=Context())
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """He looks no more. May be called again."""
        self._viewers.pop(id(viewer), None)

    async def close(self) -> None:
        """The gateway stops: everybody is told, and nobody comes any more."""
        self._closed = True
        self._tell()
        if self._making is not None:
            self._making.cancel()
            with suppress(asyncio.CancelledError):
                await self._making

    # ── what they see ──

    async def one(self) -> bytes:
        """The newest picture, JSON. Raises as `enter`, and `NoPicture`."""
        viewer = self.enter()
        try:
            async with asyncio.timeout(self._limits.take_s):
                while not self._newest:
                    if self._closed:
                        raise ShuttingDown
                    await self._changed.wait()
            return self._newest
        except TimeoutError:
            raise NoPicture("No picture could be made in time: see the gateway's log") from None
        finally:
            self.leave(viewer)

    async def events(self, viewer: Viewer) -> AsyncGenerator[bytes, None]:
        """The event stream of one viewer, to the end of the gateway."""
        viewer.task = asyncio.current_task()
        seen = 0
        yield b"retry: 1000\n\n"
        while not self._closed:
            viewer.heard_at = self._now()
            if not self._newest or self._number == seen:
                if not await self._changes():
                    yield b": nothing new\n\n"
                continue
            seen = self._number
            yield b"event: picture\ndata: %b\n\n" % self._newest
        yield b"event: end\ndata: {}\n\n"

    async def _changes(self) -> bool:
        """Wait for the next picture, or for the end; False: a heartbeat is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.heartbeat_s):
                await self._changed.wait()
                return True
        return False

    # ── making it ──

    async def _make(self) -> None:
        following = asyncio.create_task(self._tasks.follow())
        try:
            await self._catch_up()
            while self._viewers:
                began = self._now()
                await self._make_one()
                await asyncio.sleep(max(0.0, began + self._limits.every_s - self._now()))
                self._end_stuck()
        finally:
            following.cancel()
            # What is shown to the next who looks must be new.
            self._newest = b""

    async def _make_one(self) -> None:
        try:
            async with asyncio.timeout(self._limits.take_s):
                picture = orjson.dumps(await self._take())
        except Exception as fault:  # noqa: BLE001 - the next one may come out well
            _log.error("no picture could be made", exc_info=fault)
            return
        self._newest = picture
        self._number += 1
        self._tell()

    async def _catch_up(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.every_s):
                await self._tasks.caught_up.wait()

    def _end_stuck(self) -> None:
        """One who reads nothing keeps others out."""
        for viewer in list(self._viewers.values()):
            if self._now() - viewer.heard_at > self._limits.stuck_s:
                self.leave(viewer)
                if viewer.task is not None:
                    viewer.task.cancel()

    def _tell(self) -> None:
        """Everybody who waits now wakes; who comes later waits for the next event."""
        self._changed.set()
        self._changed = asyncio.Event()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
