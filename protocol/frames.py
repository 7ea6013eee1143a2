"""The DATA frame walk: a connection's inbound bytes → merged DATA payloads and all other frames.

HTTP/2 costs are per frame: a general implementation spends about 10 µs on a DATA frame that holds
one row. Plain DATA frames need nothing of it, so they are walked here in bulk: the payloads of one
read are merged per stream, and every other frame comes out whole, for the general implementation.

Laws:
1. What comes out does not depend on how the bytes were cut.
2. Order holds within a stream, and between a stream's DATA and every other frame.
3. It keeps no payload: a DATA frame of any length passes through in the pieces it arrives in. Other
   frames are kept until they are whole, and refused from their header alone if they are too long.

Source: RFC 9113 §4.1 (frame header), §6.1 (DATA, padding), §3.4 (preface).
"""

from dataclasses import dataclass
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
END_STREAM = 0x1
PADDED = 0x8

_header = Struct(">IBI").unpack_from
_STREAM_MASK = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class DataChunk:
    """DATA of one stream: ``payload`` without padding; ``flow_bytes`` count towards its windows.

    ``frames`` frames ended in it; ``ended``: END_STREAM was on the last of them.
    """

    stream_id: int
    payload: bytes
    flow_bytes: int
    frames: int
    ended: bool


@dataclass(frozen=True, slots=True)
class OtherFrame:
    """A whole frame of another type, header and all (or the preface)."""

    raw: bytes

    @property
    def kind(self) -> int:
        """The frame type; the preface counts as 0x50, which no frame has."""
        return self.raw[3] if not self.raw.startswith(b"PRI") else 0x50


class FrameTooLong(Exception):
    """A frame other than DATA announces more than the limit: the connection cannot go on."""


class BadPadding(Exception):
    """Padding that is not shorter than its frame: the connection cannot go on."""


class _Collected:
    """DATA of one stream gathered in one read."""

    __slots__ = ("ended", "flow_bytes", "frames", "slices")

    def __init__(self) -> None:
        self.slices: list[bytes] = []
        self.flow_bytes = 0
        self.frames = 0
        self.ended = False


class FrameWalk:
    """Walks what a client sends, from the preface on."""

    def __init__(self, *, frame_limit_bytes: int, expects_preface: bool = True) -> None:
        self._frame_limit_bytes = frame_limit_bytes
        self._expects_preface = expects_preface
        self._kept = b""
        self._collected: dict[int, _Collected] = {}
        self._out: list[DataChunk | OtherFrame] = []
        # A DATA frame whose payload has not arrived in full:
        self._stream_id = 0
        self._payload_left = 0
        self._padding_left = 0
        self._ends = False

    @property
    def waits(self) -> bool:
        """Whether it holds an unfinished frame (header, or a frame that is not DATA)."""
        return bool(self._kept)

    def feed(self, data: bytes) -> list[DataChunk | OtherFrame]:
        """Take bytes; return what they complete. Raises `FrameTooLong`, `BadPadding`."""
        at = 0
        if self._kept:
            data = self._kept + data
            self._kept = b""
        elif self._payload_left or self._padding_left:
            at = self._continue_data(data, 0)
        at = self._walk(data, at)
        self._kept = data[at:]
        self._flush()
        out, self._out = self._out, []
        return out

    def _walk(self, data: bytes, at: int) -> int:
        """Walk whole headers from ``at``; return where what must be kept begins."""
        end = len(data)
        if self._expects_preface:
            if end < len(PREFACE):
                return 0
            self._expects_preface = False
            self._out.append(OtherFrame(data[: len(PREFACE)]))
            at = len(PREFACE)
        current, collected = -1, None
        while at + HEADER_BYTES <= end:
            head, flags, stream_id = _header(data, at)
            stop = at + HEADER_BYTES + (head >> 8)
            if head & 0xFF or flags or stop > end:
                # Not a plain DATA frame that is here in full.
                resumed = self._exceptional(data, at, head, flags, stream_id & _STREAM_MASK)
                current = -1
                if resumed is None:
                    return at
                at = resumed
                continue
            if stream_id != current or collected is None:
                current = stream_id
                collected = self._collected_of(stream_id & _STREAM_MASK)
            collected.slices.append(data[at + HEADER_BYTES : stop])
            collected.frames += 1
            at = stop
        return at

    def _exceptional(
        self, data: bytes, at: int, head: int, flags: int, stream_id: int
    ) -> int | None:
        """Any other frame; returns where it ends, None to wait for more of it."""
        length = head >> 8
        stop = at + HEADER_BYTES + length
        if head & 0xFF == 0:
            return self._begin_data(data, at, length, flags, stream_id)
        if length > self._frame_limit_bytes:
            raise FrameTooLong(f"a frame of type {head & 0xFF} announces {length} bytes")
        if stop > len(data):
            return None
        self._flush()
        self._out.append(OtherFrame(data[at:stop]))
        return stop

    def _begin_data(
        self, data: bytes, at: int, length: int, flags: int, stream_id: int
    ) -> int | None:
        payload_at = at + HEADER_BYTES
        padding = 0
        if flags & PADDED:
            if length == 0:
                raise BadPadding("a padded frame without a pad length")
            if payload_at >= len(data):
                return None
            padding = data[payload_at]
            if padding >= length:
                raise BadPadding(f"{padding} bytes of padding in a frame of {length}")
            payload_at += 1
            self._collected_of(stream_id).flow_bytes += 1
        self._stream_id = stream_id
        self._payload_left = length - padding - (1 if flags & PADDED else 0)
        self._padding_left = padding
        self._ends = bool(flags & END_STREAM)
        return self._continue_data(data, payload_at)

    def _continue_data(self, data: bytes, at: int) -> int:
        """Take what is there of the frame's payload and padding; returns where that ends."""
        collected = self._collected_of(self._stream_id)
        payload = data[at : at + self._payload_left]
        if payload:
            collected.slices.append(payload)
            self._payload_left -= len(payload)
            at += len(payload)
        padding = min(self._padding_left, len(data) - at) if not self._payload_left else 0
        self._padding_left -= padding
        collected.flow_bytes += padding
        at += padding
        if not self._payload_left and not self._padding_left:
            collected.frames += 1
            collected.ended = collected.ended or self._ends
        return at

    def _collected_of(self, stream_id: int) -> _Collected:
        collected = self._collected.get(stream_id)
        if collected is None:
            collected = self._collected[stream_id] = _Collected()
        elif collected.ended:
            # More DATA after END_STREAM is an error that must stay visible: a chunk of its own.
            self._flush()
            collected = self._collected[stream_id] = _Collected()
        return collected

    def _flush(self) -> None:
        if not self._collected:
            return
        for stream_id, collected in self._collected.items():
            payload = b"".join(collected.slices)
            self._out.append(
                DataChunk(
                    stream_id,
                    payload,
                    collected.flow_bytes + len(payload),
                    collected.frames,
                    collected.ended,
                )
            )
        self._collected.clear()
