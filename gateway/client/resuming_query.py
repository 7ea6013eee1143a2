"""A push query that survives its connections: sessions, each from where the one before it was.

Owns: the session that runs, the LIMIT over all of them, what is done when one breaks.
Must never know: which row comes next (`place`), when to try again (`attempts`).

A clean end on a connection that the server is leaving is its shutdown, not the query's end.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.client.attempts import Attempts
from gateway.client.errors import (
    AnswerBroken,
    ClientError,
    GoneAway,
    KsqlResponseError,
    ResumeRefused,
)
from gateway.client.exchanges import OpenStream
from gateway.client.lifetime import Lifetime, RowQueue
from gateway.client.place import QueryPlace
from gateway.client.queries import Query
from protocol.errors import BadStatement
from protocol.lexer import Kind, statements_of
from protocol.query_text import PushQueryText, classify
from protocol.types import Column

TOO_MANY_PUSH_QUERIES = 40003
"""After a loss the server may not know yet that the query before this one is gone."""


@dataclass(frozen=True, slots=True)
class PushText:
    """What a push query's text says of its end: None, no LIMIT."""

    limit: int | None


def push_text(sql: str) -> PushText | None:
    """None for a pull query, and for what is no query at all: the server will say so."""
    try:
        pieces = statements_of(sql)
        if len(pieces) != 1 or not isinstance(classify(pieces[0]), PushQueryText):
            return None
    except BadStatement:
        return None
    *_, word, count = (None, *pieces[0].tokens)
    limited = word is not None and word.says("LIMIT") and count is not None
    if limited and count is not None and count.kind is Kind.NUMBER and count.text.isdigit():
        return PushText(int(count.text))
    return PushText(None)


class ResumingQuery(Lifetime, RowQueue):
    """A running push query: iterate over it for its rows, each a list of JSON values.

    It is what `Query` is, and more: a lost connection or a gateway that is restarted do not end it;
    it asks to go on behind the last row, and hands out each row once. A LIMIT counts the rows of
    all its sessions. ``query_id`` is that of the session that runs.

    It ends with `ReconnectFailed` after ``reconnect_max_s``, and with `ResumeRefused` where the
    rows that were missed meanwhile are not retained any more.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        sql: str,
        properties: Mapping[str, Any],
        *,
        limit: int | None,
        reconnect_max_s: float | None,
    ) -> None:
        super().__init__()
        self._open_stream = open_stream
        self._sql = sql
        self._properties = properties
        self._limit = limit
        self._place = QueryPlace()
        self._tries = Attempts(reconnect_max_s)
        self._session: Query | None = None
        self._sessions = 0
        self._columns: tuple[Column, ...] | None = None
        self._query_id = ""
        self._handed_out = 0
        self._over = False

    # ── what is known of it ──

    @property
    def columns(self) -> tuple[Column, ...]:
        """The result's columns, in the order of each row's values."""
        if self._columns is None:
            raise RuntimeError("the query is not open yet: use `async with client.query(…) as q`")
        return self._columns

    @property
    def query_id(self) -> str:
        """What `Client.close_query` takes, as of now."""
        if self._columns is None:
            raise RuntimeError("the query is not open yet: use `async with client.query(…) as q`")
        return self._query_id

    @property
    def continuation_token(self) -> str | None:
        """The newest token that the server sent; rows may have come behind it."""
        return self._place.token

    @property
    def reconnects(self) -> int:
        """How often it was taken up again."""
        return max(0, self._sessions - 1)

    # ── its life ──

    async def _enter(self) -> None:
        while self._session is None:
            await self._try_open()

    async def aclose(self) -> None:
        """Give the query up; may be called twice."""
        self._over = True
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    # ── sessions ──

    async def _more(self) -> bool:
        """Wait for rows; False at the end of the query."""
        if self._over:
            return False
        try:
            rows = await self._next()
        except Exception:
            await self.aclose()
            raise
        if self._limit is not None:
            rows = list(itertools.islice(rows, self._limit - self._handed_out))
        self._handed_out += len(rows)
        self._waiting.extend(rows)
        if not rows or self._handed_out == self._limit:
            await self.aclose()
        return bool(rows)

    async def _next(self) -> list[list[Any]]:
        while True:
            if self._session is None:
                await self._try_open()
                continue
            session = self._session
            try:
                rows = await session.batch()
            except ClientError as failure:
                self._session = None
                self._failed(failure)
                continue
            if rows or not session.ended_by_leaving:
                self._tries.went_on()
                return rows
            self._session = None
            self._failed(GoneAway("the server ended the query as it goes away"))

    async def _try_open(self) -> None:
        """One try, when it is due. Raises what is final."""
        await self._tries.due()
        if self._columns is None:
            # Whatever a session counted that did not open was not handed out.
            self._place = QueryPlace()
        self._place.begin()
        session = Query(self._open_stream, self._sql, self._properties, self._place)
        try:
            await session.__aenter__()
        except ClientError as failure:
            self._failed(failure)
            return
        if self._columns is not None and session.columns != self._columns:
            await session.aclose()
            raise AnswerBroken("the columns of the query have changed since it was interrupted")
        self._session, self._columns = session, session.columns
        self._query_id = session.query_id
        self._sessions += 1
        self._tries.began()

    def _failed(self, failure: ClientError) -> None:
        """Plan the next session, or raise what is final."""
        is_open = self._columns is not None
        if is_open and self._place.token is None:
            # The server gives no tokens: nobody could say which rows were missed.
            raise failure
        if isinstance(failure, KsqlResponseError) and is_open:
            if failure.code == TOO_MANY_PUSH_QUERIES:
                failure = KsqlResponseError(429, failure.code, failure.message)
            elif failure.status == 400:
                raise ResumeRefused(
                    failure.status, failure.code, failure.message, self._handed_out
                ) from failure
        unfinished = f"{self._handed_out} rows were handed out; behind them is the token "
        self._tries.failed(failure, f"{unfinished}{self._place.token}" if is_open else "")
