"""Where a push query stands: the newest token, and the rows that were handed out behind it.

Pure. Rows are handed out when they arrive, without waiting for the token that covers them. After a
loss the server goes on behind the newest token, so the rows that were handed out since come once
more: they are the first ones, for a log has one order, and are dropped.
"""


class QueryPlace:
    """Law: over all sessions every row is handed out once, in the order of the log."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.rows = 0
        """handed out so far"""
        self._ahead = 0
        """rows handed out behind the token"""
        self._to_drop = 0
        """of those, how many are still to come once more in this session"""

    @property
    def resumable(self) -> bool:
        """Whether a new session can go on: there is a token, or no row was handed out yet."""
        return self.token is not None or self.rows == 0

    def begin(self) -> None:
        """A session begins behind the token."""
        self._to_drop = self._ahead

    def row(self) -> bool:
        """A row came; whether it is to be handed out."""
        if self._to_drop:
            self._to_drop -= 1
            return False
        self._ahead += 1
        self.rows += 1
        return True

    def at(self, token: str) -> None:
        """The server's token for the place behind all rows of this session so far."""
        self.token = token
        self._ahead = self._to_drop
