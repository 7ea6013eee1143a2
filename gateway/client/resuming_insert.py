"""An insert on a channel that survives its connections: sessions, one after the other.

Owns: the task that reads the caller's rows, the session that runs, and what is done when it breaks.
Must never know: what is sent again (`ledger`), when (`attempts`), frames and lines.

The caller's rows are read by a task of its own, for that must outlive sessions; while the ledger is
full it reads nothing, so memory is bounded and a source that can wait does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import replace

from gateway.client.attempts import Attempts
from gateway.client.backoff import is_fenced
from gateway.client.errors import (
    AnswerBroken,
    ChannelTaken,
    ClientError,
    RequestCancelled,
    RowRefused,
)
from gateway.client.exchanges import SEND_BYTES, SOURCE_CANCELLED, Insert, OpenStream, Row
from gateway.client.ledger import InsertProgress, ResendLedger, blocks_of
from gateway.client.lifetime import Lifetime
from gateway.client.stream import Stream
from gateway.client.wire import AckBatch, InsertTerms, row_lines


class _Session(Insert):
    """One connection's worth of it. No row leaves before ``began`` has looked at the channel."""

    def __init__(
        self,
        open_stream: OpenStream,
        target: str,
        rows: AsyncIterable[Row],
        terms: InsertTerms,
        began: Callable[[int], None],
    ) -> None:
        super().__init__(open_stream, target, rows, terms, resumes=True)
        self._began = began

    async def _begin(self, stream: Stream) -> None:
        self._begin_at(await self._stands_at(stream))
        self._start_sending(stream)

    def _begin_at(self, stands_at: int | None) -> None:
        if stands_at is None:
            raise AnswerBroken(
                "the server knows no channels (no headrace-next-offset in its answer): "
                "insert without one"
            )
        self.next_offset = stands_at
        self._began(stands_at)


