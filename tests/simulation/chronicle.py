"""What happened in one seed, line by line, and what must not have.

Owns the trace, its hash and the list of violations. Must never know who writes into it. The hash
covers every line but the gateway's own log, which is only shown: a log line that is reworded must
not change what a seed is known by.
"""

import hashlib
from collections.abc import Callable


class Chronicle:
    """The trace of a seed. ``echo`` gets each line as it is written; None: nobody looks."""

    def __init__(self, echo: Callable[[str], None] | None = None) -> None:
        self.now: Callable[[], float] = lambda: 0.0
        self.violations: list[str] = []
        self._echo = echo
        self._hash = hashlib.blake2b(digest_size=12)

    @property
    def is_shown(self) -> bool:
        """Whether somebody looks at the trace."""
        return self._echo is not None

    def note(self, text: str) -> None:
        """Something happened."""
        line = f"{self.now():10.4f} {text}"
        self._hash.update(line.encode())
        if self._echo is not None:
            self._echo(line)

    def log(self, text: str) -> None:
        """The gateway logged something."""
        if self._echo is not None:
            self._echo(f"{self.now():10.4f}     log: {text}")

    def wrong(self, text: str) -> None:
        """Something happened that must not."""
        self.violations.append(f"at {self.now():.4f}: {text}")
        self.note(f"VIOLATION {text}")

    def demand(self, holds: bool, text: str) -> None:
        """It is a violation if this does not hold."""
        if not holds:
            self.wrong(text)

    @property
    def digest(self) -> str:
        """The hash of the trace so far."""
        return self._hash.hexdigest()
