"""One request of a test peer: what it sends, what came back, and how long a test waits for it.

`send` is polite: it keeps to the server's windows, and reads while it waits for them. `send_frames`
sends what it is given. Every wait has a deadline. Knows the connection by its interface only.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.frames import Credit, Kind, data_frame, encode_frame, pieces_of

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
DEADLINE_S = 15.0

Headers = Sequence[tuple[str, str]]


class Stalled(AssertionError):
    """What was waited for did not come: by the deadline, or before the connection closed."""


class Violation(AssertionError):
    """The server broke the protocol."""


class WriteStalled(Stalled):
    """The server does not read: ``sent_bytes`` went out before the deadline."""

    def __init__(self, sent_bytes: int) -> None:
        super().__init__(f"the server took only {sent_bytes} bytes")
        self.sent_bytes = sent_bytes


class Connection(Protocol):
    """What a stream needs of its connection."""

    send_window: int

    @property
    def server_frame_max(self) -> int:
        """The largest frame that the server takes."""

    def write(self, raw: bytes) -> None:
        """Send bytes."""

    def write_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """Send a HEADERS frame."""

    def read_until(self, holds: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Read frames until it holds."""


@dataclass(eq=False)
class Stream:
    """One request and what has been read of its response."""

    peer: Connection
    id: int
    send_window: int
    """what the server lets us send; below 0 after a rude send"""
    receive_window: int
    """what we let the server send"""
    credit: Credit
    sent_bytes: int = 0
    """payload of the request that went out, without padding"""
    headers: dict[str, str] | None = None
    informational: list[dict[str, str]] = field(default_factory=list)
    trailers: dict[str, str] | None = None
    frames: list[bytes] = field(default_factory=list)
    """payloads of the response's DATA frames, in order"""
    newlines: int = 0
    """of all frames"""
    ended: bool = False
    reset_code: int | None = None
    was_reset: bool = False
    """by us: what is still on its way is let pass"""

    # ── what came ──

    def take(self, payload: bytes) -> None:
        """A DATA frame of the response has come."""
        self.frames.append(payload)
        self.newlines += payload.count(b"\n")

    @property
    def over(self) -> bool:
        """Whether nothing more comes: ended or reset by either side."""
        return self.ended or self.reset_code is not None or self.was_reset

    @property
    def status(self) -> int:
        """HTTP status of the response, whose headers have been read."""
        assert self.headers is not None, "no headers yet"
        return int(self.headers[":status"])

    @property
    def body(self) -> bytes:
        """Everything so far."""
        return b"".join(self.frames)

    @property
    def lines(self) -> list[bytes]:
        """Whole lines so far, without their newlines."""
        return self.body.split(b"\n")[:-1]

    def read_headers(self, deadline_s: float = DEADLINE_S) -> dict[str, str]:
        """Wait for the response's headers."""
        self.peer.read_until(
            lambda: self.headers is not None or self.over, deadline_s, f"headers of {self.id}"
        )
        assert self.headers is not None, f"stream {self.id} was over without headers: {self}"
        return self.headers

    def read_lines(self, count: int, deadline_s: float = DEADLINE_S) -> list[bytes]:
        """Wait for so many lines in all; the response may hold more already."""
        what = f"{count} lines of stream {self.id}"
        self.peer.read_until(lambda: self.newlines >= count or self.over, deadline_s, what)
        assert self.newlines >= count, f"stream {self.id} was over before {what}: {self.body!r}"
        return self.lines

    def read_to_end(self, deadline_s: float = DEADLINE_S) -> bytes:
        """Wait for END_STREAM; a reset is a failure."""
        self.peer.read_until(lambda: self.over, deadline_s, f"the end of stream {self.id}")
        assert self.ended, f"stream {self.id} was reset with code {self.reset_code}"
        return self.body

    # ── what goes out ──

    def send(
        self,
        data: bytes = b"",
        *,
        sizes: int | Iterable[int] = DEFAULT_FRAME,
        end: bool = False,
        deadline_s: float = DEADLINE_S,
    ) -> bool:
        """Send within the server's windows, in frames of ``sizes`` (repeated) at the most.

        Reads while it waits for a window. Stops, and returns False, once the response is over.
        """
        pieces = pieces_of(data, sizes)
        for number, piece in enumerate(pieces):
            while piece:
                room = self._room(deadline_s)
                if self.over:
                    return False
                now, piece = piece[:room], piece[room:]
                last = end and not piece and number == len(pieces) - 1
                self.send_frames([now], end=last)
        if end and not pieces:
            self.send_frames([b""], end=True)
        return True

    def send_frames(
        self, payloads: Iterable[bytes], *, end: bool = False, padding: int | None = None
    ) -> None:
        """Send these payloads as a DATA frame each, in one write, whatever the windows say."""
        payloads = list(payloads)
        last = len(payloads) - 1
        raw = [
            data_frame(self.id, payload, end=end and number == last, padding=padding)
            for number, payload in enumerate(payloads)
        ]
        counted = sum(len(frame) - 9 for frame in raw)
        self.sent_bytes += sum(map(len, payloads))
        self.send_window -= counted
        self.peer.send_window -= counted
        self.peer.write(b"".join(raw))

    def end(self) -> None:
        """End the request with an empty DATA frame."""
        self.send_frames([b""], end=True)

    def send_trailers(self, headers: Headers) -> None:
        """End the request with trailers."""
        self.peer.write_headers(self.id, headers, end=True)

    def reset(self, code: int = 8) -> None:
        """RST_STREAM, by default CANCEL."""
        self.was_reset = True
        self.peer.write(encode_frame(Kind.RST_STREAM, 0, self.id, struct.pack(">I", code)))

    def open_window(self, size_bytes: int) -> None:
        """WINDOW_UPDATE for this stream."""
        self.receive_window += size_bytes
        self.peer.write(encode_frame(Kind.WINDOW_UPDATE, 0, self.id, struct.pack(">I", size_bytes)))

    def _room(self, deadline_s: float) -> int:
        """How much may be sent now, after a wait for some room."""
        peer = self.peer
        peer.read_until(
            lambda: min(self.send_window, peer.send_window) > 0 or self.over,
            deadline_s,
            f"a window to send on {self.id}",
        )
        return max(0, min(self.send_window, peer.send_window, peer.server_frame_max))
