"""NDJSON in blocks: whole lines as they are, with the number of each row's line.

Must never know: files and the gateway. Pure, but for the iterators that it is given.

Laws:
1. A row is a line; lines that hold nothing are no rows, and are left out.
2. Rows are numbered from 0 as the input has them, lines from 1.
3. Rows below ``skip`` are passed over by counting newlines, a chunk at a time.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.commands.failures import CommandFailed

LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""A line that is longer is no row of any gateway: it must not fill the memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Rows from ``first_row`` on, a line of JSON each; ``lines``: where each stood in the input."""

    data: bytes
    first_row: int
    lines: Sequence[int]

    @property
    def end_row(self) -> int:
        """The row after the last one."""
        return self.first_row + len(self.lines)


PutBlock = Callable[[Block], None]
"""May wait until there is room."""


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, cut anew behind newlines; a newline is put behind the last line."""
    rest, line = b"", 1
    is_first = True
    for chunk in chunks:
        rest, chunk = b"", rest + chunk
        if is_first and (chunk == _BYTE_ORDER_MARK or not _BYTE_ORDER_MARK.startswith(chunk)):
            chunk, is_first = chunk.removeprefix(_BYTE_ORDER_MARK), False
        end = chunk.rfind(b"\n") + 1
        rest = chunk[end:]
        line += chunk.count(b"\n")
        if len(rest) > LINE_LIMIT_BYTES:
            raise CommandFailed(
                f"line {line} of the input is longer than {LINE_LIMIT_BYTES} bytes: is it NDJSON, "
                "or CSV with --format csv?"
            )
        if end:
            yield chunk[:end]
    if rest:
        yield rest + b"\n"


def put_ndjson(chunks: Iterable[bytes], skip: int, put: PutBlock) -> int:
    """Hand on all rows from ``skip`` on; returns how many rows the input has."""
    row, line = 0, 1
    for data in whole_lines(chunks):
        count = data.count(b"\n")
        lines: Sequence[int] = range(line, line + count)
        line += count
        if _has_empty_line(data):
            data, lines = _without_empty_lines(data, lines)
        passed = min(max(skip - row, 0), len(lines))
        row += passed
        if passed == len(lines):
            continue
        put(Block(data[_start_of(data, passed) :] if passed else data, row, lines[passed:]))
        row += len(lines) - passed
    return row


def _start_of(data: bytes, line: int) -> int:
    """Where the line with this number, from 0, begins."""
    at = 0
    for _ in range(line):
        at = data.index(b"\n", at) + 1
    return at


def _has_empty_line(data: bytes) -> bool:
    return data.startswith((b"\n", b"\r\n")) or b"\n\n" in data or b"\n\r\n" in data


def _without_empty_lines(data: bytes, lines: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    kept = array("Q")
    parts: list[bytes] = []
    for number, text in zip(lines, data.split(b"\n"), strict=False):
        if text not in (b"", b"\r"):
            kept.append(number)
            parts.append(text + b"\n")
    return b"".join(parts), kept
