"""Draining: new streams are refused, open ones are told and get their last acks.

The server's state lives here: it is what decides whether a request may begin.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from gateway.http.inserts import InsertSession
from protocol.errors import NotReady, RowRejected, ShutDown, ShuttingDown
from protocol.inserts import State

STOPPING = "The server is shutting down: rows from this one on were not taken, send them again"


class ServerState(StrEnum):
    """Whether requests are served; ksqlDB answers all but the first of these with 503."""

    RUNNING = "RUNNING"
    STARTING = "STARTING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class OpenStreams:
    """Insert streams that are open now, and the state that lets new ones in."""

    def __init__(self, state: ServerState = ServerState.RUNNING) -> None:
        self.state = state
        self._sessions: set[InsertSession] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self.state in (ServerState.STOPPING, ServerState.STOPPED)

    def require_running(self) -> None:
        """Raises `NotReady`, `ShuttingDown` or `ShutDown` where nothing new may begin."""
        match self.state:
            case ServerState.STARTING:
                raise NotReady
            case ServerState.STOPPING:
                raise ShuttingDown
            case ServerState.STOPPED:
                raise ShutDown

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
        self.state = ServerState.STOPPING
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
