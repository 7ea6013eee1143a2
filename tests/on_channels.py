"""Streams on channels of an ingest house, and what is on its disk."""

import asyncio

from gateway.seams import AckLevel, ChannelClaim, IntakeStream, Source
from tests.fakes import RecordingSink
from tests.ingest_house import House, lines


async def on(
    made: House,
    name: str = "c",
    offset: int | None = None,
    level: AckLevel = AckLevel.COMMITTED,
    of: Source | None = None,
) -> tuple[IntakeStream, RecordingSink]:
    """A stream on a channel, which has heard of its duplicates."""
    opened = await made.stream(level, of, ChannelClaim(name=name, offset=offset))
    await asyncio.sleep(0)
    return opened


async def send(
    made: House, first: int, count: int, text: str = "x", name: str = "c"
) -> RecordingSink:
    """Rows that begin at offset ``first`` on a channel, on disk when this returns."""
    stream, sink = await on(made, name, first)
    assert (stream.next_offset, stream.duplicates) == (first, 0)
    raw = lines(first, count, text)
    stream.append(0, count, raw, len(raw))
    await made.changes.until(lambda: sink.spooled_bytes == len(raw))
    return sink


def where(made: House, name: str = "c", stream: str = "S") -> tuple[int, int, int] | None:
    """A channel's next offset, spooled, committed and seen queryable."""
    return made.reader.channel(stream, name)


def on_disk(made: House) -> bytes:
    """Every row that the spool holds."""
    return b"".join(made.reader.chunk_bytes(chunk.id) for chunk in made.reader.chunks_after(0, 99))
