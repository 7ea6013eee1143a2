"""One request over HTTP/1.1 whose body is sent in chunks while the response is read."""

import http.client
import socket
from types import TracebackType
from typing import Self

DEADLINE_S = 15.0


class ChunkedRequest:
    """A POST on a connection of its own. ``address`` is (host, port)."""

    def __init__(
        self, address: tuple[str, int], path: str, headers: dict[str, str] | None = None
    ) -> None:
        self.socket = socket.create_connection(address, DEADLINE_S)
        given = {"Host": f"{address[0]}:{address[1]}", "Transfer-Encoding": "chunked"}
        lines = [f"{name}: {value}" for name, value in (given | (headers or {})).items()]
        self.socket.sendall("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """One chunk."""
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """The last chunk."""
        self.socket.sendall(b"0\r\n\r\n")

    @property
    def response(self) -> http.client.HTTPResponse:
        """The response, once its headers are there."""
        if self._response is None:
            self._response = http.client.HTTPResponse(self.socket, method="POST")
            self._response.begin()
        return self._response
