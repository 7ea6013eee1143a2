"""What runs on one stream from its arguments to its end, and an insert as the first of it.

Owns: the order of things in an exchange, and that it is closed for certain.
Must never know: connections (it is handed a way to open a stream), the form of lines (`wire`),
what becomes of an exchange whose connection broke (`resuming_insert`, `resuming_query`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from gateway.client.errors import AnswerBroken, AnswerCut, ClientError, RequestCancelled
from gateway.client.ledger import InsertProgress
from gateway.client.lifetime import Lifetime
from gateway.client.stream import Stream
from gateway.client.wire import (
    AckBatch,
    AckReader,
    InsertTerms,
    insert_arguments,
    next_offset,
    response_error,
    row_lines,
)

Row = Mapping[str, Any] | bytes
"""A row as a mapping, or rows as the NDJSON bytes that they are."""

OpenStream = Callable[[str, str], Awaitable[Stream]]
"""Method and path to a stream whose headers are sent."""

SEND_BYTES = 32 * 1024
"""Rows of an ordinary iterable are gathered to about this before they are handed on."""

HELD_S = 0.5
"""How long the answer is waited for to end behind an error that may be the reason of its end."""

SOURCE_CANCELLED = "the rows were not all read: what gives them was cancelled, not this insert"

REPLY_LIMIT_BYTES = 64 * 1024 * 1024
"""Longest body of a reply that is read whole."""


class Exchange(Lifetime):
    """What an insert and a query share: opened once, closed for certain."""

    def __init__(self, open_stream: OpenStream, path: str, arguments: bytes) -> None:
        self._open_stream = open_stream
        self._path = path
        self._arguments = arguments
        self._stream: Stream | None = None
        self._asked = False
        self._begun = False
        self._over = False

    async def _enter(self) -> None:
        await self.opened()

    async def aclose(self) -> None:
        """Give up what still runs; may be called twice."""
        self._over = True
        if self._stream is not None:
            self._stream.close()

    async def opened(self) -> Stream:
        """The stream, opened with its arguments the first time. Raises `KsqlResponseError`.

        May be cancelled and called again: it goes on where it was.
        """
        if self._begun and self._stream is not None:
            return self._stream
        if self._stream is None:
            self._stream = await self._open_stream("POST", self._path)
        stream = self._stream
        if not self._asked:
            self._asked = True
            await stream.send(self._arguments)
        self._sent_arguments(stream)
        await accepted(stream)
        await self._begin(stream)
        self._begun = True
        return stream

    def _sent_arguments(self, stream: Stream) -> None:
        """Between the arguments and the server's status; perhaps more than once."""

    async def _begin(self, stream: Stream) -> None:
        """After the server's 200; again where it was cancelled."""


