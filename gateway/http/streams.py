"""One HTTP/2 stream: its lane, its ASGI side, and what must be remembered of both ends.

`BodyPump` is the lane sink of every ordinary request: it carries merged chunks of the body to the
ASGI application in a task of its own, so that an application that does not read stops nothing but
itself. Streams of the two fast routes have no pump: their handler attaches a sink of its own.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from hypercorn.protocol.events import Body, EndBody, Event
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream

from gateway.http.lanes import Lane

LANE_KEY = "headrace.lane"
"""Where a handler finds its lane in the ASGI scope's ``state``."""


@dataclass(slots=True)
class Stream:
    """What the connection knows of one stream."""

    lane: Lane
    asgi: HTTPStream | WSStream
    content_length: int | None
    received_bytes: int = 0
    answered: bool = False
    """the response's headers have left"""
    finished_at: float | None = None
    """when our side was done while the request was still open"""
    pump: "BodyPump | None" = None
    output_moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> int:
        """The stream's number."""
        return self.lane.stream_id


class BodyPump:
    """Carries a request's body to its application; gives credit for what the application took.

    A request's body is read whole before it is answered, so all of it counts as kept; what comes
    over a WebSocket is not.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        if isinstance(self._stream.asgi, HTTPStream):
            self._stream.lane.keep(self._stream.received_bytes)
        self._put(Body(stream_id=self._stream.id, data=data))

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._put(EndBody(stream_id=self._stream.id))

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._stream.output_moved.set()

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._stream.output_moved.set()

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`. An ordinary answer is short; its client waits."""
        return True

    def cancel(self) -> None:
        """The application is gone: nobody takes the body any more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def _put(self, event: Event) -> None:
        self._waiting.append(event)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._carry())

    async def _carry(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while self._waiting:
                event = self._waiting.popleft()
                await self._stream.asgi.handle(event)
                if isinstance(event, Body):
                    self._stream.lane.done(len(event.data))
