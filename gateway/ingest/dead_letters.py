"""The operator's door to the dead letters. Implements `gateway.seams.DeadLetters`.

A row that was cut out of a batch is driven again as it was spooled, under the declaration that its
stream had. One that was refused, or was mended, passes the check of its stream as it is declared
now, and is spooled under that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.clock import now_ms
from gateway.ingest.entries import ChunkRecord, DeadLetter, LetterState
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import LETTERS_FULL, SpoolFailed, SpoolWriter
from gateway.seams import DeadLetterView, InsertSpec
from protocol.errors import BadRequest, NotFound, SpoolAway

T = TypeVar("T")

CheckRow = Callable[[str, bytes, int], Awaitable[tuple[InsertSpec, bytes]]]
"""``(stream, row, arrival_ms)`` → how it is inserted and its line as it is spooled.

Raises `protocol.errors.KsqlError` if the stream does not take the row.
"""


class SpoolDeadLetters:
    """Looks at dead letters and decides on them."""

    def __init__(
        self,
        writer: SpoolWriter,
        reader: SpoolReader,
        check: CheckRow,
        spooled: Callable[[ChunkRecord], None],
        limit_bytes: int,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._check = check
        self._spooled = spooled
        self._limit_bytes = limit_bytes

    async def find(
        self,
        *,
        stream: str | None = None,
        channel: str | None = None,
        state: str = "open",
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetterView]:
        """See `gateway.seams.DeadLetters`."""

        def read() -> list[DeadLetterView]:
            found = self._reader.letters(
                source=stream,
                channel=channel,
                state=None if state == "all" else _state(state),
                after_id=after_id,
                limit=limit,
            )
            return self._views(found)

        return await asyncio.to_thread(read)

    async def get(self, letter_id: int) -> DeadLetterView | None:
        """See `gateway.seams.DeadLetters`."""

        def read() -> list[DeadLetterView]:
            found = self._reader.letter(letter_id)
            return self._views([found] if found else [])

        views = await asyncio.to_thread(read)
        return views[0] if views else None

    async def newest(self, limit: int, row_bytes: int) -> tuple[int, list[DeadLetterView]]:
        """How many are open, and the newest of them, newest first, each row cut to so many."""

        def read() -> tuple[int, list[DeadLetterView]]:
            total, found = self._reader.newest_letters(limit, row_bytes)
            return total, self._views(found)

        return await asyncio.to_thread(read)

    async def edit(self, letter_id: int, raw: bytes) -> DeadLetterView:
        """See `gateway.seams.DeadLetters`."""
        letter = await self._open(letter_id)
        raw = raw.strip()
        await self._check(letter.stream, raw, letter.at_ms)

        def edit(spool: SpoolFile) -> bool | None:
            old = spool.letters.get(letter_id)
            grown = len(raw) - len(old.raw) if old is not None else 0
            # A row that gets shorter is always taken.
            if grown > 0 and spool.letters.open_bytes + grown > self._limit_bytes:
                return None
            return spool.letters.edit(letter_id, raw)

        edited = await self._record(edit)
        if edited is None:
            raise BadRequest(LETTERS_FULL)
        if not edited:
            raise _decided(letter_id)
        return await self._open(letter_id)

    async def retry(self, letter_id: int) -> None:
        """See `gateway.seams.DeadLetters`."""
        view = await self._open(letter_id)
        letter = await asyncio.to_thread(self._reader.letter, letter_id)
        assert letter is not None
        spec, row = None, letter.raw
        if not letter.spooled:
            spec, row = await self._check(view.stream, view.raw, view.at_ms)

        def retry(spool: SpoolFile) -> ChunkRecord | None:
            queue = letter.queue if spec is None else spool.queue(view.stream, spec).id
            return spool.retry(letter_id, queue, row, now_ms())

        chunk = await self._record(retry)
        if chunk is None:
            raise BadRequest(
                f"Dead letter {letter_id} cannot be retried now: it was decided on, or the batch "
                f"it was cut out of ({view.batch}) is still on its way"
            )
        self._spooled(chunk)

    async def drop(self, letter_id: int) -> None:
        """See `gateway.seams.DeadLetters`."""
        await self._open(letter_id)
        if not await self._record(lambda spool: spool.letters.decide(letter_id, _S.DROPPED)):
            raise _decided(letter_id)

    # ── inside ──

    async def _open(self, letter_id: int) -> DeadLetterView:
        letter = await self.get(letter_id)
        if letter is None:
            raise NotFound(f"No dead letter {letter_id}")
        if letter.state != _S.OPEN:
            raise _decided(letter_id)
        return letter

    async def _record(self, apply: Callable[[SpoolFile], T]) -> T:
        try:
            return await self._writer.record(apply)
        except SpoolFailed as failed:
            raise SpoolAway(str(failed)) from failed

    def _views(self, letters: list[DeadLetter]) -> list[DeadLetterView]:
        sources = {queue.id: queue.source for queue in self._reader.queues()}
        names = self._reader.batch_ids({letter.batch for letter in letters if letter.batch})
        return [
            DeadLetterView(
                id=letter.id,
                stream=sources[letter.queue],
                channel=letter.channel,
                offset=letter.offset,
                batch=names.get(letter.batch or 0),
                line=letter.line,
                code=letter.code,
                message=letter.message,
                at_ms=letter.at_ms,
                state=letter.state.value,
                tasks=letter.tasks,
                raw=letter.raw.rstrip(b"\n"),
            )
            for letter in letters
        ]


_S = LetterState


def _state(text: str) -> LetterState:
    try:
        return LetterState(text)
    except ValueError:
        known = ", ".join(LetterState)
        raise BadRequest(f"Unknown state '{text}': it is one of {known}, all") from None


def _decided(letter_id: int) -> BadRequest:
    return BadRequest(f"Dead letter {letter_id} is not open: it was retried or dropped")
