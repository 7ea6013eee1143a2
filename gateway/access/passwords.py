"""Passwords checked: in threads, a bounded number at once, and the same one not twice.

argon2 is slow and takes memory by design, so it runs beside the event loop, and what waits for it
is bounded: past that 429, for a queue of minutes would help nobody. Requests that show the same
credential at once share one check. A right one is remembered for a while, as a keyed hash under a
key that never leaves this process.

Law: an unknown name is checked like a known one. What was remembered goes with the users it was
checked against: a reload makes a new `Passwords`.
"""

import asyncio
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import structlog
from argon2.exceptions import VerificationError, VerifyMismatchError
from argon2.low_level import Type, verify_secret

from gateway.access.authorization import Basic
from gateway.access.settings import AttemptLimits
from gateway.access.throttle import Throttle
from gateway.access.users import Users
from protocol.errors import TooManyRequests

RETRY_S = 2

_log = structlog.get_logger("headrace")


class Checks:
    """The threads that check passwords, and how many may wait for them."""

    def __init__(self, limits: AttemptLimits) -> None:
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="passwords")
        self._most = limits.threads + limits.waiting_max
        self._under_way: set[asyncio.Task[bool]] = set()
        self.throttle = Throttle(limits.failures_max, limits.failure_s, limits.peers_max)

    def start(self, encoded: str, password: str) -> "asyncio.Task[bool]":
        """Begin to check. Raises `TooManyRequests`."""
        if len(self._under_way) >= self._most:
            raise TooManyRequests("Too many passwords are being checked. Try later.", RETRY_S)
        task = asyncio.create_task(self._check(encoded, password))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def close(self) -> None:
        """Wait for what is under way; nothing new begins."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def _check(self, encoded: str, password: str) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, fits, encoded, password)


class Passwords:
    """The passwords of one users file."""

    def __init__(self, users: Users, checks: Checks, limits: AttemptLimits) -> None:
        self.users = users
        self._checks = checks
        self._limits = limits
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        """keyed hashes of right credentials, and until when they are not checked again"""
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}

    async def is_right(self, shown: Basic, peer: str) -> bool:
        """Whether that user has that password. Raises `TooManyRequests`."""
        key = self._hash(shown)
        if self._is_verified(key):
            return True
        task = self._under_way.get(key)
        if task is None:
            task = self._start(key, shown, peer)
        # Others may wait for the same check, and what it finds is to be remembered anyway.
        return await asyncio.shield(task)

    def _start(self, key: bytes, shown: Basic, peer: str) -> "asyncio.Task[bool]":
        now = asyncio.get_running_loop().time()
        encoded, exists = self.users.hash_of(shown.name)
        throttle = self._checks.throttle
        network = throttle.pay(peer, now)
        try:
            checking = self._checks.start(encoded, shown.password)
        except TooManyRequests:
            throttle.give_back(network, now)
            raise
        task = asyncio.create_task(self._settle(key, network, checking, exists))
        self._under_way[key] = task
        # Where all who waited have gone, nobody else hears of its fault.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _settle(
        self, key: bytes, network: str, checking: "asyncio.Task[bool]", exists: bool
    ) -> bool:
        try:
            is_right = await checking and exists
        finally:
            del self._under_way[key]
        if is_right:
            now = asyncio.get_running_loop().time()
            self._checks.throttle.give_back(network, now)
            self._remember(key, now + self._limits.verified_s)
        return is_right

    def _hash(self, shown: Basic) -> bytes:
        # No name holds a colon, so no two credentials have the same text.
        return hmac.digest(self._key, f"{shown.name}:{shown.password}".encode(), "sha256")

    def _is_verified(self, key: bytes) -> bool:
        until = self._verified.get(key)
        if until is None:
            return False
        if asyncio.get_running_loop().time() < until:
            return True
        del self._verified[key]
        return False

    def _remember(self, key: bytes, until: float) -> None:
        self._verified[key] = until
        if len(self._verified) > self._limits.verified_max:
            self._verified.popitem(last=False)


def fits(encoded: str, password: str) -> bool:
    """Whether that argon2id hash is of that password. Slow, by design."""
    try:
        return verify_secret(encoded.encode(), password.encode(), Type.ID)
    except VerifyMismatchError:
        return False
    except VerificationError as error:
        # Its text is argon2's name for the fault (not enough memory, mostly): nothing was shown.
        _log.error("a password could not be checked", error=str(error))
        return False
