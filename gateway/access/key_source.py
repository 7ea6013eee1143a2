"""An issuer's keys kept fresh: looked at by the clock, and sooner for a token with an unknown key.

Laws: the last good keys are kept while the issuer is away or publishes nonsense; keys that the
issuer has taken back are gone with the next good look; whatever is asked of us, the issuer is asked
at most once in ``sooner_s`` because of it; every look is bounded in time and size.
"""

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from gateway.access.files import whole
from gateway.access.jwks import KeySet, NoKeys, read_keys
from gateway.access.settings import AccessUnusable, JwtSettings

LOOK_S = 5.0
DOCUMENT_MAX_BYTES = 1 << 20
SOONER_S = 10.0
"""between two looks that tokens bring about"""
RETRY_S = 30.0
"""after a look that failed"""

_log = structlog.get_logger("headrace")


class KeysAway(Exception):
    """The keys cannot be had now; the text says why."""


class KeySource:
    """The keys of one issuer. Nothing is known before `open`."""

    def __init__(self, settings: JwtSettings, *, sooner_s: float = SOONER_S) -> None:
        self.settings = settings
        self.keys = KeySet()
        self.looks = 0
        """at the issuer, good or not"""
        self._sooner_s = sooner_s
        self._looked_at = -sooner_s
        self._look: asyncio.Task[None] | None = None
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Look once, and from then on by the clock.

        Raises `AccessUnusable` for a file without keys. An issuer that is away is waited for: until
        it is there every token is refused.
        """
        try:
            await self._looked()
        except KeysAway as error:
            if self.settings.jwks_file:
                raise AccessUnusable(str(error)) from None
            _tell(error, kept=0)
        self._work = asyncio.create_task(self._look_by_the_clock())

    async def close(self) -> None:
        """Look no more."""
        for task in (self._work, self._look):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, KeysAway):
                    await task

    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The public key for a token, None if the issuer has none such."""
        found = self.keys.find(kid, algorithm)
        if found is None and await self._look_sooner():
            found = self.keys.find(kid, algorithm)
        return found

    async def look(self) -> None:
        """Look now. Raises `KeysAway`; the keys that there were are kept then."""
        await asyncio.shield(self._begin())

    def _begin(self) -> "asyncio.Task[None]":
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._looked())
            # Where all who waited have gone, nobody else hears of its fault.
            self._look.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._look

    async def _look_sooner(self) -> bool:
        """Whether there has been a look since the question came up."""
        is_under_way = self._look is not None and not self._look.done()
        now = asyncio.get_running_loop().time()
        if not is_under_way and now - self._looked_at < self._sooner_s:
            return False
        try:
            await self.look()
        except KeysAway as error:
            _tell(error, kept=len(self.keys))
            return False
        return True

    async def _looked(self) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        self.looks += 1
        where = self.settings.jwks_file or shown(self.settings.jwks_url or "")
        try:
            self.keys = read_keys(await self._document())
        except NoKeys as error:
            raise KeysAway(f"{where}: {error}") from None
        finally:
            # A slow issuer is not asked again the moment it has answered.
            self._looked_at = asyncio.get_running_loop().time()

    async def _document(self) -> bytes:
        if self.settings.jwks_file:
            try:
                return (await asyncio.to_thread(whole, self.settings.jwks_file)).encode()
            except AccessUnusable as error:
                raise KeysAway(str(error)) from None
        return await fetch(self.settings.jwks_url or "")

    async def _look_by_the_clock(self) -> None:
        wait_s = self.settings.refresh_s if len(self.keys) else self._retry_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.look()
                wait_s = self.settings.refresh_s
            except KeysAway as error:
                _tell(error, kept=len(self.keys))
                wait_s = self._retry_s

    @property
    def _retry_s(self) -> float:
        return min(self.settings.refresh_s, RETRY_S)


async def fetch(url: str) -> bytes:
    """A document over HTTP, no redirect followed. Raises `KeysAway`."""
    timeout = aiohttp.ClientTimeout(total=LOOK_S)
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise KeysAway(f"{shown(url)} answered {response.status}")
            async for part in response.content.iter_chunked(1 << 16):
                body += part
                if len(body) > DOCUMENT_MAX_BYTES:
                    raise KeysAway(f"{shown(url)}: larger than {DOCUMENT_MAX_BYTES} bytes")
    except TimeoutError:
        raise KeysAway(f"{shown(url)}: no answer within {LOOK_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise KeysAway(f"{shown(url)}: {type(error).__name__}") from None
    return bytes(body)


def shown(url: str) -> str:
    """A URL without its query, which may hold a key."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _tell(error: Exception, kept: int) -> None:
    _log.warning("the keys of the token issuer cannot be read", why=str(error), keys_kept=kept)
