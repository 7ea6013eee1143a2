"""Errors of ksqlDB's wire: one exception is one HTTP status, one code and one JSON body.

Every body is a JSON object with ``@type``, ``error_code`` and ``message``: real clients hang on
anything else. The HTTP status is the code divided by 100, as in ksqlDB's own mapping.

The tree::

    KsqlError
    ├── BadRequest            40000   malformed JSON, bad argument, unknown query id
    ├── BadStatement          40001   a statement that cannot be served; carries its text
    ├── QueryOnKsql           40002   SELECT or PRINT posted to /ksql
    ├── TooManyPushQueries    40003
    ├── Http2Required         40004
    ├── Unauthorized          40100   with the challenge that its response carries
    ├── Forbidden             40300
    ├── NotFound              40400
    ├── BodyTooLarge          41300
    ├── TooManyRequests       42900
    ├── InternalError         50000
    ├── WarehouseAway         50000   with HTTP status 503
    │   └── SpoolAway
    ├── NotReady              50302
    ├── ShuttingDown          50303
    └── ShutDown              50304

    RowRejected               not a reply: a row inside a stream that is open already
"""

from collections.abc import Iterable
from typing import Any, Self

import orjson


class KsqlError(Exception):
    """An error that ends a request with ``status`` and ``body()``."""

    code = 50000
    statement: str | None = None
    """the statement that it ended, where others of the same request were carried out before"""
    entities: tuple[dict[str, Any], ...] = ()
    """what those have given"""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status: ksqlDB's codes carry it in their first three digits."""
        return self.code // 100

    def document(self) -> dict[str, Any]:
        """The error as ksqlDB's ``generic_error``, or ``statement_error`` where it ended one of
        several statements; members in its order."""
        if self.statement is None:
            return {"@type": "generic_error", "error_code": self.code, "message": self.message}
        return {
            "@type": "statement_error",
            "error_code": self.code,
            "message": f"{self.message}\nStatement: {self.statement}",
            "statementText": self.statement,
            "entities": list(self.entities),
        }

    def within(self, statement: str, entities: Iterable[dict[str, Any]]) -> Self:
        """The same error, as it ended ``statement`` behind others that gave ``entities``.

        A copy: whoever waited for the same answer may have been given the same error.
        """
        told = self.__class__.__new__(self.__class__, *self.args)
        told.__dict__.update(self.__dict__, statement=statement, entities=tuple(entities))
        return told

    def body(self) -> bytes:
        """The error as compact JSON."""
        return orjson.dumps(self.document())


class BadRequest(KsqlError):
    """Malformed JSON, a missing or wrong argument, an unknown query id."""

    code = 40000


class BadStatement(KsqlError):
    """A statement that cannot be parsed, or that this gateway cannot serve."""

    code = 40001

    def __init__(
        self, message: str, statement: str, entities: tuple[dict[str, Any], ...] = ()
    ) -> None:
        super().__init__(message)
        self.statement: str = statement
        self.entities = entities


class QueryOnKsql(BadStatement):
    """A query or PRINT was posted to ``/ksql``, which serves statements only."""

    code = 40002


class TooManyPushQueries(KsqlError):
    """The configured number of live push queries is reached."""

    code = 40003


class Http2Required(KsqlError):
    """The endpoint is full duplex and needs HTTP/2."""

    code = 40004

    def __init__(self) -> None:
        super().__init__("This endpoint is only available when using HTTP2")


class Unauthorized(KsqlError):
    """No credentials, or none that are good. It never says which part of them was wrong.

    ``challenges`` are the values of ``WWW-Authenticate`` (RFC 9110 §11.6.1).
    """

    code = 40100

    def __init__(self, message: str, challenges: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.challenges = challenges


class Forbidden(KsqlError):
    """Known, and not allowed to do this; or it comes from where none may come from."""

    code = 40300


class NotFound(KsqlError):
    """Unknown path, or no acceptable type. A wrong method is 405 with 40500."""

    code = 40400


class BodyTooLarge(KsqlError):
    """A request body over the configured limit."""

    code = 41300


class TooManyRequests(KsqlError):
    """A limit on rate or room; the client may try again later, in about ``retry_after_s``."""

    code = 42900

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InternalError(KsqlError):
    """A fault of the gateway or the warehouse. The cause goes to the log, not to the client."""

    code = 50000

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "The server encountered an internal error when processing the query. "
            "Please consult the server logs for more information."
        )


class WarehouseAway(KsqlError):
    """The warehouse does not answer, and without it this cannot be served. Try again later.

    ksqlDB answers 503 with code 50000 when its own backend is away.
    """

    code = 50000

    @property
    def status(self) -> int:
        """503: the request may be right, and be answered later."""
        return 503


class SpoolAway(WarehouseAway):
    """The gateway's own disk takes no rows now. Try again later."""


class NotReady(KsqlError):
    """The server is starting."""

    code = 50302

    def __init__(self) -> None:
        super().__init__("KSQL is not yet ready to serve requests.")


class ShuttingDown(KsqlError):
    """The server is draining; open a new connection elsewhere or later."""

    code = 50303

    def __init__(self) -> None:
        super().__init__("The server is shutting down")


class ShutDown(KsqlError):
    """The server has drained and is about to close its last connections."""

    code = 50304

    def __init__(self) -> None:
        super().__init__("The server is shut down")


class RowRejected(Exception):
    """One row of an open insert stream cannot be taken.

    The 200 is out, so this never becomes a status: it becomes one ``InsertError`` line.
    """

    def __init__(self, message: str, code: int = 40000) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def insert_error_line(seq: int, rejected: RowRejected) -> bytes:
    """The line that names row ``seq`` as refused; exactly five members, in ksqlDB's order."""
    return orjson.dumps(
        {
            "@type": "InsertError",
            "status": "error",
            "seq": seq,
            "message": rejected.message,
            "error_code": rejected.code,
        }
    )
