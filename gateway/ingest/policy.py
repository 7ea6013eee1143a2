"""When rows become a batch: by count, by size, by age. Pure: time is an argument.

Per queue it keeps the chunks that are in no batch yet, oldest first. A queue is due when its chunks
reach a limit or its oldest chunk its age. `take` gives a prefix that stays within the limits (one
chunk always fits), so batches grow by themselves up to the limits while the warehouse is busy, and
shrink back to what has gathered within the age when it is not.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.ingest.entries import ChunkRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch is full, and how long a row waits for it at the most."""

    rows_max: int
    bytes_max: int
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A prefix of a queue's chunks, to be sealed."""

    queue: int
    first_chunk: int
    last_chunk: int
    rows: int
    size_bytes: int
    oldest_at: float = 0.0
    """when its first chunk was spooled"""


@dataclass(slots=True)
class _Gathering:
    chunks: deque[tuple[ChunkRecord, float]] = field(default_factory=deque)
    rows: int = 0
    size_bytes: int = 0


class BatchPolicy:
    """Gathers chunks per queue and says which queue is due."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._hurries = False
        self._queues: dict[int, _Gathering] = {}

    @property
    def rows(self) -> int:
        """Rows in no batch yet."""
        return sum(gathering.rows for gathering in self._queues.values())

    def hurry(self) -> None:
        """Rows wait for nothing any more: whatever there is becomes a batch."""
        self._hurries = True
        self._limits = replace(self._limits, age_s=0.0)

    def relimit(self, limits: BatchLimits) -> None:
        """Other limits from now on, for rows that wait already too."""
        self._limits = replace(limits, age_s=0.0) if self._hurries else limits

    def add(self, chunk: ChunkRecord, now: float) -> None:
        """A chunk was spooled at ``now``."""
        gathering = self._queues.setdefault(chunk.queue, _Gathering())
        gathering.chunks.append((chunk, now))
        gathering.rows += chunk.rows
        gathering.size_bytes += chunk.size_bytes

    def due(self, now: float) -> list[int]:
        """Queues that should be sealed now, the one that waits longest first."""
        waiting = [
            (gathering.chunks[0][1], queue)
            for queue, gathering in self._queues.items()
            if self._is_full(gathering) or gathering.chunks[0][1] + self._limits.age_s <= now
        ]
        return [queue for _, queue in sorted(waiting)]

    def due_at(self) -> float | None:
        """When the next queue reaches its age; None if nothing waits."""
        oldest = self.oldest_at()
        return None if oldest is None else oldest + self._limits.age_s

    def oldest_at(self) -> float | None:
        """When the oldest row was spooled that is in no batch; None if nothing waits."""
        return min((gathering.chunks[0][1] for gathering in self._queues.values()), default=None)

    def take(self, queue: int) -> Range:
        """Take a prefix of the queue's chunks, within the limits, at least one chunk."""
        gathering = self._queues[queue]
        oldest_at = gathering.chunks[0][1]
        taken = list(self._prefix(gathering))
        for chunk in taken:
            gathering.chunks.popleft()
            gathering.rows -= chunk.rows
            gathering.size_bytes -= chunk.size_bytes
        if not gathering.chunks:
            del self._queues[queue]
        return Range(
            queue=queue,
            first_chunk=taken[0].id,
            last_chunk=taken[-1].id,
            rows=sum(chunk.rows for chunk in taken),
            size_bytes=sum(chunk.size_bytes for chunk in taken),
            oldest_at=oldest_at,
        )

    def _prefix(self, gathering: _Gathering) -> Iterable[ChunkRecord]:
        rows = size_bytes = 0
        for chunk, _ in gathering.chunks:
            rows += chunk.rows
            size_bytes += chunk.size_bytes
            over = rows > self._limits.rows_max or size_bytes > self._limits.bytes_max
            if over and rows > chunk.rows:
                return
            yield chunk

    def _is_full(self, gathering: _Gathering) -> bool:
        return (
            gathering.rows >= self._limits.rows_max
            or gathering.size_bytes >= self._limits.bytes_max
        )