class ResumingInsert(Lifetime):
    """Rows on their way on a channel: iterate over it for their acks, in order and without gaps.

    It is what `Insert` is, and more: a lost connection, GOAWAY, a gateway that is restarted, 429
    and 503 do not end it. It connects again, sends the rows without a verdict again, and goes on;
    each row is stored once, and each verdict is handed out once, by the row's number since the
    start.

    It ends with `ReconnectFailed` after ``reconnect_max_s``, with `ChannelTaken` where another
    client takes the channel, with `RowRefused` at a refused row, and with what the caller's
    iterable raises, after the acks of the rows that came before. With ``on_error="continue"`` it
    goes on behind refused rows, also where they are so many that the server ends the stream. An
    iteration that is left early leaves rows unacked: use ``async with`` then.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        target: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        terms: InsertTerms,
        *,
        reconnect_max_s: float | None,
        resend_limit_bytes: int,
    ) -> None:
        self.next_offset: int | None = None
        """where the channel stood when the insert was opened first: rows of offsets below it were
        held before"""
        self._open_stream = open_stream
        self._target = target
        self._rows = rows
        self._terms = terms
        self._ledger = ResendLedger(resend_limit_bytes, terms.offset)
        self._tries = Attempts(reconnect_max_s)
        self._session: _Session | None = None
        self._sessions = 0
        self._reader: asyncio.Task[None] | None = None
        self._rows_ended = False
        self._source_failure: Exception | None = None
        self._more_rows = asyncio.Event()
        self._room = asyncio.Event()
        self._over = False

    # ── how far it is ──

    @property
    def sent(self) -> int:
        """Rows sent so far, each counted once."""
        return self._ledger.sent

    @property
    def acked(self) -> int:
        """Rows acked so far."""
        return self._ledger.told - self._ledger.refused

    @property
    def refused(self) -> int:
        """Rows refused so far, of those that the insert went on after."""
        return self._ledger.refused

    @property
    def progress(self) -> InsertProgress:
        """How far it is; to be read at any time."""
        ledger, trouble = self._ledger, None
        if self._session is None:
            trouble = self._tries.trouble
        return InsertProgress(
            taken=ledger.taken,
            sent=ledger.sent,
            acked=self.acked,
            refused=ledger.refused,
            duplicates=ledger.duplicates,
            taken_bytes=ledger.taken_bytes,
            unacked_bytes=ledger.held_bytes,
            reconnects=max(0, self._sessions - 1),
            trouble=None if trouble is None else str(trouble),
        )

    # ── its life ──

    async def _enter(self) -> None:
        while self._session is None:
            await self._try_open()

    async def aclose(self) -> None:
        """Stop reading and sending, and give the session up; may be called twice."""
        self._over = True
        session, self._session = self._session, None
        if self._reader is not None:
            # First, for whoever waits here may be cancelled.
            self._reader.cancel()
        if session is not None:
            await session.aclose()
        if self._reader is not None:
            await asyncio.wait([self._reader])

    def __aiter__(self) -> AsyncIterator[AckBatch]:
        return self

    async def __anext__(self) -> AckBatch:
        if self._over:
            raise StopAsyncIteration
        try:
            batch = await self._next()
        except Exception:
            await self.aclose()
            raise
        if batch is not None:
            return batch
        await self.aclose()
        if self._source_failure is not None:
            raise self._source_failure
        raise StopAsyncIteration

    # ── sessions ──

    async def _next(self) -> AckBatch | None:
        """The next verdicts; None when every row has its own."""
        while True:
            if self._session is None:
                await self._try_open()
                continue
            try:
                batch = await anext(self._session, None)
            except ClientError as failure:
                self._session = None
                self._failed(failure)
                continue
            if batch is None:
                self._session = None
                return None
            told = self._ledger.tell(batch)
            self._tries.went_on()
            self._room.set()
            return told

    async def _try_open(self) -> None:
        """One try, when it is due. Raises what is final."""
        await self._tries.due()
        terms = replace(self._terms, offset=self._ledger.next_offset)
        session = _Session(self._open_stream, self._target, self._blocks(), terms, self._began)
        try:
            await session.__aenter__()
        except ClientError as failure:
            self._failed(failure)
            return
        self._session = session
        self._sessions += 1
        self._tries.began()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_rows())

    def _began(self, stands_at: int) -> None:
        self._ledger.begin(stands_at)
        if self.next_offset is None:
            self.next_offset = stands_at

    def _failed(self, failure: ClientError) -> None:
        """Plan the next session, or raise what is final."""
        if is_fenced(failure):
            message = getattr(failure, "message", "")
            raise ChannelTaken(self._ledger.told, message) from failure
        if isinstance(failure, RowRefused):
            failure = self._ledger.whole(failure)
        # The server has room for the verdicts of so many bad rows: a new session has all of it.
        self._tries.failed(failure, self._unfinished(), goes_on=self._terms.continues)

    def _unfinished(self) -> str:
        ledger = self._ledger
        where = f"channel '{self._terms.channel}' of {self._target}"
        if ledger.base is None or ledger.sent == 0:
            return f"No row was sent on {where}"
        if ledger.told == ledger.sent:
            return f"All {ledger.sent} rows sent on {where} have their verdict"
        first, last = ledger.told, ledger.sent - 1
        return (
            f"Rows {first} to {last}, offsets {ledger.base + first} to {ledger.base + last} on "
            f"{where}, have no verdict: they may be stored. Send from offset {ledger.base + first} "
            "on to take it up again"
        )

    async def _blocks(self) -> AsyncIterator[bytes]:
        """The rows of one session."""
        while True:
            block = self._ledger.next_block()
            if block is not None:
                yield block
            elif self._rows_ended:
                return
            else:
                self._more_rows.clear()
                await self._more_rows.wait()

    # ── the caller's rows ──

    async def _read_rows(self) -> None:
        try:
            if isinstance(self._rows, AsyncIterable):
                await self._read_async(self._rows)
            else:
                await self._read_gathered(self._rows)
        except Exception as failure:  # noqa: BLE001 - it is the caller's, and raised to the caller
            self._source_failure = failure
        except asyncio.CancelledError:
            if self._over:
                raise
            # It came out of the caller's rows: their end it is not.
            self._source_failure = RequestCancelled(SOURCE_CANCELLED)
        finally:
            self._rows_ended = True
            self._more_rows.set()

    async def _read_async(self, rows: AsyncIterable[Row]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(rows, "aclose"):
                stack.push_async_callback(rows.aclose)
            async for row in rows:
                await self._take(row_lines(row)[0])

    async def _read_gathered(self, rows: Iterable[Row]) -> None:
        gathered, size = list[bytes](), 0
        try:
            for row in rows:
                lines, _ = row_lines(row)
                gathered.append(lines)
                size += len(lines)
                if size >= SEND_BYTES:
                    whole = b"".join(gathered)
                    gathered, size = [], 0
                    await self._take(whole)
                    # The rows may never end, and everything else needs its turn.
                    await asyncio.sleep(0)
        except Exception:
            # What came before the rows failed is still theirs.
            await self._take(b"".join(gathered))
            raise
        await self._take(b"".join(gathered))

    async def _take(self, lines: bytes) -> None:
        """Into the ledger, as there is room."""
        for block, count in blocks_of(lines):
            while not self._ledger.has_room(len(block)):
                self._room.clear()
                await self._room.wait()
            if count:
                self._ledger.take(block, count)
                self._more_rows.set()
