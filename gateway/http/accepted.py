"""Each connection that is accepted: whether there is room for it, and what its peer has shown.

Hypercorn looks its connection class up at call time, so ours stands in its place while a door is
open. Laws: past its limit a port closes what it accepts at once, whatever that would have spoken;
who has left takes no room; how long an HTTP/2 connection of ours may idle is its own to say.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import hypercorn.asyncio.run
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated

from gateway.http.connection import GatewayH2Protocol
from gateway.http.credentials import CERTIFICATE_KEY

_log = structlog.get_logger("headrace.http")


class ConnectionRoom:
    """How many connections a port may have open."""

    def __init__(self, connections_max: int) -> None:
        self._connections_max = connections_max
        self._open = 0
        self._told = False

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """One more for the length of the ``with``; False: there is no room, close it."""
        has_room = self._open < self._connections_max
        if not has_room and not self._told:
            self._told = True
            _log.warning("connections are refused", connections_max=self._connections_max)
        self._open += 1
        try:
            yield has_room
        finally:
            self._open -= 1
            if self._open < self._connections_max // 2:
                self._told = False


@contextmanager
def accepted_by_us() -> Iterator[None]:
    """Connections are `Accepted` ones.

    Client certificates reach the application: ``scope["state"]["headrace.certificate"]``, DER, for
    every protocol that Hypercorn or we speak; absent where none was shown.
    """
    names = vars(hypercorn.asyncio.run)
    stock = names["TCPServer"]
    names["TCPServer"] = Accepted
    try:
        yield
    finally:
        names["TCPServer"] = stock


class Accepted(TCPServer):
    """Hypercorn's connection, within the room of its port (``room`` of the configuration)."""

    _is_over = False
    """the peer has left"""

    async def run(self) -> None:
        room: ConnectionRoom = vars(self.config)["room"]
        with room.entered() as has_room:
            if not has_room:
                self.writer.transport.abort()
                return
            certificate = _verified(self.writer)
            if certificate is not None:
                self.state = {**self.state, CERTIFICATE_KEY: certificate}
            await super().run()

    async def _read_data(self) -> None:
        await super()._read_data()
        # Hypercorn would wait for its timer before it lets go: who connects and leaves often
        # enough would take all the room there is.
        self._is_over = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Bytes and news of the protocol; whether it idles is none any more, once it is over."""
        if not (self._is_over and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _idle_timeout(self) -> None:
        # Where ALPN has settled the protocol, Hypercorn starts this timer after ours has stopped
        # it, and nothing would stop it again: five seconds later the connection would be closed.
        if not isinstance(self.protocol.protocol, GatewayH2Protocol):
            await super()._idle_timeout()


def _verified(writer: asyncio.StreamWriter) -> bytes | None:
    """The DER of the certificate that the handshake has verified; None if none was shown."""
    connection = writer.get_extra_info("ssl_object")
    shown: bytes | None = connection.getpeercert(binary_form=True) if connection else None
    return shown or None
