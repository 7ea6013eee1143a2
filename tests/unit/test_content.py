"""The bytes of a batch less its dead letters, against a list of lines."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.batches import BatchState
from gateway.ingest.content import BatchContent, place_of, without_lines
from gateway.ingest.entries import BatchRecord, DeadLetter, Place
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from tests.ingest_house import SPEC

PIECES = [b"a\nbb\n", b"ccc\n", b"d\n\nee\n", b"\xff\xfe\n", b'{"f":\r1}\ng\n']
"""The carriage return is white space of JSON, not the end of a line."""
LINES = [line + b"\n" for line in b"".join(PIECES).split(b"\n")[:-1]]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpoolReader, BatchRecord]]:
    path: Path = tmp_path_factory.mktemp("content") / "spool.db"
    spool = SpoolFile(path)
    spool.begin()
    queue = spool.queue("S", SPEC).id
    other = spool.queue("T", SPEC).id
    chunks = []
    for piece in PIECES:
        chunks.append(spool.append(queue, piece, piece.count(b"\n"), 0).id)
        spool.append(other, b"not ours\n", 1, 0)
    size = sum(map(len, PIECES))
    spool.seal((chunks[0], chunks[-1]), queue, len(LINES), size, 0)
    spool.commit()
    reader = SpoolReader(path)
    (batch,) = reader.unfinished()
    assert batch.state is BatchState.SEALED
    yield reader, batch
    spool.close()


def letters(batch: BatchRecord, dead: set[int]) -> list[DeadLetter]:
    return [
        DeadLetter(
            queue=batch.queue,
            batch=batch.number,
            line=line,
            code="",
            message="",
            at_ms=0,
            sealed_bytes=len(LINES[line - 1]),
            raw=b"",
        )
        for line in sorted(dead, reverse=True)
    ]


@settings(deadline=None, max_examples=60)
@given(dead=st.sets(st.integers(1, len(LINES))))
def test_what_is_read_is_what_was_sealed_less_the_dead_letters(
    sealed: tuple[SpoolReader, BatchRecord], dead: set[int]
) -> None:
    reader, batch = sealed
    content = BatchContent(reader, batch, letters(batch, dead))
    alive = [line for number, line in enumerate(LINES, 1) if number not in dead]
    whole = b"".join(alive)
    assert b"".join(content.read()) == whole
    assert (content.rows, content.size_bytes) == (len(alive), len(whole))
    for start in range(len(whole) + 1):
        assert b"".join(content.read(start)) == whole[start:]
    kept = [number for number in range(1, len(LINES) + 1) if number not in dead]
    assert [content.sealed_line(line) for line in range(1, len(kept) + 1)] == kept


def test_a_line_of_the_sealed_batch_is_found_by_its_number(
    sealed: tuple[SpoolReader, BatchRecord],
) -> None:
    reader, batch = sealed
    content = BatchContent(reader, batch, letters(batch, {1, 4}))
    assert [content.line(line) for line in range(1, len(LINES) + 1)] == LINES
    assert content.line(len(LINES) + 1) is None


PLACES = [(at, row) for at, piece in enumerate(PIECES) for row in range(piece.count(b"\n"))]
"""Chunk and row of each line."""


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_half_has_its_rows_and_knows_where_they_lie(
    sealed: tuple[SpoolReader, BatchRecord], data: st.DataObject
) -> None:
    reader, batch = sealed
    chunks = reader.chunks(batch)
    start = data.draw(st.integers(0, len(LINES) - 1))
    end = data.draw(st.integers(start + 1, len(LINES)))
    ours = LINES[start:end]
    # As a cut leaves it: a range that begins behind a chunk's last row begins in that chunk.
    behind = data.draw(st.booleans()) and start > 0
    first, first_row = PLACES[start - 1 if behind else start]
    last, last_row = PLACES[end - 1]
    half = replace(
        batch,
        first_chunk=chunks[first].id,
        first_row=first_row + (1 if behind else 0),
        last_chunk=chunks[last].id,
        end_row=last_row + 1,
        rows=len(ours),
        size_bytes=len(b"".join(ours)),
        root=batch.number,
    )
    content = BatchContent(reader, half, [])
    assert b"".join(content.read()) == b"".join(ours)
    within = reader.chunks(half)
    for line, raw in enumerate(ours, 1):
        assert content.line(line) == raw
        assert content.bytes_before(line) == len(b"".join(ours[:line]))
        at, row = PLACES[start + line - 1]
        assert place_of(half, within, line) == Place(chunks[at].id, row)


rows = st.binary(max_size=5).map(lambda row: row.replace(b"\n", b"\r") + b"\n")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(rows, min_size=1, max_size=4), max_size=4), st.data())
def test_lines_go_by_their_newlines_alone(chunks: list[list[bytes]], data: st.DataObject) -> None:
    flat = [line for chunk in chunks for line in chunk]
    dead = data.draw(st.sets(st.integers(1, max(1, len(flat)))))
    left = b"".join(without_lines((b"".join(chunk) for chunk in chunks), sorted(dead)))
    assert left == b"".join(line for number, line in enumerate(flat, 1) if number not in dead)
