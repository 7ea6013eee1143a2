"""Bytes of a file or a pipe as they come, decompressed where they are gzip.

Owns: the file. Must never know: what the bytes mean. It reads in a thread of its own and may block.

Laws:
1. What a live pipe has is handed on at once, however little it is.
2. A chunk has at most `CHUNK_BYTES`, however well the input was compressed.
"""

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator

from gateway.commands.failures import CommandFailed, WrongUsage

CHUNK_BYTES = 256 * 1024
STANDARD_INPUT = "-"

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
"""zlib's word for: a gzip header, and the largest window"""


class Input:
    """A file by its name, or standard input. ``read_bytes`` is how far it has been read."""

    def __init__(self, name: str) -> None:
        """Raises `WrongUsage` where there is no such file."""
        self.name = "standard input" if name == STANDARD_INPUT else name
        self.read_bytes = 0
        try:
            is_file = name != STANDARD_INPUT
            # The number itself and no buffered file: a thread that waits in it holds no lock.
            self._file = os.open(name, os.O_RDONLY | os.O_CLOEXEC) if is_file else os.dup(0)
            found = os.fstat(self._file)
        except OSError as error:
            raise WrongUsage(f"{self.name} cannot be read: {error.strerror}") from None
        if stat.S_ISDIR(found.st_mode):
            self.close()
            raise WrongUsage(f"{self.name} is a folder: name a file")
        self.size_bytes = found.st_size if stat.S_ISREG(found.st_mode) else None
        """None: nobody knows"""

    def close(self) -> None:
        """May be repeated."""
        if self._file >= 0:
            file, self._file = self._file, -1
            with contextlib.suppress(OSError):
                os.close(file)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, none of them empty. Raises `CommandFailed` where it cannot be read further."""
        raw = self._raw()
        head = b""
        while len(head) < len(_GZIP) and _GZIP.startswith(head) and (more := next(raw, b"")):
            head += more
        if head.startswith(_GZIP):
            yield from self._unzipped(head, raw)
        elif head:
            yield head
            yield from raw

    def _raw(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = os.read(self._file, CHUNK_BYTES)
            except OSError as error:
                raise CommandFailed(f"{self.name} cannot be read: {error.strerror}") from None
            if not chunk:
                return
            self.read_bytes += len(chunk)
            yield chunk

    def _unzipped(self, head: bytes, raw: Iterator[bytes]) -> Iterator[bytes]:
        """A gzip file may be several, one behind the other (RFC 1952 §2.2)."""
        member = zlib.decompressobj(_GZIP_WINDOW)
        waiting = head
        while waiting or (waiting := next(raw, b"")):
            if member.eof:
                # What pads the last block of a tape is no member.
                waiting = waiting.lstrip(b"\0")
                if not waiting:
                    continue
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                # What is empty asks for the rest of what was taken before.
                while chunk := member.decompress(waiting, CHUNK_BYTES):
                    yield chunk
                    waiting = member.unconsumed_tail
            except zlib.error as error:
                begins = self.read_bytes - len(waiting)
                raise CommandFailed(
                    f"{self.name} is damaged behind byte {begins:,}, and nothing after it can be "
                    f"read: {error}"
                ) from None
            waiting = member.unused_data
        if not member.eof:
            raise CommandFailed(
                f"{self.name} ends in the middle of its gzip data, at byte {self.read_bytes:,}: "
                "is it whole?"
            )
