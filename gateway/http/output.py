"""A connection's way out: gathered in a turn of the event loop, written at once, bounded.

Everything that one turn produced goes to the socket in one write. `room_bytes` says how much more
it takes: whoever produces by its own will stops at none, and hears `drained` later. What must be
answered whatever the peer does (SETTINGS, PING) is bounded by a hard limit, past which the
connection is closed: a peer that asks without ever reading costs no memory.
"""

import asyncio
from collections.abc import Callable

FULL_BYTES = 256 * 1024
"""Bytes gathered in one turn, or in the socket's buffer, past which producers stop."""
HARD_BYTES = 2 * 1024 * 1024
"""Bytes in the socket's buffer past which the connection is closed."""


class Output:
    """Gathers writes for one socket."""

    def __init__(self, writer: asyncio.StreamWriter, drained: Callable[[], None]) -> None:
        self._transport = writer.transport
        self._writer = writer
        self._drained = drained
        self._parts: list[bytes] = []
        self._gathered_bytes = 0
        self._scheduled = False
        self._waiting: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def room_bytes(self) -> int:
        """How much more producers may write now; none while the socket does not keep up."""
        return 0 if self._waiting is not None else max(0, FULL_BYTES - self._gathered_bytes)

    @property
    def overflows(self) -> bool:
        """Whether even what must be answered has grown past its limit."""
        return not self.closed and self._transport.get_write_buffer_size() > HARD_BYTES

    def write(self, parts: list[bytes], size_bytes: int | None = None) -> None:
        """Send bytes at the end of this turn of the event loop; ``size_bytes``: their sum."""
        self._parts += parts
        self._gathered_bytes += sum(map(len, parts)) if size_bytes is None else size_bytes
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what was gathered."""
        self._scheduled = False
        if not self._parts:
            return
        was_full = self._gathered_bytes >= FULL_BYTES
        parts, self._parts = self._parts, []
        self._gathered_bytes = 0
        if not parts or self.closed or self._transport.is_closing():
            return
        self._transport.write(b"".join(parts))
        if self._waiting is not None:
            return
        if self._transport.get_write_buffer_size() > FULL_BYTES:
            self._waiting = asyncio.get_running_loop().create_task(self._wait())
        elif was_full:
            self._drained()

    def close(self) -> asyncio.WriteTransport:
        """Write what was gathered, then nothing more; returns the transport, to be hung up."""
        self.flush()
        self.closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        return self._transport

    async def _wait(self) -> None:
        """Until the socket has taken most of what waits; a peer that is gone ends it too."""
        try:
            await self._writer.drain()
        except (ConnectionError, RuntimeError):
            return
        self._waiting = None
        self._drained()
