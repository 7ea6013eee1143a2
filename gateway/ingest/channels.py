"""Channels: where a stream stands when it opens one, and where a channel stands for who asks.

A channel is known by its source and its name. Row *i* of a stream has offset ``first_offset + i``;
rows below the channel's next offset came before and are not stored again. What became of them
when they did is looked up here: committed, still on its way (in a stretch), or refused.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.ingest.entries import Stretch
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import SpoolFailed, SpoolWriter
from gateway.seams import ChannelClaim, ChannelOffsets, Warehouse, WarehouseUnreachable
from protocol.errors import RowRejected

REFUSALS_MAX = 1001
"""Refused rows that a stream is told of when it sends them again; it ends behind the last."""
LOOKS_MAX = 16
"""Batches that one question about a channel asks the warehouse about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the spool says to a claim. ``no_room``: the channel is new and there are enough."""

    channel: int = 0
    first_offset: int
    next_offset: int
    unsettled: tuple[Stretch, ...] = ()
    refused: tuple[tuple[int, RowRejected], ...] = ()
    """sequence number and verdict of rows that were refused when they first came"""
    stuck: tuple[int, RowRejected] | None = None
    """sequence number of the first row whose batch waits for the operator, and what it is told"""
    unseen_from: int | None = None
    """offset from which on committed rows may not be queryable yet; None: all are"""
    more_refused: bool = False
    """there are more of them: of rows behind the last that is here nothing is known"""
    no_room: bool = False

    @property
    def known_to(self) -> int:
        """The sequence number up to which it is known what became of the rows."""
        if self.more_refused:
            return self.refused[-1][0] + 1
        return self.next_offset - self.first_offset

    def settled(self, *, and_unsettled: bool) -> Iterator[tuple[int, int]]:
        """Ranges of sequence numbers, half open, whose rows hold their level already.

        ``and_unsettled``: rows that are on disk and not committed count.
        """
        holes = [(seq, seq + 1) for seq, _ in self.refused]
        if not and_unsettled:
            holes += [
                (s.first_offset - self.first_offset, s.first_offset + s.rows - self.first_offset)
                for s in self.unsettled
            ]
        at, last = 0, self.known_to
        for first, end in sorted(holes):
            if at < min(first, last):
                yield at, min(first, last)
            at = max(at, end)
        if at < last:
            yield at, last

    def waiting(self) -> Iterator[tuple[Stretch, int, int]]:
        """Rows on their way: the stretch, the sequence number of the first, and how many.

        Without those that were refused: they were cut out of a batch that is still on its way.
        """
        refused = sorted(seq for seq, _ in self.refused)
        for stretch in self.unsettled:
            at = max(0, stretch.first_offset - self.first_offset)
            end = min(stretch.first_offset + stretch.rows - self.first_offset, self.known_to)
            for hole in [*(seq for seq in refused if at <= seq < end), end]:
                if at < hole:
                    yield stretch, at, hole - at
                at = hole + 1


def open_channel(spool: SpoolFile, source: str, claim: ChannelClaim, channels_max: int) -> Opening:
    """Find a channel, or make it where the claim fits. Inside a transaction of the writer's."""
    found = spool.channels.find(source, claim.name)
    if found is None:
        if claim.offset:
            return Opening(first_offset=claim.offset, next_offset=0)
        made = spool.channels.make(source, claim.name, channels_max)
        if made is None:
            return Opening(first_offset=0, next_offset=0, no_room=True)
        found = (made, 0)
    channel, next_offset = found
    first = next_offset if claim.offset is None else claim.offset
    if first >= next_offset:
        return Opening(channel=channel, first_offset=first, next_offset=next_offset)
    letters = spool.letters.refusals(channel, first, next_offset, REFUSALS_MAX)
    return Opening(
        channel=channel,
        first_offset=first,
        next_offset=next_offset,
        unsettled=tuple(spool.channels.unsettled(channel, first, next_offset)),
        unseen_from=spool.channels.unseen_from(channel),
        refused=tuple(
            (letter.offset - first, letter.verdict)
            for letter in letters
            if letter.offset is not None
        ),
        stuck=_stuck(spool.channels.stuck(channel, first, next_offset), first),
        more_refused=len(letters) == REFUSALS_MAX,
    )


def _stuck(found: tuple[int, str, str] | None, first: int) -> tuple[int, RowRejected] | None:
    if found is None:
        return None
    offset, batch, why = found
    text = f"Error in processing inserts. Batch {batch}: {why}"
    return offset - first, RowRejected(text, 50000)


class ChannelLookup:
    """Says where a channel stands at each level."""

    def __init__(
        self,
        reader: SpoolReader,
        writer: SpoolWriter,
        warehouse: Warehouse,
        times: CommitterTimes,
    ) -> None:
        self._times = times
        self._reader = reader
        self._writer = writer
        self._warehouse = warehouse

    async def offsets(self, source: str, name: str) -> ChannelOffsets | None:
        """None if there is no such channel.

        Whether committed rows are queryable is asked of the warehouse, for some batches at a time.
        """
        found = await asyncio.to_thread(self._reader.channel, source, name)
        if found is None:
            return None
        if found[2] < found[1]:
            await self._look(source, name)
            found = await asyncio.to_thread(self._reader.channel, source, name) or found
        return ChannelOffsets(spooled=found[0], committed=found[1], queryable=found[2])

    async def until_queryable(self, source: str, name: str, offset: int) -> bool:
        """Wait until a channel is queryable below ``offset``; False if that takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._times.queryable_max_s
        while True:
            found = await self.offsets(source, name)
            if found is not None and found.queryable >= offset:
                return True
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(self._times.poll_s)

    async def _look(self, source: str, name: str) -> None:
        queues = {queue.id: queue for queue in await asyncio.to_thread(self._reader.queues)}
        for batch in await asyncio.to_thread(self._reader.carrying, source, name, LOOKS_MAX):
            datasource = queues[batch.queue].spec.datasource
            try:
                seen = await self._warehouse.queryable(datasource, batch.id, batch.rows)
                if not seen:
                    return
                number = batch.number
                await self._writer.record(
                    lambda spool, number=number: spool.channels.seen_queryable(number)  # type: ignore[misc]
                )
            except (WarehouseUnreachable, SpoolFailed):
                return
