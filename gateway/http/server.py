"""Hypercorn around the app: the listening socket, readiness, the end."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import hypercorn.protocol
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config as HypercornConfig
from quart import Quart

from gateway.http.accepted import ConnectionRoom, accepted_by_us
from gateway.http.connection import Connections, protocol_class
from gateway.http.h2core import H2Options
from gateway.http.measures import ConnectionMeasure
from gateway.http.tls import HANDSHAKE_S, ServerTls
from gateway.metrics import Metrics
from gateway.metrics.declared import CONNECTIONS_OPEN, H2_STREAMS_OPEN

BACKLOG = 1024
"""Connections that wait to be accepted, also while the gateway still starts."""

CONNECTIONS_MAX = 256
"""Open at once on a port, where nothing else is said."""

REQUESTS_PER_CONNECTION_MAX = 1 << 40
"""Hypercorn counts requests to end a connection, which would silence long streams on it."""


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket; port 0 picks a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class AddressUnusable(Exception):
    """A port cannot be listened on; the text names it, and the key that names another."""


def listen_for(key: str, host: str, port: int) -> socket.socket:
    """As `listen`, for what the configuration's ``key`` names. Raises `AddressUnusable`."""
    try:
        return listen(host, port)
    except OSError as error:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise AddressUnusable(
            f"{where} ({key}) cannot be listened on: {error}. Stop what holds it, or give {key} "
            "another value; 0 picks a free port"
        ) from error


def address(listener: socket.socket, tls: ServerTls | None = None) -> str:
    """The URL that the socket answers at."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class FrontDoor:
    """The HTTP/2 connections that are open, if they are ours (``http.lanes``)."""

    def __init__(self, options: H2Options | None, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self._connections = Connections(ConnectionMeasure(metrics))
        metrics.look(CONNECTIONS_OPEN, lambda: len(self._connections))
        metrics.look(H2_STREAMS_OPEN, lambda: self._connections.streams)
        self._protocol = protocol_class(options, self._connections) if options else None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Our connection in the place of Hypercorn's, which looks the name up at call time.

        With it client certificates reach the application (`accepted.accepted_by_us`).
        """
        stock = vars(hypercorn.protocol)["H2Protocol"]
        if self._protocol is not None:
            vars(hypercorn.protocol)["H2Protocol"] = self._protocol
        try:
            with accepted_by_us():
                yield
        finally:
            vars(hypercorn.protocol)["H2Protocol"] = stock

    async def drain(self, deadline_s: float) -> None:
        """Tell every peer, and wait until their connections are over."""
        self._connections.start_drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._connections.until_empty()


class SideDoor:
    """A server beside the front door, on a socket of its own, until it is stopped.

    Without a socket there is none, and starting and stopping it is nothing.
    """

    streams_max = 100
    """open streams on one connection"""

    def __init__(
        self, app: Quart, listener: socket.socket | None, tls: ServerTls | None = None
    ) -> None:
        self._app = app
        self._listener = listener
        self._tls = tls
        self._over = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str | None:
        """Where it answers."""
        return address(self._listener, self._tls) if self._listener is not None else None

    def start(self) -> None:
        """Answer."""
        if self._listener is not None:
            work = serve(
                self._app,
                self._listener,
                streams_max=self.streams_max,
                stop=self._until_over,
                tls=self._tls,
            )
            self._serving = asyncio.create_task(work)

    async def stop(self) -> None:
        """Finish what is being answered, within a second or so. May be called again."""
        self._over.set()
        if self._serving is not None:
            await self._serving

    async def _until_over(self) -> None:
        await self._over.wait()


class _ServedConfig(HypercornConfig):
    """Hypercorn's configuration, with a TLS context of ours instead of files."""

    ssl_handshake_timeout = HANDSHAKE_S

    def __init__(self, tls: ServerTls | None, room: ConnectionRoom) -> None:
        self._tls = tls
        self.room = room

    @property
    def ssl_enabled(self) -> bool:
        return self._tls is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls.context if self._tls is not None else None


async def serve(
    app: Quart,
    listener: socket.socket,
    *,
    streams_max: int,
    connections_max: int = CONNECTIONS_MAX,
    stop: Callable[[], Awaitable[None]],
    tls: ServerTls | None = None,
) -> None:
    """Serve until ``stop`` returns.

    HTTP/1.1 and h2c, by prior knowledge and upgrade, on one port; with ``tls``, TLS 1.2 or newer
    and either of them by ALPN, or by prior knowledge where a client knows no ALPN. Past
    ``connections_max`` open connections further ones are closed as they come.
    """
    config = _ServedConfig(tls, ConnectionRoom(connections_max))
    # Hypercorn closes the descriptor that it is given, so it gets one of its own.
    config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.h2_max_concurrent_streams = streams_max
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION_MAX
    config.graceful_timeout = 1.0
    config.include_server_header = False
    await hypercorn_serve(app, config, shutdown_trigger=stop)
