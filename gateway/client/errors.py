"""What can go wrong for a client, as one tree.

::

    ClientError
    ├── KsqlResponseError     the server answered with a status other than 200
    │   └── ResumeRefused     a push query cannot go on where it was: its token is too old, …
    ├── RowRefused            one row of an open insert was refused; the rows before it are acked
    ├── ChannelTaken          another client inserts on this channel: this one ends
    ├── QueryFailed           a query broke off after its header
    ├── AnswerBroken          the answer breaks the protocol: acks out of order, half a line
    │   └── AnswerCut         the answer ended before its end, and gave no reason
    ├── StreamReset           the server reset the stream (RST_STREAM)
    ├── RequestCancelled      this side gave the request up
    ├── TlsFailed             a certificate that is not trusted, or no HTTP/2 behind the TLS
    └── ConnectionLost        the connection is gone; what was unacked is unknown
        ├── GoneAway          the server is leaving and never saw this request: safe to repeat
        └── ReconnectFailed   it could not be taken up again in time; says what is unacked

No message holds a credential, nor the userinfo of a URL.
"""


class ClientError(Exception):
    """Base of everything that this client raises by itself."""


class KsqlResponseError(ClientError):
    """A status other than 200, with ksqlDB's error body.

    ``code`` is ksqlDB's ``error_code``; where the body holds none it is ``status * 100``.
    ``retry_after_s`` is what the server asks to wait before the next try, None where it says
    nothing of it; it does so with 429, and perhaps with 503.
    """

    def __init__(
        self, status: int, code: int, message: str, retry_after_s: float | None = None
    ) -> None:
        wait = "" if retry_after_s is None else f", retry after {retry_after_s:g} s"
        super().__init__(f"{message} (status {status}, code {code}{wait})")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class ResumeRefused(KsqlResponseError):
    """A push query was interrupted and the server does not let it go on where it was.

    ``rows`` is how many rows had been handed out: all of them, and each once.
    """

    def __init__(self, status: int, code: int, message: str, rows: int) -> None:
        super().__init__(status, code, f"after {rows} rows the query cannot go on: {message}")
        self.rows = rows


class RowRefused(ClientError):
    """An ``InsertError`` line: row ``seq`` (from 0) was refused.

    Raised where the insert is over with it; in `AckBatch.refused` where it goes on.
    """

    def __init__(self, seq: int, message: str, code: int) -> None:
        super().__init__(f"row {seq} was refused: {message} (code {code})")
        self.seq = seq
        self.message = message
        self.code = code


class ChannelTaken(ClientError):
    """Another client inserts on the channel: two would take it from one another for ever.

    The rows from ``seq`` on have no verdict.
    """

    def __init__(self, seq: int, message: str) -> None:
        super().__init__(f"{message}. Rows from {seq} on are without a verdict.")
        self.seq = seq


class QueryFailed(ClientError):
    """An error object among the rows of a query: the rows before it are not the whole answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message


class AnswerBroken(ClientError):
    """The server's answer is not what the protocol allows."""


class AnswerCut(AnswerBroken):
    """The answer ended in good form, but before its end."""


class StreamReset(ClientError):
    """The server reset the stream; ``code`` is the HTTP/2 error code (RFC 9113 §7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream (HTTP/2 error code {code})")
        self.code = code


class RequestCancelled(ClientError):
    """This side cancelled the request; nobody else is to blame."""


class TlsFailed(ClientError):
    """TLS does not come about: trying again will not help, the settings must be changed."""


class ConnectionLost(ClientError):
    """The connection could not be made, broke, or was ended by a protocol error."""


class GoneAway(ConnectionLost):
    """The server takes no new request on this connection (GOAWAY): this one was never looked at."""


class ReconnectFailed(ConnectionLost):
    """An insert or a query could not be taken up again within ``reconnect_max_s``.

    The failure of the last try is its ``__cause__``.
    """
