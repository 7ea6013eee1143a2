"""The bytes of a batch as an attempt sends them: what was sealed, less its dead letters."""

from collections.abc import Iterator

from gateway.ingest.spool import BatchRecord, DeadLetter, SpoolReader


class BatchContent:
    """Implements `gateway.seams.BatchBytes`; the same bytes on every read of one attempt."""

    def __init__(self, reader: SpoolReader, batch: BatchRecord, letters: list[DeadLetter]) -> None:
        self._reader = reader
        self._batch = batch
        self._dead = sorted(letter.line for letter in letters)
        self.rows = batch.rows - len(letters)
        self.size_bytes = batch.size_bytes - sum(len(letter.raw) for letter in letters)

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
