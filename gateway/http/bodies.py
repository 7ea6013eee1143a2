"""Request bodies past the lanes: bounded while they wait, and read whole where they must be.

The framework would take in whatever comes, as fast as it comes, into memory. The gate stands
before it and lets no more in than has been taken out again, so that HTTP/1.1 has back-pressure
down to the socket as the lanes have it for HTTP/2.

What a request has opened is closed with it, however it ends: `closing` keeps what is to be closed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent
from quart import request

from protocol.errors import BodyTooLarge

EXCHANGE_KEY = "headrace.exchange"
"""Where a handler finds its `Exchange` in the ASGI scope's ``state``."""


class BodyGate:
    """Lets the messages of one request in while less than ``limit_bytes`` of its body wait."""

    def __init__(self, receive: ASGIReceiveCallable, limit_bytes: int) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._waiting_bytes = 0
        self._taken = asyncio.Event()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message, once there is room for it."""
        while self._waiting_bytes >= self._limit_bytes:
            self._taken.clear()
            await self._taken.wait()
        message = await self._receive()
        if message["type"] == "http.request":
            self._waiting_bytes += len(message.get("body", b""))
        return message

    def taken(self, size_bytes: int) -> None:
        """So many bytes of the body are done with."""
        self._waiting_bytes -= size_bytes
        self._taken.set()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What belongs to one request: its gate, and what is closed when it is over."""

    gate: BodyGate
    closing: AsyncExitStack


def exchange() -> Exchange:
    """The current request's."""
    state: dict[str, Any] = request.scope["state"]
    found = state[EXCHANGE_KEY]
    assert isinstance(found, Exchange)
    return found


def close_at_end(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call ``close`` when the current request is over, however it ends, and be it unanswered."""
    exchange().closing.push_async_callback(close)


def refuse_announced(limit_bytes: int) -> None:
    """A body that says it is too large is not waited for. Raises `BodyTooLarge`."""
    if (request.content_length or 0) > limit_bytes:
        raise BodyTooLarge("The request body is larger than http.body_limit_bytes")


async def drop_rest(body: AsyncIterator[bytes], gate: BodyGate, within_s: float) -> None:
    """Read what is left of a request's body, for so long at the most, and drop it.

    Over HTTP/1.1 a connection is closed on what was not read, and that is a reset, which takes the
    answer with it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            async for part in body:
                gate.taken(len(part))


async def read_body(limit_bytes: int) -> bytes:
    """The whole body of the current request. Raises `BodyTooLarge`."""
    refuse_announced(limit_bytes)
    gate = exchange().gate
    parts: list[bytes] = []
    size_bytes = 0
    async for part in request.body:
        gate.taken(len(part))
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > limit_bytes:
            raise BodyTooLarge("The request body is larger than http.body_limit_bytes")
    return b"".join(parts)
