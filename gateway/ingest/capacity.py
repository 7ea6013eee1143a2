"""How much the spool may hold: bytes of rows, and how long rows may wait for their commit.

Back-pressure comes first: `full` says why no more rows are written now, and the intake holds them
back. Rows of committed batches count as long as retention keeps them.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Capacity:
    """The limits of the spool, and how far they are used.

    ``backlog_age_s`` tells how long the oldest row has waited that is not committed.
    """

    spool_bytes: int
    stall_s: float
    age_limit_s: float = float("inf")
    letters_limit_bytes: int = 1 << 30
    channels_max: int = 100_000
    backlog_age_s: Callable[[], float] = lambda: 0.0
    stored_bytes: int = 0

    def full(self) -> str | None:
        """Why no more rows are taken now; None: they are."""
        if self.stored_bytes >= self.spool_bytes:
            return (
                "The spool is full and the warehouse does not keep up: "
                f"{self.stored_bytes} of {self.spool_bytes} bytes (ingest.spool_limit_bytes). "
                "Try again later"
            )
        age_s = self.backlog_age_s()
        if age_s >= self.age_limit_s:
            return (
                f"The oldest row has waited {age_s:.0f} s for the warehouse, longer than "
                f"ingest.spool_age_limit_s ({self.age_limit_s:g}) allows. Try again later"
            )
        return None
