"""One request and its answer on a connection: two bounded buffers and the waiting for them.

Owns: the bytes that wait to leave (`outbox`) and those that wait to be taken (`inbox`).
Must never know: sockets and HTTP/2 frames; the connection moves the bytes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.client.errors import ClientError, RequestCancelled

OUTBOX_LIMIT_BYTES = 256 * 1024
"""`Stream.send` waits while more than this waits for the server's windows or the socket."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status and headers of an answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]


class Carrier(Protocol):
    """What a stream needs from its connection."""

    @property
    def leaving(self) -> bool:
        """Whether the server has said that it goes away."""

    def wants_to_send(self, stream: "Stream") -> None:
        """The outbox has something: send it when windows and socket allow."""

    def taken(self, stream_id: int, flow_bytes: int) -> None:
        """So many received bytes were handed over: the server may send as many again."""

    def forget(self, stream: "Stream") -> None:
        """The stream is done with; reset it if either side was still open."""


class Stream:
    """A request under way. Two tasks may use it at once: one sends, one receives."""

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        self.stream_id = stream_id
        self.outbox = bytearray()
        self.ending = False
        """no more bytes will be put into the outbox"""
        self.sent_end = False
        self.received_end = False
        self.failure: ClientError | None = None
        self._carrier = carrier
        self._response: Response | None = None
        self._inbox: list[bytes] = []
        self._inbox_flow_bytes = 0
        self._arrival = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether the server has said that it goes away."""
        return self._carrier.leaving

    # ── the sending side ─────────────────────────────────────────────────────────────────────

    async def send(self, data: bytes) -> None:
        """Put bytes on their way; waits while the outbox is over its limit.

        After the server has ended its answer bytes are dropped silently: what it had to say about
        them is in the answer. Raises the stream's failure.
        """
        self._check()
        if self.received_end:
            return
        self.outbox += data
        self._carrier.wants_to_send(self)
        while len(self.outbox) > OUTBOX_LIMIT_BYTES and not self.received_end:
            self._room.clear()
            await self._room.wait()
            self._check()

    def end(self) -> None:
        """No more bytes will follow."""
        if self.failure is None and not self.ending:
            self.ending = True
            self._carrier.wants_to_send(self)

    # ── the receiving side ───────────────────────────────────────────────────────────────────

    async def response(self) -> Response:
        """Status and headers, when they are there. Raises the stream's failure."""
        while self._response is None:
            self._check()
            await self._next_arrival()
        return self._response

    async def receive(self) -> bytes:
        """All body bytes that are there, at least one; empty at the end of the answer.

        What arrived before a failure is handed out before the failure is raised.
        """
        while not self._inbox:
            if self.received_end:
                return b""
            self._check()
            await self._next_arrival()
        data = b"".join(self._inbox)
        flow_bytes = self._inbox_flow_bytes
        self._inbox.clear()
        self._inbox_flow_bytes = 0
        self._carrier.taken(self.stream_id, flow_bytes)
        return data

    def close(self) -> None:
        """Give the stream up if it is not over, and give back what it holds. May be repeated."""
        if not (self.sent_end and self.received_end):
            self.fail(RequestCancelled("the request was closed before its end"))
        if self._inbox_flow_bytes:
            self._carrier.taken(self.stream_id, self._inbox_flow_bytes)
            self._inbox.clear()
            self._inbox_flow_bytes = 0
        self._carrier.forget(self)

    # ── called by the connection ─────────────────────────────────────────────────────────────

    def arrived_response(self, response: Response) -> None:
        self._response = response
        self._arrival.set()

    def arrived_data(self, data: bytes, flow_bytes: int) -> None:
        """``flow_bytes`` is what the bytes cost the window, padding included."""
        self._inbox.append(data)
        self._inbox_flow_bytes += flow_bytes
        self._arrival.set()

    def arrived_end(self) -> None:
        self.received_end = True
        self.outbox.clear()
        self._arrival.set()
        self._room.set()

    def fail(self, failure: ClientError) -> None:
        """The first failure counts; everybody who waits is woken."""
        if self.failure is None:
            self.failure = failure
        self.outbox.clear()
        self._arrival.set()
        self._room.set()

    def made_room(self) -> None:
        if len(self.outbox) <= OUTBOX_LIMIT_BYTES:
            self._room.set()

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _next_arrival(self) -> None:
        self._arrival.clear()
        await self._arrival.wait()
