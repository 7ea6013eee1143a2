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

LAST_WORDS_S = 0.5
"""How long streams that were given up have to say so; one whose client does not read is cut off."""


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
        self._grace_over = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> list[InsertSession]:
        """Those that are open now."""
        return list(self._sessions)

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
        if self._grace_over:
            _abandon(session)
        try:
            yield
        finally:
            self._sessions.discard(session)
            if not self._sessions:
                self._quiet.set()

    async def drain(self, deadline_s: float) -> bool:
        """Stop every stream and wait for its last acks; at the deadline give up those still open.

        They are told where they stand. True if no stream had to be given up.
        """
        self.state = ServerState.STOPPING
        for session in list(self._sessions):
            _stop(session)
        if await self._quiet_within(deadline_s):
            return True
        self._grace_over = True
        for session in list(self._sessions):
            _abandon(session)
        await self._quiet_within(LAST_WORDS_S)
        return False

    async def _quiet_within(self, deadline_s: float) -> bool:
        try:
            async with asyncio.timeout(deadline_s):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True


_ADMITTED = (State.OPEN, State.DRAINING, State.FAILING)


def _stop(session: InsertSession) -> None:
    if session.stream.state in _ADMITTED:
        session.stop(RowRejected(STOPPING, 50303))


def _abandon(session: InsertSession) -> None:
    if session.stream.state in _ADMITTED:
        session.abandon(RowRejected(_where_it_stands(session), 50303))


def _where_it_stands(session: InsertSession) -> str:
    """What a client needs to know that was not told what became of its rows."""
    text = "The server is shutting down and does not wait for the acks from this row on. "
    if session.waiting_bytes:
        text += "Its disk has not taken all rows: those without an ack may be stored, or not."
    else:
        last = session.stream.rows - 1
        text += f"Rows up to {last} are on the gateway's disk and will be committed, "
        text += "do not send them again; later rows were not taken."
    if session.channel is not None:
        text += (
            f" Reconnect to channel '{session.channel}': the response header headrace-next-offset "
            "says which row is wanted next."
        )
    return text