class Insert(Exchange):
    """Rows on their way: iterate over it for their acks, in order and without gaps.

    Each `AckBatch` says which rows have reached the asked level. The iteration ends when every row
    is acked. It raises `RowRefused` after the acks of the rows below the refused one (it and all
    later rows are not stored under this insert's word), what the caller's iterable raises, and
    the other errors of `gateway.client.errors`. Use it as a context manager where the iteration
    may be left early. Opened on entry, or by the first iteration.

    With ``on_error="continue"`` a refused row ends nothing: it is in `AckBatch.refused`. Where the
    server itself breaks off in this mode, its last error is raised as well.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        target: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        terms: InsertTerms,
        *,
        resumes: bool = False,
    ) -> None:
        super().__init__(open_stream, "/inserts-stream", insert_arguments(target, terms))
        self.sent = 0
        """rows handed to the connection so far"""
        self.next_offset: int | None = None
        """where the channel stood when the insert was opened, known from then on: rows of offsets
        below it are held already"""
        self._rows = rows
        self._sent_bytes = 0
        self._duplicates = 0
        self._reader = AckReader(continues=terms.continues, resumes=resumes)
        self._sender: asyncio.Task[None] | None = None

    @property
    def acked(self) -> int:
        """Rows acked so far."""
        return self._reader.next_seq - self._reader.refused

    @property
    def refused(self) -> int:
        """Rows refused so far, of those that the insert went on after."""
        return self._reader.refused

    @property
    def progress(self) -> InsertProgress:
        """How far it is."""
        return InsertProgress(
            taken=self.sent,
            sent=self.sent,
            acked=self.acked,
            refused=self.refused,
            duplicates=self._duplicates,
            taken_bytes=self._sent_bytes,
        )

    def __aiter__(self) -> AsyncIterator[AckBatch]:
        return self

    async def __anext__(self) -> AckBatch:
        if self._over:
            raise StopAsyncIteration
        try:
            batch = await self._next_batch(await self.opened())
        except ClientError:
            self._raise_senders_own()
            await self.aclose()
            raise
        if batch is None:
            await self.aclose()
            raise StopAsyncIteration
        return batch

    async def aclose(self) -> None:
        """Stop sending and give the stream up if it still runs; may be called twice."""
        await super().aclose()
        if self._sender is not None:
            self._sender.cancel()
            # Its own failure was raised to the iteration, or nobody asks for it any more.
            await asyncio.wait([self._sender])

    async def _begin(self, stream: Stream) -> None:
        self.next_offset = await self._stands_at(stream)
        self._start_sending(stream)

    @staticmethod
    async def _stands_at(stream: Stream) -> int | None:
        return next_offset((await stream.response()).headers)

    def _start_sending(self, stream: Stream) -> None:
        self._sender = asyncio.create_task(self._send_rows(stream))
        self._sender.add_done_callback(lambda task: _close_if_failed(task, stream))

    async def _next_batch(self, stream: Stream) -> AckBatch | None:
        """The next acks; None when all rows are acked and the answer has ended."""
        if self._reader.failure is not None:
            raise self._reader.failure
        batch: AckBatch | None = None
        while batch is None:
            data = await self._received(stream)
            self._reader.sent = self.sent
            if data is None:
                batch = self._reader.release()
                continue
            batch = self._reader.feed(data) if data else self._reader.end()
            if batch is None and self._reader.failure is not None:
                raise self._reader.failure
            if not data:
                break
        batch = batch or self._last_batch(stream)
        if batch is not None:
            self._duplicates += batch.duplicates
            if batch.last_seq >= self.sent:
                raise AnswerBroken(f"row {batch.last_seq} was acked, but only {self.sent} sent")
        return batch

    async def _received(self, stream: Stream) -> bytes | None:
        """What comes next; None where nothing came behind a line that is held."""
        if self._reader.held is None:
            return await stream.receive()
        try:
            async with asyncio.timeout(HELD_S):
                return await stream.receive()
        except TimeoutError:
            return None

    def _last_batch(self, stream: Stream) -> AckBatch | None:
        """The answer ended without an error: then every row must have been sent and acked."""
        told, held = self._reader.next_seq, self._reader.held
        if held is not None:
            if stream.ending and told + 1 == self.sent and held.code < 50000:
                return self._reader.release()
            raise held
        if stream.ending and told == self.sent:
            return None
        if self._reader.last_refused is not None and not self._reader.resumes:
            raise self._reader.last_refused
        raise AnswerCut(f"the answer ended after the verdicts of {told} of {self.sent} rows")

    def _raise_senders_own(self) -> None:
        """Where the sending failed first, its exception is the cause that the caller wants."""
        sender = self._sender
        if sender is not None and sender.done() and not sender.cancelled():
            failure = sender.exception()
            if failure is not None and not isinstance(failure, ClientError):
                self._over = True
                raise failure

    async def _send_rows(self, stream: Stream) -> None:
        try:
            if isinstance(self._rows, AsyncIterable):
                await self._send_async(stream, self._rows)
            else:
                await self._send_gathered(stream, self._rows)
        except asyncio.CancelledError as cancelled:
            if self._over:
                raise
            failure = RequestCancelled(SOURCE_CANCELLED)
            stream.fail(failure)
            raise failure from cancelled
        stream.end()

    async def _send_async(self, stream: Stream, rows: AsyncIterable[Row]) -> None:
        """Each row leaves when it is there; the connection merges those of one moment."""
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(rows, "aclose"):
                stack.push_async_callback(rows.aclose)
            async for row in rows:
                lines, count = row_lines(row)
                self.sent += count
                self._sent_bytes += len(lines)
                await stream.send(lines)

    async def _send_gathered(self, stream: Stream, rows: Iterable[Row]) -> None:
        gathered: list[bytes] = []
        size = 0
        for row in rows:
            lines, count = row_lines(row)
            self.sent += count
            self._sent_bytes += len(lines)
            gathered.append(lines)
            size += len(lines)
            if size >= SEND_BYTES:
                await stream.send(b"".join(gathered))
                gathered.clear()
                size = 0
                # The rows may never end: acks must have their turn even with windows wide open.
                await asyncio.sleep(0)
        await stream.send(b"".join(gathered))


def _close_if_failed(task: asyncio.Task[None], stream: Stream) -> None:
    """Sending failed: whoever waits for acks is woken, and finds the cause in the task.

    Where the stream failed first they are awake, and have acks to take that came before.
    """
    if not task.cancelled() and task.exception() is not None and stream.failure is None:
        stream.close()


async def accepted(stream: Stream) -> None:
    """Wait for the status. Raises `KsqlResponseError` with the reply's body if it is not 200."""
    response = await stream.response()
    if response.status != 200:
        raise response_error(response.status, await body(stream), response.headers)


async def whole_reply(stream: Stream) -> bytes:
    """The body of a reply whose status is 200. Raises `KsqlResponseError` for any other."""
    await accepted(stream)
    return await body(stream)


async def body(stream: Stream) -> bytes:
    """The whole body, up to `REPLY_LIMIT_BYTES`."""
    parts: list[bytes] = []
    size = 0
    while data := await stream.receive():
        parts.append(data)
        size += len(data)
        if size > REPLY_LIMIT_BYTES:
            raise AnswerBroken(f"a reply is longer than {REPLY_LIMIT_BYTES} bytes")
    return b"".join(parts)
