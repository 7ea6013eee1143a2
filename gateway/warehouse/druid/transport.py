"""Connections to Druid's servers: bytes out, status and bytes back.

Everything that keeps an answer from arriving (refused, cut, too late, redirected in circles, no
credentials that Druid takes) is `WarehouseUnreachable` here; what an answer means is said by
`replies`. Druid speaks HTTP/1.1.

Laws of credentials: they go to the configured origins and to no other, whoever redirects there;
where Druid will not have them they are read anew, once, for a secret that was changed in its file;
and no error or log shows one.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import orjson

from gateway.seams import WarehouseUnreachable
from gateway.warehouse.druid.credentials import Authorization, nobody

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

    @property
    def origins(self) -> frozenset[str]:
        """Scheme, host and port of each."""
        return frozenset(map(_origin, (self.broker, self.overlord, self.coordinator)))


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
    """One pool of connections to the servers of a cluster.

    ``authorization`` is asked for the header that says who we are; it may read a file, and raise
    OSError or ValueError. ``tls`` for ``https``: None checks Druid's certificate against the
    system's authorities. The name of the host is checked always.
    """

    def __init__(
        self,
        urls: DruidUrls,
        *,
        authorization: Authorization = nobody,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        connections_limit: int = 64,
    ) -> None:
        self._urls = urls
        self._origins = urls.origins
        self._authorization = authorization
        self._shown: str | None = None
        self._tls = tls
        self._timeouts = timeouts or Timeouts()
        self._connections_limit = connections_limit
        # Compressed rows would be unpacked on the event loop, for a network that is mostly near.
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the pools. Connects to nothing yet. Raises what ``authorization`` does."""
        if self._session is None:
            self.renew()
            self._session = self._pool(self._connections_limit)
            # Results are read at the pace of their readers, who are counted elsewhere: they must
            # never take the connections that batches are submitted and watched by.
            self._streams = self._pool(0)

    def renew(self) -> None:
        """Ask for the credentials again. Raises what ``authorization`` does: they stay then."""
        self._shown = self._authorization()

    async def close(self) -> None:
        """Close every connection."""
        sessions = (self._session, self._streams)
        self._session = self._streams = None
        for session in sessions:
            if session is not None:
                await session.close()

    def _pool(self, limit: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit, ssl=True if self._tls is None else self._tls
            ),
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
        """Send, and send again, body kept, where a 307 names the leader, or to say who we are."""
        shown, again = self._shown, False
        redirects = 0
        while redirects < _REDIRECTS_LIMIT:
            response = await self._once(method, url, body, query, limits, session, shown)
            location = response.headers.get("Location")
            if response.status == 401:
                response.release()
                shown = None if again else await self._other_than(shown)
                if shown is None:
                    raise WarehouseUnreachable(_not_taken(url, self._shown))
                again = True
                continue
            if response.status not in (307, 308) or location is None:
                return response
            response.release()
            url, query = self._followed(url, location), None
            redirects += 1
        raise WarehouseUnreachable(f"{url} redirects in circles")

    async def _once(
        self,
        method: str,
        url: str,
        body: bytes | None,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        session: aiohttp.ClientSession | None,
        shown: str | None,
    ) -> aiohttp.ClientResponse:
        if session is None:
            raise WarehouseUnreachable("the warehouse is not open")
        headers = {} if body is None else {"Content-Type": "application/json"}
        if shown is not None and _origin(url) in self._origins:
            headers["Authorization"] = shown
        try:
            return await session.request(
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

    async def _other_than(self, refused: str | None) -> str | None:
        """Credentials other than those that Druid has refused, if there are any by now."""
        try:
            self._shown = await asyncio.to_thread(self._authorization)
        except (OSError, ValueError) as error:
            raise WarehouseUnreachable(f"Druid's credentials cannot be read: {error}") from None
        return self._shown if self._shown != refused else None

    def _followed(self, url: str, location: str) -> str:
        """Where a redirect leads. Raises `WarehouseUnreachable` where we may not go."""
        followed = urljoin(url, location)
        there = _origin(followed)
        if there in self._origins:
            return followed
        if self._shown is not None:
            raise WarehouseUnreachable(
                f"{_origin(url)} redirects to {there}, where the credentials of druid.url are not "
                "sent: name a Router with its management proxy on in druid.url"
            )
        if url.startswith("https:") and not followed.startswith("https:"):
            raise WarehouseUnreachable(f"{_origin(url)} redirects from TLS to {there} without it")
        return followed


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
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return WarehouseUnreachable(
            f"{_origin(url)} shows a certificate that is not trusted: "
            f"{error.certificate_error}. Set druid.tls_ca_file to its authorities"
        )
    late = isinstance(error, TimeoutError)
    return WarehouseUnreachable(f"{url}: {'timed out' if late else error!r}")


def _not_taken(url: str, shown: str | None) -> str:
    if shown is None:
        return (
            f"{_origin(url)} wants credentials (401): set druid.username and druid.password_file, "
            "or druid.token_file"
        )
    return (
        f"{_origin(url)} does not take the gateway's credentials (401): check druid.username and "
        "druid.password_file, or druid.token_file. Rows wait meanwhile"
    )


def _origin(url: str) -> str:
    """Scheme, host and port; nothing of what else a URL may hold."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    port = parts.port or (443 if scheme == "https" else 80)
    host = parts.hostname or ""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
