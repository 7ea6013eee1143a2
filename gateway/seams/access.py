"""Who may do what: the door of the access room, as routes and rooms see it.

A request shows `Credentials`; `Access.permit` turns them into a `Permit`, which is handed on to
whatever the request leads to. Rooms ask the permit, by the name of the stream or datasource that is
touched, where they know that name; they never see a credential.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

WAREHOUSE_SCHEMAS = frozenset({"sys", "lookup", "view", "ext", "INFORMATION_SCHEMA"})
"""Schemas of the warehouse that hold no datasource. Their tables tell of everybody's: rights are
asked for by ``schema.table``."""


class Right(StrEnum):
    """What a rule grants. None holds another: ``admin`` inserts nothing."""

    INSERT = "insert"
    """rows into a stream or datasource"""
    QUERY = "query"
    """pull and push queries over it, and DESCRIBE"""
    DEFINE = "define"
    """CREATE and DROP it; a declaration needs it for its datasource's name too"""
    ADMIN = "admin"
    """the admin port, and other principals' queries; it looks at no name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request shows of who it comes from.

    ``authorization`` is the header as it came, None if there is none. ``certificate`` is the DER of
    the client certificate that TLS has verified. ``peer`` is the address it comes from, for the
    audit log.
    """

    authorization: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request comes from. ``shown`` says by what: ``basic``, ``bearer``, ``jwt``,
    ``certificate``, or ``nothing``."""

    name: str
    shown: str


class Use(StrEnum):
    """What a principal may have only so many of at once."""

    INSERT_STREAM = "insert stream"
    PUSH_QUERY = "push query"


class Permit(Protocol):
    """What the principal of one request may do. Rules that change meanwhile hold for it at once."""

    principal: Principal

    def may(self, right: Right, name: str = "") -> bool:
        """Whether it may; says nothing to anybody, the audit log included.

        No more, once what it showed has expired or was taken back: a user or token that has left
        its file, a JSON Web Token or certificate past its time.
        """

    def require(self, right: Right, name: str = "") -> None:
        """Raises `protocol.errors.Forbidden`, which names the right and the name that it lacks.

        The audit log hears of that. Raises `protocol.errors.Unauthorized` where what the request
        showed has expired, or was taken back.
        """

    def record(self, action: str, name: str = "", *, outcome: str = "done") -> None:
        """Tell the audit log what was done: once for each thing, after `require` let it pass.

        ``action`` is a few fixed words (``insert``, ``query``, ``statement``, ``admin``), ``name``
        what it was done to: streams' and datasources' names, a query id, a route; never a text that
        a client sent whole, for statements may hold secrets. It never waits and never raises.
        """

    def using(self, use: Use) -> AbstractContextManager[None]:
        """One more of these, for the length of the ``with``.

        Raises `protocol.errors.TooManyRequests` (429, with ``retry_after_s``) on entry.
        """

    def took(self, rows: int, size_bytes: int, now: float) -> float:
        """Count rows that were taken; returns for how many seconds no more should be read.

        ``now`` is the event loop's clock. The rows themselves are never refused: the window of the
        stream closes meanwhile.
        """


class Access(Protocol):
    """The door of the access room."""

    async def permit(self, credentials: Credentials) -> Permit:
        """Who that is. Raises `protocol.errors.Unauthorized` (401, with its challenge)."""
