"""A subscriber's mailbox: rows that wait for their reader, bounded in rows and bytes.

Law: what is in it never exceeds the limits, but for one part that came into an empty mailbox.
"""

from collections import deque
from dataclasses import dataclass

from gateway.query.places import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxLimits:
    """Rows and bytes that may wait."""

    rows: int
    size_bytes: int


class Mailbox:
    """First in, first out."""

    def __init__(self, limits: MailboxLimits) -> None:
        self._limits = limits
        self._parts: deque[Part] = deque()
        self.rows = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._parts)

    def put(self, part: Part) -> bool:
        """Add a part; False, and nothing is added, if it has no room."""
        rows = self.rows + part.lines.count
        size_bytes = self.size_bytes + len(part.lines.raw)
        limits = self._limits
        if self._parts and (rows > limits.rows or size_bytes > limits.size_bytes):
            return False
        self._parts.append(part)
        self.rows, self.size_bytes = rows, size_bytes
        return True

    def take(self) -> Part | None:
        """The oldest part; None if there is none."""
        if not self._parts:
            return None
        part = self._parts.popleft()
        self.rows -= part.lines.count
        self.size_bytes -= len(part.lines.raw)
        return part

    def clear(self) -> None:
        """Drop everything."""
        self._parts.clear()
        self.rows = self.size_bytes = 0
