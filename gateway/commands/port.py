"""The admin port as the commands see it: requests out, documents and lines of documents in.

Every request has a connection of its own. Errors are `gateway.commands.failures`, with the
gateway's own words where it gave some.
"""

import contextlib
import http.client
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from gateway.commands.failures import CommandFailed, NoGateway, Refused, TryLater, WrongUsage
from gateway.commands.who import NOBODY, Who, unknown_caller, without_userinfo

Document = dict[str, Any]

TIMEOUT_S = 60.0
ANSWER_MAX_BYTES = 64 << 20
PIECE_BYTES = 1 << 16

_REMEDY = (
    "start one with `headrace serve`, or say where its admin port is: --admin or HEADRACE_ADMIN"
)
_LATER = (429, 503)


class AdminPort:
    """The admin port at ``url`` (``http://host:port``). Raises `WrongUsage` for any other text.

    ``who`` is whose credentials it is shown.
    """

    def __init__(self, url: str, who: Who = NOBODY) -> None:
        self.url = url.rstrip("/")
        self._who = who
        try:
            parts = urlsplit(self.url)
            self._port = parts.port
        except ValueError as error:
            raise WrongUsage(f"{url} is no address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUsage(f"{url} is no address: it must look like http://127.0.0.1:8089")
        if parts.username is not None or parts.password is not None:
            shown = without_userinfo(self.url)
            raise WrongUsage(f"{shown}: credentials go with --user, and not into the URL")
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._path = parts.path

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Document | None = None,
    ) -> Any:
        """The one document that answers a request."""
        with self._answer(method, path, query, body) as answer:
            text = answer.read(ANSWER_MAX_BYTES + 1)
        if len(text) > ANSWER_MAX_BYTES:
            raise CommandFailed(f"the answer of {self.url} is longer than {ANSWER_MAX_BYTES} bytes")
        return self._document(text)

    def lines(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Document | None = None,
    ) -> Iterator[Document]:
        """The documents that answer a request, as they come. Raises where their end is missing."""
        with self._answer(method, path, query, body) as answer:
            rest = b""
            while piece := answer.read1(PIECE_BYTES):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield self._line(line)
        if rest:
            raise CommandFailed(f"{self.url} broke off in the middle of a line")

    def events(self, path: str) -> Iterator[tuple[str, bytes]]:
        """Server-sent events, name and data, until the gateway ends them; comments are passed over.

        Raises `CommandFailed` where their end is missing.
        """
        with self._answer("GET", path, None, None) as answer:
            rest = b""
            while piece := answer.read1(PIECE_BYTES):
                *whole, rest = (rest + piece).split(b"\n\n")
                for event in whole:
                    fields = dict(line.partition(b": ")[::2] for line in event.split(b"\n"))
                    if b"event" in fields:
                        yield fields[b"event"].decode(), fields.get(b"data", b"")

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, query: Mapping[str, object] | None, body: Document | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        with contextlib.closing(connection):
            answer = self._asked(connection, method, self._target(path, query), body)
            try:
                if answer.status >= 300:
                    raise self._refusal(answer.status, answer.read(ANSWER_MAX_BYTES))
                yield answer
            except (OSError, http.client.HTTPException) as error:
                raise CommandFailed(f"{self.url} broke off its answer: {_why(error)}") from None

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Document | None,
    ) -> http.client.HTTPResponse:
        raw = None if body is None else orjson.dumps(body)
        headers = {} if raw is None else {"Content-Type": "application/json"}
        if (authorization := self._who.authorization) is not None:
            headers["Authorization"] = authorization
        try:
            connection.request(method, target, raw, headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise NoGateway(
                f"the certificate of {self.url} is not trusted ({error.verify_message}): "
                "name its authority with --ca-file"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoGateway(
                f"no gateway answers at {self.url} ({_why(error)}): {_REMEDY}"
            ) from None

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_S, context=self._who.tls
        )

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._path + path + (f"?{urlencode(given)}" if given else "")

    def _line(self, line: bytes) -> Document:
        document = self._document(line)
        if not isinstance(document, dict) or "@type" in document:
            raise CommandFailed(f"{self.url} broke off: {_message(document)}")
        return document

    def _document(self, text: bytes) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise NoGateway(f"what answers at {self.url} is no gateway: {_REMEDY}") from None

    def _refusal(self, status: int, text: bytes) -> CommandFailed:
        document = self._document(text)
        message = _message(document)
        if status in _LATER:
            return TryLater(message)
        if status in (401, 403):
            return Refused(unknown_caller(status, message, self.url, self._who))
        if message.startswith("Path not found"):
            return Refused(f"{message} at {self.url}: is that the admin port of a gateway?")
        return Refused(message)


def _message(document: object) -> str:
    return str(document.get("message", document)) if isinstance(document, dict) else str(document)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
