"""Riders: the stream shells on a lane.

A rider is the lane's sink on one side and the handler's response on the other. What a read brings
goes through the shell in one call; what the shell has ready goes into the lane as far as it takes
it. The handler's coroutine only starts the rider and waits for its end, so a row costs no task
switch and no queue.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable

from gateway.http.allowance import DEBT_MAX_S
from gateway.http.drain import OpenStreams
from gateway.http.inserts import ACKS_PER_TURN, InsertSession, PeerGone
from gateway.http.lanes import Lane
from gateway.http.queries import QuerySession
from protocol.errors import BodyTooLarge, KsqlError, RowRejected

_NOTHING: tuple[bytes, ...] = ()


class ResponseBroken(Exception):
    """A response stops before its end, on purpose: its stream is reset with INTERNAL_ERROR.

    An error among the rows of a query is only heard so by every client: some look at rows alone,
    and would take those before the error for the whole result.
    """


class InsertRider:
    """An insert stream on a lane. Implements `gateway.http.lanes.LaneSink`."""

    def __init__(self, session: InsertSession, lane: Lane, *, overrun_max_bytes: int) -> None:
        self._session = session
        self._lane = lane
        self._overrun_max_bytes = overrun_max_bytes
        self._arguments: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished = asyncio.Event()
        self._scheduled = False
        self._done_bytes = 0
        self._held_bytes = 0
        session.on_done = self._done
        session.on_change = self._soon

    async def arguments(self) -> None:
        """Wait for the arguments line. Raises `KsqlError`, `PeerGone`."""
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
        self._scheduled = True  # What changes in here is pushed below, without a turn.
        try:
            self._session.receive(data)
        except KsqlError as error:
            self._refuse(error)
            return
        finally:
            self._scheduled = False
        self._push()
        self._tell_arguments()
        if not self._lane.credit.gives:
            self._stop_overrun()

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
        self._refuse(PeerGone("the stream is gone"))
        self._session.close()
        self._finished.set()

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`. One that is held waits for its window."""
        return self._session.stream.owes or self._session.held

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
        lane.keep(self._session.unfinished_bytes)
        self._give_credit()
        if stream.ended and not stream.has_frames:
            self._finished.set()

    def _done(self, wire_bytes: int) -> None:
        """Bytes are done with; their acks, if there are any by now, leave first."""
        self._done_bytes += wire_bytes
        self._soon()

    def _give_credit(self) -> None:
        """Give none while the peer does not take its acks: it would only be owed more.

        What a stream that is held has done with is the connection's at once, and its own later.
        """
        lane = self._lane
        if self._done_bytes and lane.has_room:
            wire_bytes, self._done_bytes = self._done_bytes, 0
            if self._session.held:
                self._held_bytes += wire_bytes
                lane.hold(wire_bytes)
            else:
                lane.done(wire_bytes)
        if self._held_bytes and not self._session.held:
            wire_bytes, self._held_bytes = self._held_bytes, 0
            lane.release(wire_bytes)

    def _stop_overrun(self) -> None:
        """A sender that does not look at its window cannot be held: it is stopped in time."""
        session = self._session
        if session.waiting_bytes > self._overrun_max_bytes:
            why = (
                "The stream sends faster than rows can be stored, past its window: "
                f"{self._overrun_max_bytes} bytes wait. Send the rows from here on again."
            )
        elif session.debt_s > DEBT_MAX_S:
            why = (
                "The stream sends faster than access.limits allows, past its window. Send the "
                f"rows from here on again in {math.ceil(session.debt_s)} s."
            )
        else:
            return
        session.stop(RowRejected(why, 42900))

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
        self._body = bytearray()
        self._body_bytes = 0
        self._whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._lost = False

    async def body(self) -> bytes:
        """The request's body. Raises `BodyTooLarge`, `PeerGone`."""
        self._lane.attach(self)
        return await self._whole

    async def run(self, session: QuerySession) -> AsyncIterator[bytes]:
        """The response's body, for the framework: empty, since the lane carries it.

        Raises `ResponseBroken` once the error line of a query that broke has left.
        """
        frames = session.frames()
        try:
            async for several in frames:
                self._lane.write(several)
                await self._until(lambda: self._lane.has_room)
                if self._lost:
                    break
            if session.broken:
                await self._until(lambda: self._lane.is_empty)
                raise ResponseBroken
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
            self._lane.keep(0)
        elif not self._whole.done():
            self._body += data
            self._lane.keep(self._body_bytes)
        self._lane.done(len(data))

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        if not self._whole.done():
            self._whole.set_result(bytes(self._body))
        self._body.clear()
        self._lane.keep(0)

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._room.set()

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        self._lost = True
        self._refuse(PeerGone("the stream is gone"))
        self._room.set()

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`."""
        return True

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for the peer to take what is written; one that is gone is not waited for."""
        while not holds() and not self._lost:
            self._room.clear()
            await self._room.wait()

    def _refuse(self, error: Exception) -> None:
        if not self._whole.done():
            self._whole.set_exception(error)
            self._whole.exception()
