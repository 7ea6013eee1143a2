"""Push queries: a place in a log, and rows as they reach its level.

Owns: a subscription's life. Must never know: HTTP, the spool.

A subscription that keeps up follows a standing query, which puts rows into its mailbox. Where the
mailbox has no room for them it falls behind: it takes what is in the mailbox, and then reads the
log by itself, a block at a time, until nothing is left to read and it follows again. So what waits
for a slow reader waits on the disk, and it delays nobody. A reader that takes nothing for
``slow_reader_s`` while rows wait is told so, with the token to go on from, and the query ends.

Laws:
1. Every row of its source that passes, once, in the order of the log; else an error that says so.
2. Memory: the mailbox, and one part on its way.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.clock import now_ms
from gateway.query.feed import Feed
from gateway.query.mailbox import Mailbox, MailboxLimits
from gateway.query.owners import may_read
from gateway.query.places import Block, Part, Place
from gateway.query.standing import Standing
from gateway.query.start import Start
from gateway.seams import (
    EntryGone,
    LogEntry,
    Permit,
    PushLevel,
    QueryBroken,
    QueryEnd,
    QueryKind,
    ResultColumn,
    RowLines,
    Source,
    SourceKind,
)
from gateway.sql import PushQuery
from protocol.errors import BadRequest, Forbidden, InternalError, KsqlError, TooManyRequests
from protocol.tokens import CONTINUE_FROM, TokenPlace

_WITHDRAWN = (
    "You may not query this stream any more: the rules have changed, or what you showed has expired"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionLimits:
    """What one subscription may hold, and how patient we are.

    ``token_s``: between two tokens where the log goes on and no row passes.
    """

    mailbox: MailboxLimits
    slow_reader_s: float
    token_s: float = 5.0


class RunningPush:
    """Implements `gateway.seams.RunningQuery`. ``ended`` is called once, when it has ended."""

    kind = QueryKind.PUSH

    def __init__(
        self,
        push: PushQuery,
        statement: str,
        source: Source,
        start: Start,
        feed: Feed,
        limits: SubscriptionLimits,
        ended: "Callable[[RunningPush], None]",
        permit: Permit,
    ) -> None:
        self.owner = permit.principal.name
        self._permit = permit
        self.id = f"transient_{source.name}_{secrets.randbits(63)}"
        self.columns: tuple[ResultColumn, ...] = push.columns
        self.source_kind: SourceKind | None = source.kind
        self.statement = statement
        self.rows_out = 0
        self.since_ms = now_ms()
        self._push = push
        self._source = source.name
        self._start = start
        self._feed = feed
        self._measure = feed.evaluations.measure
        self._log = feed.logs[start.level]
        self._limits = limits
        self._ended = ended
        self._taken = self._tail = start.place
        """what the reader has, and what the mailbox has"""
        self._mailbox = Mailbox(limits.mailbox)
        self._ahead: deque[LogEntry] = deque()
        self._standing: Standing | None = None
        self._changed = asyncio.Event()
        self._failure: KsqlError | None = None
        self._over: QueryEnd | None = None
        self._held_by_reader = False
        self._patience: asyncio.TimerHandle | None = None

    # ── for the registry ──

    @property
    def level(self) -> PushLevel:
        """What must have become of the rows."""
        return self._start.level

    @property
    def behind(self) -> int:
        """How many entries of the log, of any source, its reader has not passed."""
        return self._log.end() - self._idle_place().after

    @property
    def waiting(self) -> tuple[int, int]:
        """Rows and bytes in its mailbox."""
        return self._mailbox.rows, self._mailbox.size_bytes

    def end(self) -> None:
        """Rows end after the one that is on its way."""
        self._finish(QueryEnd.CLOSED)

    # ── for the reader ──

    @property
    def ended_by(self) -> QueryEnd:
        """See `gateway.seams.RunningQuery`."""
        return self._over or QueryEnd.COMPLETED

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        if self._start.tokens:
            yield RowLines(b"", 0, self._token())
        left = self._push.limit
        if left == 0:
            self._finish(QueryEnd.LIMIT)
        while (part := await self._next()) is not None:
            if not self._is_allowed():
                self._break(Forbidden(_WITHDRAWN))
                continue
            if left is not None:
                if part.lines.count > left:
                    part, _ = part.split(left)
                left -= part.lines.count
            self._taken = part.end
            self.rows_out += part.lines.count
            self._measure.delivered(part.lines.count)
            if left == 0:
                self._finish(QueryEnd.LIMIT)
            self._hand_over()
            yield self._outgoing(part.lines)
            self._take_back()

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self.end()

    def _outgoing(self, lines: RowLines) -> RowLines:
        if not self._start.tokens:
            return lines
        return RowLines(lines.raw, lines.count, self._token())

    def _token(self) -> str:
        return self._start.binding.encode(TokenPlace(self._taken.after, self._taken.rows))

    # ── the next part ──

    async def _next(self) -> Part | None:
        """The next rows, perhaps none with a new place; None at the end. Raises `KsqlError`."""
        while self._over is None:
            if (part := self._mailbox.take()) is not None:
                return part
            if self._standing is None:
                await self._read_on()
            elif not await self._something() and self._idle_place() > self._taken:
                place = self._idle_place()
                return Part(RowLines(b"", 0), place, place)
        if self._failure is not None:
            raise self._failure
        return None

    async def _something(self) -> bool:
        """Wait for a change; False if a token is due before one."""
        self._changed.clear()
        if not self._start.tokens:
            await self._changed.wait()
            return True
        try:
            async with asyncio.timeout(self._limits.token_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _idle_place(self) -> Place:
        """Where a follower with an empty mailbox stands: nothing passed up to there."""
        if self._standing is None or self._mailbox:
            return self._taken
        return max(self._tail, Place(self._standing.position))

    # ── following ──

    def offer(self, since: Place, block: Block) -> None:
        """See `gateway.query.standing.Follower`."""
        if self._tail >= block.end:
            return
        if not since <= self._tail <= block.start:
            self.fall_behind()
            return
        for part in block.parts:
            if not self._mailbox.put(part):
                self._measure.spilled()
                self.fall_behind()
                break
            self._tail = part.end
        else:
            self._tail = block.end
        if block.parts:
            self._changed.set()

    def fall_behind(self) -> None:
        """See `gateway.query.standing.Follower`."""
        self._unfollow()
        if self._held_by_reader:
            self._lose_patience_later()
        self._changed.set()

    def fail(self, error: QueryBroken) -> None:
        """See `gateway.query.standing.Follower`. Rows before the fault are still read."""
        # It meets the same fault by itself, behind what waits in its mailbox.
        self.fall_behind()

    def _unfollow(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            standing.leave(self)

    # ── reading by itself ──

    async def _read_on(self) -> None:
        """Fill the mailbox from the log, or follow where nothing is left to read."""
        try:
            entry = await self._next_entry()
            if entry is None:
                self._standing = self._feed.follow(
                    self._push, self._source, self.level, self._tail.after, self
                )
            elif entry.source != self._source:
                self._tail = Place(entry.position)
            else:
                await self._read_block(entry)
        except QueryBroken as broken:
            self._break(InternalError(f"The query failed on a row: {broken}"))
        except EntryGone:
            self._break(self._passed_by_retention())

    async def _next_entry(self) -> LogEntry | None:
        """The entry that the tail stands before, or in; None if it is still to come."""
        tail = self._tail
        while self._ahead and self._ahead[0].position <= tail.after:
            self._ahead.popleft()
        if not self._ahead:
            if tail.after >= self._log.end():
                return None
            self._ahead.extend(await self._log.after(tail.after))
        entry = self._ahead[0]
        if entry.position != self._start.follows(tail.after):
            raise EntryGone
        return entry

    async def _read_block(self, entry: LogEntry) -> None:
        tail = self._tail
        rows_before = tail.rows - tail.skip
        start = Place(entry.position - 1, tail.piece, 0, rows_before)
        block = await self._feed.evaluations.block(self._push, entry, self.level, start)
        skip = tail.skip
        for part in block.parts:
            if skip >= part.lines.count:
                skip -= part.lines.count
                continue
            if skip:
                _, part = part.split(skip)
                skip = 0
            if not self._mailbox.put(part):
                return
            self._tail = part.end
        if skip and block.end.after == entry.position:
            raise QueryBroken("a continuation token counts more rows than its batch selects")
        self._tail = block.end if not skip else Place(
            block.end.after, block.end.piece, skip, tail.rows
        )  # fmt: skip

    def _is_allowed(self) -> bool:
        """Rules change while a query runs, and tokens expire."""
        return may_read(self._permit, self._source)

    # ── patience ──

    def _hand_over(self) -> None:
        self._held_by_reader = True
        if self._standing is None and self._over is None:
            self._lose_patience_later()

    def _take_back(self) -> None:
        self._held_by_reader = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._limits.slow_reader_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        self._measure.too_slow()
        self._break(
            TooManyRequests(
                f"The reader of this query took nothing for {self._limits.slow_reader_s:g} s while "
                "rows waited (query.slow_reader_s). To go on behind the last row that was sent, "
                f'send the query again with requestProperties {{"{CONTINUE_FROM}": '
                f'"{self._token()}"}}'
            )
        )

    # ── the end ──

    def _passed_by_retention(self) -> KsqlError:
        return BadRequest(
            f"The retention has passed this query: rows behind position {self._taken.after} of the "
            f"log are gone, and its end is {self._log.end()} ({self._log.kept_by}). Start again "
            "with auto.offset.reset earliest or latest."
        )

    def _break(self, failure: KsqlError) -> None:
        if self._over is None:
            self._failure = failure
            self._finish(QueryEnd.COMPLETED)

    def _finish(self, over: QueryEnd) -> None:
        if self._over is not None:
            return
        self._over = over
        self._unfollow()
        self._take_back()
        self._mailbox.clear()
        self._ahead.clear()
        self._changed.set()
        self._ended(self)
