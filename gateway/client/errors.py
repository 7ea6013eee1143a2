"""What can go wrong for a client, as one tree.

::

    ClientError
    ├── KsqlResponseError     the server answered with a status other than 200
    ├── RowRefused            one row of an open insert was refused; the rows before it are acked
    ├── QueryFailed           a query broke off after its header
    ├── AnswerBroken          the answer breaks the protocol: acks out of order, half a line
    ├── StreamReset           the server reset the stream (RST_STREAM)
    ├── RequestCancelled      this side gave the request up
    └── ConnectionLost        the connection is gone; what was unacked is unknown
        └── GoneAway          the server is leaving and never saw this request: safe to repeat
"""


class ClientError(Exception):
    """Base of everything that this client raises by itself."""


class KsqlResponseError(ClientError):
    """A status other than 200, with ksqlDB's error body.

    ``code`` is ksqlDB's ``error_code``; where the body holds none it is ``status * 100``.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{message} (status {status}, code {code})")
        self.status = status
        self.code = code
        self.message = message


class RowRefused(ClientError):
    """An ``InsertError`` line: row ``seq`` (from 0) was refused.

    Raised where the insert is over with it; in `AckBatch.refused` where it goes on.
    """

    def __init__(self, seq: int, message: str, code: int) -> None:
        super().__init__(f"row {seq} was refused: {message} (code {code})")
        self.seq = seq
        self.message = message
        self.code = code


class QueryFailed(ClientError):
    """An error object among the rows of a query: the rows before it are not the whole answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message


class AnswerBroken(ClientError):
    """The server's answer is not what the protocol allows."""


class StreamReset(ClientError):
    """The server reset the stream; ``code`` is the HTTP/2 error code (RFC 9113 §7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream (HTTP/2 error code {code})")
        self.code = code


class RequestCancelled(ClientError):
    """This side cancelled the request; nobody else is to blame."""


class ConnectionLost(ClientError):
    """The connection could not be made, broke, or was ended by a protocol error."""


class GoneAway(ConnectionLost):
    """The server takes no new request on this connection (GOAWAY): this one was never looked at."""
