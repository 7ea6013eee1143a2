"""Framing: cutting lines on the way in; delimited and JSON-array writing on the way out.

The third framing, v1+json, wraps what it carries: see `protocol.streamed_rows`.

Laws:
1. The lines that come out do not depend on how the bytes were cut.
2. What is kept of an unfinished line is bounded; a longer line is refused, not buffered.
3. After an end no byte leaves, and what was written in JSON framing is a valid array.

An output *frame* is the content of one HTTP/2 DATA frame. In delimited framing each line is a
frame of its own, because two of ksqlDB's clients parse frames and not lines; where the client asks
for coalesced frames, and in JSON framing, what is ready is packed into one.

Media types and their negotiation: ksqlDB API, "Streaming"; facts in the protocol notes §1.3.
"""

import contextlib
from collections.abc import Iterable
from enum import StrEnum

DELIMITED = "application/vnd.ksqlapi.delimited.v1"
JSON = "application/json"
V1_JSON = "application/vnd.ksql.v1+json"


class LineBuffer:
    """Cuts a stream of bytes into blocks of whole lines."""

    def __init__(self, line_limit_bytes: int) -> None:
        self._limit_bytes = line_limit_bytes
        # One piece, not a list of them: a byte at a time, each would take forty.
        self._tail = bytearray()
        self._dropping = False

    @property
    def unfinished(self) -> bytes:
        """What has come of a line whose newline has not."""
        return bytes(self._tail)

    @property
    def unfinished_bytes(self) -> int:
        """How long `unfinished` is."""
        return len(self._tail)

    def feed(self, data: bytes) -> bytes:
        """Add ``data``; return all lines it finishes as one block, b"" if none.

        The caller asks `over_limit` afterwards; where it is true, it stops feeding or calls
        `drop_line`.
        """
        if self._dropping:
            data = data[self._end_of_dropped(data) :]
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._tail += data
            return b""
        block = b"".join((self._tail, data[:cut])) if self._tail else data[:cut]
        self._tail.clear()
        self._tail += data[cut:]
        return block

    def over_limit(self) -> bool:
        """Whether the unfinished line is over the limit already."""
        return len(self._tail) > self._limit_bytes

    def drop_line(self) -> bytes:
        """Pass over the unfinished line: the rest of it is dropped as it comes, up to its newline.

        Returns how it starts, as much of it as the limit allows.
        """
        start = bytes(self._tail[: self._limit_bytes])
        self._tail.clear()
        self._dropping = True
        return start

    def finish(self) -> bytes:
        """The body has ended: a last line without newline counts as a line."""
        rest = self.unfinished
        self._tail.clear()
        self._dropping = False
        return rest + b"\n" if rest else b""

    def _end_of_dropped(self, data: bytes) -> int:
        end = data.find(b"\n") + 1
        self._dropping = not end
        return end or len(data)


class Framing(StrEnum):
    """How a response body is framed; the value is its media type."""

    DELIMITED = DELIMITED
    JSON = JSON
    V1_JSON = V1_JSON


QUERY_STREAM_FRAMINGS = (Framing.DELIMITED, Framing.JSON, Framing.V1_JSON)
QUERY_FRAMINGS = (Framing.DELIMITED, Framing.V1_JSON, Framing.JSON)
INSERTS_FRAMINGS = (Framing.DELIMITED, Framing.JSON)
DOCUMENT_TYPES = (Framing.V1_JSON, Framing.JSON)
"""What the endpoints that answer one document may be asked for; they answer JSON in any case."""


def negotiate_query(accept: str | None) -> Framing | None:
    """The framing of ``/query``: v1+json for plain JSON and by default, delimited for ``*/*``."""
    if accept is None or not accept.strip():
        return Framing.V1_JSON
    found = negotiate(accept, QUERY_FRAMINGS)
    return Framing.V1_JSON if found is Framing.JSON else found


def negotiate(accept: str | None, offered: tuple[Framing, ...]) -> Framing | None:
    """The framing that ``Accept`` asks for, the first offered if it is absent; None: nothing fits.

    User types are tried by quality, then by how concrete they are and whether they have
    parameters, which otherwise mean nothing; ``q=0`` excludes nothing (ksqlDB's behaviour).
    """
    if accept is None or not accept.strip():
        return offered[0]
    for wanted in _by_preference(accept):
        for framing in offered:
            if _matches(wanted, framing.value):
                return framing
    return None


