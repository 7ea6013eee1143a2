"""Draining: new streams are refused, open ones are told and get their last acks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.http.inserts import InsertSession
from protocol.errors import RowRejected
from protocol.inserts import State

STOPPING = "The server is shutting down: rows from this one on were not taken, send them again"


class OpenStreams:
    """Insert streams that are open now."""

    def __init__(self) -> None:
        self.draining = False
        self._sessions: set[InsertSession] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        return len(self._sessions)

    @contextmanager
    def opened(self, session: InsertSession) -> Iterator[None]:
        """The session is open for the length of the ``with``."""
        self._sessions.add(session)
        self._quiet.clear()
        if self.draining:
            _stop(session)
        try:
            yield
        finally:
            self._sessions.discard(session)
            if not self._sessions:
                self._quiet.set()

    async def drain(self, deadline_s: float) -> bool:
        """Stop every stream; True once all have ended, False if some had not by the deadline."""
        self.draining = True
        for session in list(self._sessions):
            _stop(session)
        try:
            async with asyncio.timeout(deadline_s):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True


def _stop(session: InsertSession) -> None:
    if session.stream.state in (State.OPEN, State.DRAINING, State.FAILING):
        session.stop(RowRejected(STOPPING, 50303))
