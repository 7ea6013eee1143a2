"""What waits for the operator: rows that could not be stored, batches that cannot go on."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A row that could not be stored, and why.

    ``raw`` is one line without its newline: as the client sent it, or as it was spooled.
    ``channel`` and ``offset`` where the row came on a channel; ``batch`` and ``line`` (1-based, in
    the sealed batch) where a batch had been made of it. ``tasks``: how many were run to find it.
    ``state`` is ``open``, ``retried`` or ``dropped``.
    """

    id: int
    stream: str
    channel: str | None
    offset: int | None
    batch: str | None
    line: int | None
    code: str
    message: str
    at_ms: int
    state: str
    tasks: int
    raw: bytes


class DeadLetters(Protocol):
    """Rows that could not be stored: looked at, mended, driven again or given up."""

    async def find(
        self,
        *,
        stream: str | None = None,
        channel: str | None = None,
        state: str = "open",
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetterView]:
        """Those that match, by id, after ``after_id``; ``state`` may also be ``all``."""

    async def get(self, letter_id: int) -> DeadLetterView | None:
        """One of them."""

    async def edit(self, letter_id: int, raw: bytes) -> DeadLetterView:
        """Put another row in its place. Raises `protocol.errors.KsqlError` if it is none that the
        stream takes, or if the letter is not open."""

    async def retry(self, letter_id: int) -> None:
        """Spool the row again, in one transaction with the letter's end. Raises
        `protocol.errors.KsqlError` if the stream does not take it, or if it is not open."""

    async def drop(self, letter_id: int) -> None:
        """Give the row up. Raises `protocol.errors.KsqlError` if it is not open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch that is not final, or that waits for the operator (``HELD``, ``FAILED``)."""

    id: str
    task_id: str
    stream: str
    datasource: str
    state: str
    attempt: int
    rows: int
    size_bytes: int
    sealed_ms: int
    error: str | None


class Batches(Protocol):
    """Batches on their way, and the operator's say over those that cannot go on."""

    async def all(self) -> list[BatchView]:
        """Every batch that is not committed, in the order of sealing."""

    async def retry(self, batch_id: str) -> None:
        """Try a HELD or FAILED batch again, under the next attempt's task id. Raises
        `protocol.errors.KsqlError` if there is no such batch, or if rows of it are there."""

    async def accept(self, batch_id: str) -> None:
        """Take a HELD or FAILED batch for committed: the operator has seen its rows."""

    async def drop(self, batch_id: str) -> None:
        """Give a HELD or FAILED batch up: its rows go to the dead letters. Raises as `retry`."""