def _by_preference(accept: str) -> list[str]:
    ranked: list[tuple[float, int, str]] = []
    for position, item in enumerate(accept.split(",")):
        name, *parameters = (part.strip() for part in item.split(";"))
        kind, _, subtype = name.lower().partition("/")
        concrete = (kind not in ("", "*")) + 2 * (subtype not in ("", "*"))
        quality, others = _quality(parameters)
        rank = 1000 * quality + 10 * concrete + min(2, others)
        ranked.append((-rank, position, name.lower()))
    return [name for _, _, name in sorted(ranked)]


def _quality(parameters: list[str]) -> tuple[float, int]:
    """The quality, 1 unless it is given and a number; how many other parameters there are."""
    quality, others = 1.0, 0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() != "q":
            others += 1
            continue
        with contextlib.suppress(ValueError):
            quality = min(1.0, max(0.0, float(value)))
    return quality, others


def _matches(wanted: str, offered: str) -> bool:
    if wanted in ("*/*", "*"):
        return True
    kind, _, subtype = wanted.partition("/")
    return wanted == offered or (subtype == "*" and offered.startswith(f"{kind}/"))


class LineWriter:
    """Writes documents (compact JSON without newline) as frames of a body.

    ``coalesced`` packs what is written together into one frame; JSON framing always does.
    """

    def __init__(self, framing: Framing, *, coalesced: bool) -> None:
        assert framing is not Framing.V1_JSON, "protocol.streamed_rows writes it"
        self._json = framing is Framing.JSON
        self._coalesced = coalesced or self._json
        self._opened = False
        self._ended = False

    def write(self, documents: Iterable[bytes]) -> list[bytes]:
        """Frames that hold ``documents``, in order."""
        assert not self._ended, "nothing leaves after the end"
        if self._json:
            return self._array_part(documents)
        lines = [document + b"\n" for document in documents]
        if self._coalesced and lines:
            return [b"".join(lines)]
        return lines

    def write_lines(self, raw: bytes) -> list[bytes]:
        """Frames that hold ``raw``: documents that each end in a newline already."""
        assert not self._ended, "nothing leaves after the end"
        if self._json:
            return self._array_bytes(raw[:-1].replace(b"\n", b","))
        if self._coalesced:
            return [raw] if raw else []
        return raw.splitlines(keepends=True)

    def end(self) -> list[bytes]:
        """What closes the body; afterwards nothing may be written."""
        assert not self._ended, "a body ends once"
        self._ended = True
        if not self._json:
            return []
        return [b"]" if self._opened else b"[]"]

    def _array_part(self, documents: Iterable[bytes]) -> list[bytes]:
        return self._array_bytes(b",".join(documents))

    def _array_bytes(self, joined: bytes) -> list[bytes]:
        if not joined:
            return []
        start = b"," if self._opened else b"["
        self._opened = True
        return [start + joined]


_ACK_LINE = b'{"status":"ok","seq":%d}\n'
_DUPLICATE_LINE = b'{"status":"ok","seq":%d,"duplicate":true}\n'
_ACK_BLOCK = 1024
_ACK_TEMPLATE = _ACK_LINE * _ACK_BLOCK
_DUPLICATE_TEMPLATE = _DUPLICATE_LINE * _ACK_BLOCK


def ack_lines(first: int, end: int, duplicates: int = 0) -> bytes:
    """Ack lines of rows ``[first, end)``, each ``{"status":"ok","seq":n}`` and a newline.

    Those of rows below ``duplicates`` say in addition ``"duplicate":true``.
    """
    middle = min(max(first, duplicates), end)
    again = _lines(_DUPLICATE_LINE, _DUPLICATE_TEMPLATE, first, middle)
    return again + _lines(_ACK_LINE, _ACK_TEMPLATE, middle, end)


def _lines(line: bytes, template: bytes, first: int, end: int) -> bytes:
    parts: list[bytes] = []
    while end - first >= _ACK_BLOCK:
        parts.append(template % tuple(range(first, first + _ACK_BLOCK)))
        first += _ACK_BLOCK
    if first < end:
        parts.append((line * (end - first)) % tuple(range(first, end)))
    return b"".join(parts)
