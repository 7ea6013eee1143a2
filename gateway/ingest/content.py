"""The bytes of a batch as an attempt sends them: what was sealed, less its dead letters."""

from collections.abc import Iterator

from gateway.ingest.entries import BatchRecord, ChunkRecord, DeadLetter, Place
from gateway.ingest.reader import SpoolReader, lines_between


class BatchContent:
    """Implements `gateway.seams.BatchBytes`; the same bytes on every read of one attempt."""

    def __init__(self, reader: SpoolReader, batch: BatchRecord, letters: list[DeadLetter]) -> None:
        self._reader = reader
        self._batch = batch
        self._dead = sorted(letter.line for letter in letters if letter.line is not None)
        self.rows = batch.rows - len(letters)
        self.size_bytes = batch.size_bytes - sum(letter.sealed_bytes for letter in letters)

    def read(self, start: int = 0) -> Iterator[bytes]:
        """See `gateway.seams.BatchBytes`. Blocks on the disk."""
        pieces = self._reader.content(self._batch)
        for piece in without_lines(pieces, self._dead) if self._dead else pieces:
            if start < len(piece):
                yield piece[start:] if start > 0 else piece
            start -= len(piece)

    def sealed_line(self, line: int) -> int:
        """The 1-based line of the sealed batch that is line ``line`` of these bytes."""
        for dead in self._dead:
            if dead <= line:
                line += 1
        return line

    def line(self, line: int) -> bytes | None:
        """The bytes of a 1-based line of the sealed batch; None if there is no such line."""
        for piece in self._reader.content(self._batch):
            count = piece.count(b"\n")
            if line <= count:
                return piece.split(b"\n", line)[line - 1] + b"\n"
            line -= count
        return None

    def bytes_before(self, line: int) -> int:
        """Bytes of the sealed batch in its first ``line`` lines."""
        size = 0
        for piece in self._reader.content(self._batch):
            count = piece.count(b"\n")
            if line <= count:
                return size + len(lines_between(piece, 0, line))
            line -= count
            size += len(piece)
        return size


def place_of(batch: BatchRecord, chunks: list[ChunkRecord], line: int) -> Place | None:
    """Where the 1-based ``line`` of a sealed batch lies; ``chunks`` are those it lies in."""
    row = batch.first_row + line - 1
    for chunk in chunks:
        if row < chunk.rows:
            return Place(chunk.id, row)
        row -= chunk.rows
    return None


def without_lines(pieces: Iterator[bytes], dead: list[int]) -> Iterator[bytes]:
    """``pieces`` (whole lines) without the 1-based lines ``dead`` (ascending)."""
    before = 0
    for piece in pieces:
        count = piece.count(b"\n")
        gone = {line - before - 1 for line in dead if before < line <= before + count}
        before += count
        if gone:
            # Not splitlines: a carriage return ends no line here.
            lines = piece.split(b"\n")
            piece = b"\n".join(line for at, line in enumerate(lines) if at not in gone)
        yield piece
