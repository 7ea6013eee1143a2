"""Standing queries: one statement that follows a log for all subscribers that ask the same.

A standing query lives as long as somebody follows it. It goes through each entry of its source
once and offers what it finds; it never waits for a subscriber, who takes an offer, or falls behind
and reads the log by itself.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

import structlog

from gateway.query.evaluations import Evaluations
from gateway.query.places import Block, Place
from gateway.seams import EntryGone, LogEntry, PushLog, QueryBroken
from gateway.sql import PushQuery

_log = structlog.get_logger("headrace.query")


class Follower(Protocol):
    """A subscriber as a standing query sees it. Called on the event loop; must not raise."""

    def offer(self, since: Place, block: Block) -> None:
        """Rows have come. Between ``since`` and the block's start no row was selected."""

    def fall_behind(self) -> None:
        """Nothing more is offered."""

    def fail(self, error: QueryBroken) -> None:
        """The statement cannot be evaluated on the entry that is next."""


class Standing:
    """One of them. ``position``: it goes on from there; ``ended`` is called when nobody is left."""

    def __init__(
        self,
        push: PushQuery,
        source: str,
        log: PushLog,
        evaluations: Evaluations,
        position: int,
        ended: Callable[[], None],
    ) -> None:
        self._push = push
        self._source = source
        self._log = log
        self._evaluations = evaluations
        self._since = Place(position)
        self._position = position
        self._ended = ended
        # A dict, for its order: who came first is served first.
        self._followers: dict[Follower, None] = {}
        # In a context of its own: its lines of the log are not those of who subscribed first.
        self._running = asyncio.create_task(self._run(), context=Context())

    @property
    def position(self) -> int:
        """Entries up to here were offered, or are of other sources."""
        return self._position

    def join(self, follower: Follower) -> None:
        """Offer to it from now on."""
        self._followers[follower] = None

    def leave(self, follower: Follower) -> None:
        """Offer to it no more."""
        if follower not in self._followers:
            return
        del self._followers[follower]
        if not self._followers:
            self._ended()
            self._running.cancel()

    async def _run(self) -> None:
        try:
            await self._follow()
        except Exception as fault:  # noqa: BLE001 - whatever it was, its subscribers must hear of it
            _log.error("a standing query failed", exc_info=fault)
            self._fail(QueryBroken("see the server's log"))

    async def _follow(self) -> None:
        while True:
            try:
                entries = await self._log.after(self._position)
            except EntryGone:
                self._let_go()
                return
            for entry in entries:
                if entry.position != self._position + 1:
                    # Only where it slept through a whole retention; who follows finds out.
                    self._let_go()
                    return
                if entry.source == self._source:
                    await self._go_through(entry)
                self._position = entry.position

    async def _go_through(self, entry: LogEntry) -> None:
        blocks = self._evaluations.follow(self._push, entry)
        try:
            async for block in blocks:
                for follower in tuple(self._followers):
                    follower.offer(self._since, block)
                self._since = block.end
        except EntryGone:
            self._let_go()
        except QueryBroken as broken:
            self._fail(broken)
        finally:
            await blocks.aclose()

    def _fail(self, broken: QueryBroken) -> None:
        for follower in tuple(self._followers):
            follower.fail(broken)

    def _let_go(self) -> None:
        for follower in tuple(self._followers):
            follower.fall_behind()
