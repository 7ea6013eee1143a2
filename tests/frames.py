"""HTTP/2 frames as bytes, for the test peer: built as ordered, right or wrong, and read back.

Pure. Source: RFC 9113 §4.1 (header), §6 (types and flags).
"""

import itertools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Flag, IntEnum, auto

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Identifiers of settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Credit(Flag):
    """Which windows are opened again for what is read."""

    WITHHELD = 0
    STREAM = auto()
    CONNECTION = auto()
    GIVEN = STREAM | CONNECTION


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came; ``kind`` may be a type that nobody knows."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    def __str__(self) -> str:
        name = Kind(self.kind).name if self.kind in list(Kind) else f"type {self.kind}"
        shown = self.payload[:60]
        return f"{name} f={self.flags:#x} #{self.stream_id} {len(self.payload)}B {shown!r}"

    @classmethod
    def decode(cls, raw: bytes | bytearray) -> "Frame | None":
        """The frame that ``raw`` starts with; None if it is not all there."""
        if len(raw) < 9:
            return None
        head, flags, stream_id = struct.unpack_from(">IBI", raw)
        size = head >> 8
        if len(raw) < 9 + size:
            return None
        return cls(head & 0xFF, flags, stream_id & 0x7FFFFFFF, bytes(raw[9 : 9 + size]))

    def content(self) -> bytes:
        """The payload of DATA or HEADERS without its padding."""
        if not self.flags & PADDED:
            return self.payload
        return self.payload[1 : len(self.payload) - self.payload[0]]


def encode_frame(
    kind: int, flags: int, stream_id: int, payload: bytes = b"", *, length: int | None = None
) -> bytes:
    """A frame; ``length`` may lie about the payload."""
    size = len(payload) if length is None else length
    return struct.pack(">IBI", size << 8 | kind, flags, stream_id) + payload


def data_frame(
    stream_id: int, payload: bytes, *, end: bool = False, padding: int | None = None
) -> bytes:
    """A DATA frame; ``padding`` bytes of padding (0 to 255), None for an unpadded one."""
    flags = END_STREAM if end else 0
    if padding is not None:
        flags |= PADDED
        payload = bytes([padding]) + payload + bytes(padding)
    return encode_frame(Kind.DATA, flags, stream_id, payload)


def pieces_of(data: bytes, sizes: int | Iterable[int]) -> list[bytes]:
    """``data`` cut into pieces of these sizes, which are repeated as long as needed."""
    pieces: list[bytes] = []
    at = 0
    for size in itertools.cycle([sizes] if isinstance(sizes, int) else sizes):
        if at >= len(data):
            break
        pieces.append(data[at : at + size])
        at += size
    return pieces
