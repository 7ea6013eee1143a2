"""Connections to Druid's servers: bytes out, status and bytes back.

Everything that keeps an answer from arriving (refused, cut, too late, redirected in circles) is
`WarehouseUnreachable` here; what an answer means is said by `replies`. Druid speaks HTTP/1.1.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urljoin

import aiohttp
import orjson

from gateway.seams import WarehouseUnreachable

_REDIRECTS_LIMIT = 4
_REPLY_LIMIT_BYTES = 64 << 20
_READ_AHEAD_BYTES = 256 << 10
"""Of a result, while what came before is on its way out: read from the socket, twice as much at
the most."""


class Server(StrEnum):
    """Who is asked."""

    BROKER = "broker"
    OVERLORD = "overlord"
    COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class DruidUrls:
    """Base URLs. A Router with its management proxy on stands for all three."""

    broker: str
    overlord: str
    coordinator: str

    @staticmethod
    def router(url: str) -> "DruidUrls":
        """All servers behind one Router (``druid.router.managementProxy.enabled``)."""
        return DruidUrls(broker=url, overlord=url, coordinator=url)

    def of(self, server: Server) -> str:
        """The base URL of a server, without a slash at its end."""
        return {
            Server.BROKER: self.broker,
            Server.OVERLORD: self.overlord,
            Server.COORDINATOR: self.coordinator,
        }[server].rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits in seconds: to connect, for a short call, and between two reads of a result."""

    connect_s: float = 5.0
    call_s: float = 30.0
    read_s: float = 310.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status: int
    body: bytes


class Transport:
    """One pool of connections to the servers of a cluster."""

    def __init__(
        self,
        urls: DruidUrls,
        *,
        user: str | None = None,
        password: str = "",
        timeouts: Timeouts | None = None,
        connections_limit: int = 64,
    ) -> None:
        self._urls = urls
        self._timeouts = timeouts or Timeouts()
        self._connections_limit = connections_limit
        # Compressed rows would be unpacked on the event loop, for a network that is mostly near.
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if user is not None:
            # Set by hand: the client drops credentials at a redirect to another host, and the
            # Overlord's leader is another host.
            pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            self._headers["Authorization"] = f"Basic {pair}"
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the pools. Connects to nothing yet."""
        if self._session is None:
            self._session = self._pool(self._connections_limit)
            # Results are read at the pace of their readers, who are counted elsewhere: they must
            # never take the connections that batches are submitted and watched by.
            self._streams = self._pool(0)

    async def close(self) -> None:
        """Close every connection."""
        sessions = (self._session, self._streams)
        self._session = self._streams = None
        for session in sessions:
            if session is not None:
                await session.close()

    def _pool(self, limit: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_AHEAD_BYTES,
        )

    async def get(self, server: Server, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """GET. ``path`` is percent-encoded already."""
        return await self._call("GET", server, path, query=query)

    async def post(self, server: Server, path: str, document: Any) -> Reply:
        """POST a JSON document."""
        return await self._call("POST", server, path, body=orjson.dumps(document))

    async def delete(self, server: Server, path: str) -> Reply:
        """DELETE."""
        return await self._call("DELETE", server, path)

    async def stream(
        self, server: Server, path: str, document: Any, *, silence_s: float | None = None
    ) -> aiohttp.ClientResponse:
        """POST a JSON document and leave the reply to be read piecemeal, and closed.

        What a cut in the middle of it means is for the reader of the body to say. ``silence_s``:
        how long the server may say nothing, instead of ``Timeouts.read_s``; 0: for ever.
        """
        url = self._urls.of(server) + path
        limits = self._patient(silence_s)
        return await self._send("POST", url, orjson.dumps(document), None, limits, self._streams)

    async def fetch(self, server: Server, path: str) -> aiohttp.ClientResponse:
        """GET, with the reply left to be read piecemeal, and closed."""
        url = self._urls.of(server) + path
        return await self._send("GET", url, None, None, self._patient(None), self._streams)

    def _patient(self, silence_s: float | None) -> aiohttp.ClientTimeout:
        read_s = self._timeouts.read_s if silence_s is None else silence_s or None
        connect_s = self._timeouts.connect_s
        return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)

    async def _call(
        self,
        method: str,
        server: Server,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        url = self._urls.of(server) + path
        limits = aiohttp.ClientTimeout(
            total=self._timeouts.call_s, sock_connect=self._timeouts.connect_s
        )
        response = await self._send(method, url, body, query, limits, self._session)
        return Reply(response.status, await read_whole(response))

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        session: aiohttp.ClientSession | None,
    ) -> aiohttp.ClientResponse:
        """Send, and send again, body and credentials kept, where a 307 names the leader."""
        if session is None:
            raise WarehouseUnreachable("the warehouse is not open")
        headers = {"Content-Type": "application/json"} if body is not None else None
        for _ in range(_REDIRECTS_LIMIT):
            try:
                response = await session.request(
                    method,
                    url,
                    data=body,
                    params=query,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unreachable(url, error) from error
            location = response.headers.get("Location")
            if response.status not in (307, 308) or location is None:
                return response
            response.release()
            url, query = urljoin(url, location), None
        raise WarehouseUnreachable(f"{url} redirects in circles")


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """All of a reply that is to be held in memory, up to a limit.

    Raises `WarehouseUnreachable` for a reply that is cut, late, or longer than the limit.
    """
    parts = bytearray()
    try:
        async for part in response.content.iter_any():
            parts += part
            if len(parts) > _REPLY_LIMIT_BYTES:
                raise WarehouseUnreachable(f"{response.url.path} answers with too many bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(str(response.url), error) from error
    finally:
        response.close()
    return bytes(parts)


def _unreachable(url: str, error: Exception) -> WarehouseUnreachable:
    late = isinstance(error, TimeoutError)
    return WarehouseUnreachable(f"{url}: {'timed out' if late else error!r}")
