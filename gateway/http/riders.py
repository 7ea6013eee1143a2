"""Riders: the stream shells on a lane.

A rider is the lane's sink on one side and the handler's response on the other. What a read brings
goes through the shell in one call; what the shell has ready goes into the lane as far as it takes
it. The handler's coroutine only starts the rider and waits for its end, so a row costs no task
switch and no queue.
"""

import asyncio
from collections.abc import AsyncIterator

from gateway.http.drain import OpenStreams
from gateway.http.inserts import ACKS_PER_TURN, InsertSession
from gateway.http.lanes import Lane
from gateway.http.queries import QuerySession
from protocol.errors import BodyTooLarge, KsqlError, RowRejected

_NOTHING: tuple[bytes, ...] = ()


class InsertRider:
    """An insert stream on a lane. Implements `gateway.http.lanes.LaneSink`."""

    def __init__(self, session: InsertSession, lane: Lane, *, overrun_max_bytes: int) -> None:
        self._session = session
        self._lane = lane
        self._overrun_max_bytes = overrun_max_bytes
        self._arguments: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished = asyncio.Event()
        self._scheduled = False
        session.on_done = lane.done
        session.on_change = self._soon

    async def arguments(self) -> None:
        """Wait for the arguments line. Raises `KsqlError`, ConnectionResetError if it is over."""
        self._lane.attach(self)
        await self._arguments

    async def run(self, open_streams: OpenStreams) -> AsyncIterator[bytes]:
        """The response's body, for the framework: empty, since the lane carries it."""
        with open_streams.opened(self._session):
            try:
                self._soon()
                await self._finished.wait()
            finally:
                self._session.close()
        for nothing in _NOTHING:
            yield nothing

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        try:
            self._session.receive(data)
        except KsqlError as error:
            self._refuse(error)
            return
        self._tell_arguments()
        if self._session.waiting_bytes > self._overrun_max_bytes:
            self._session.stop(
                RowRejected(
                    "The stream sends faster than rows can be stored, past its window: "
                    f"{self._overrun_max_bytes} bytes wait. Send the rows from here on again.",
                    42900,
                )
            )

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        try:
            self._session.receive_end()
        except KsqlError as error:
            self._refuse(error)
            return
        self._tell_arguments()

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._push()

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._refuse(ConnectionResetError("the stream is gone"))
        self._session.close()
        self._finished.set()

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`."""
        return self._session.stream.owes

    def _soon(self) -> None:
        """Push once for all that changes in this turn of the event loop."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        self._scheduled = False
        lane, stream = self._lane, self._session.stream
        while lane.has_room:
            frames = stream.frames_to_send(ACKS_PER_TURN)
            if not frames:
                break
            lane.write(frames)
        if stream.ended and not stream.has_frames:
            self._finished.set()

    def _tell_arguments(self) -> None:
        if self._session.needs_admission and not self._arguments.done():
            self._arguments.set_result(None)

    def _refuse(self, error: Exception) -> None:
        if not self._arguments.done():
            self._arguments.set_exception(error)
            # Nobody may be there to hear it: the handler can have been cancelled.
            self._arguments.exception()


class QueryRider:
    """A query on a lane. Implements `gateway.http.lanes.LaneSink`."""

    def __init__(self, lane: Lane, *, body_limit_bytes: int) -> None:
        self._lane = lane
        self._body_limit_bytes = body_limit_bytes
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._lost = False

    async def body(self) -> bytes:
        """The request's body. Raises `BodyTooLarge`, ConnectionResetError if it is over."""
        self._lane.attach(self)
        return await self._whole

    async def run(self, session: QuerySession) -> AsyncIterator[bytes]:
        """The response's body, for the framework: empty, since the lane carries it."""
        frames = session.frames()
        try:
            async for several in frames:
                self._lane.write(several)
                while not self._lane.has_room and not self._lost:
                    self._room.clear()
                    await self._room.wait()
                if self._lost:
                    break
        finally:
            await frames.aclose()
        for nothing in _NOTHING:
            yield nothing

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._body_bytes += len(data)
        if self._body_bytes > self._body_limit_bytes:
            self._refuse(BodyTooLarge("The request body is larger than http.body_limit_bytes"))
            self._body.clear()
        elif not self._whole.done():
            self._body.append(data)
        self._lane.done(len(data))

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        if not self._whole.done():
            self._whole.set_result(b"".join(self._body))
        self._body.clear()

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._room.set()

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._lost = True
        self._refuse(ConnectionResetError("the stream is gone"))
        self._room.set()

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`."""
        return True

    def _refuse(self, error: Exception) -> None:
        if not self._whole.done():
            self._whole.set_exception(error)
            self._whole.exception()
