"""What the spool holds, as values: chunks, batches, queues, stretches of channels, dead letters."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.ingest.batches import BatchState
from gateway.seams import InsertSpec
from protocol.errors import RowRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """A chunk without its bytes."""

    id: int
    queue: int
    rows: int
    size_bytes: int
    arrival_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A sealed range of a queue. ``rows`` and ``size_bytes`` are those of the sealing.

    It begins at row ``first_row`` of its first chunk and ends before row ``end_row`` of its last
    (None: with the chunk): only the halves of a batch that was bisected begin or end inside one.
    ``root`` is the number of the batch that they are halves of.
    """

    number: int
    id: str
    queue: int
    first_chunk: int
    last_chunk: int
    rows: int
    size_bytes: int
    state: BatchState
    attempt: int
    sealed_ms: int = 0
    commit_seq: int | None = None
    error: str | None = None
    first_row: int = 0
    end_row: int | None = None
    root: int | None = None

    @property
    def task_id(self) -> str:
        """The warehouse's handle of the current attempt: the batch id itself for the first."""
        return self.id if self.attempt == 1 else f"{self.id}-a{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """Rows of ``source`` that are inserted under one specification."""

    id: int
    source: str
    spec: InsertSpec


@dataclass(frozen=True, slots=True)
class Place:
    """A row on disk: 0-based row ``row`` of chunk ``chunk``."""

    chunk: int
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Rows of a channel in a chunk: ``rows`` from ``at_row`` on, at ``first_offset`` and up."""

    queue: int
    chunk: int
    at_row: int
    rows: int
    first_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedBatch:
    """A committed batch that nobody saw queryable; ``rows`` are those in the warehouse."""

    number: int
    id: str
    queue: int
    rows: int


class LetterState(StrEnum):
    """What has become of a dead letter."""

    OPEN = "open"
    RETRIED = "retried"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A row that cannot be stored.

    ``line`` is its 1-based place in the sealed ``batch``; both None where the row was refused
    before it was spooled. ``sealed_bytes`` is what it takes there. ``raw`` is empty once the letter
    was decided on; ``spooled`` says that it is the row as it was spooled, and not as it was sent
    or mended.
    """

    queue: int
    code: str
    message: str
    at_ms: int
    raw: bytes
    id: int = 0
    batch: int | None = None
    line: int | None = None
    channel: str | None = None
    offset: int | None = None
    tasks: int = 0
    state: LetterState = LetterState.OPEN
    sealed_bytes: int = 0
    spooled: bool = True

    @property
    def verdict(self) -> RowRejected:
        """What whoever sent the row is told, also when it is sent again."""
        if self.code.isdecimal():
            return RowRejected(self.message, int(self.code))
        # The warehouse's own words for it are no number.
        return RowRejected(f"Error in processing inserts. {self.code}: {self.message}", 50000)
