"""Rows of a load do not depend on how their bytes came: NDJSON, CSV, members of gzip files."""

import contextlib
import csv
import gzip
import io
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.commands.failures import CommandFailed, WrongUsage
from gateway.commands.load import blocks, records
from gateway.commands.load.blocks import Block, put_ndjson
from gateway.commands.load.chunks import Input
from gateway.commands.load.records import CsvForm, put_csv
from protocol.types import Base, Column, SqlType

MARK = b"\xef\xbb\xbf"
STRINGS = (Column("A", SqlType(Base.STRING)), Column("B", SqlType(Base.STRING)))

cuts = st.lists(st.integers(0, 200), max_size=8)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    """The same bytes in chunks, none of them empty, as `Input.chunks` has them."""
    ends = sorted({min(each, len(data)) for each in at} | {len(data)})
    starts = [0, *ends[:-1]]
    return [data[a:b] for a, b in zip(starts, ends, strict=True) if a < b]


def ndjson(chunks: list[bytes], skip: int = 0) -> tuple[list[tuple[int, int, bytes]], int]:
    """Row number, line number and text of each row; and how many rows there are."""
    return _rows(*_gathered(lambda put: put_ndjson(chunks, skip, put)))


def read_csv(
    chunks: list[bytes], form: CsvForm, skip: int = 0
) -> tuple[list[tuple[int, int, Any]], int]:
    """The same with each row as its JSON value."""
    rows, count = _rows(*_gathered(lambda put: put_csv(chunks, form, skip, put)))
    return [(row, line, orjson.loads(text)) for row, line, text in rows], count


def _gathered(produce: Any) -> tuple[list[Block], int]:
    found: list[Block] = []
    return found, produce(found.append)


def _rows(found: list[Block], count: int) -> tuple[list[tuple[int, int, bytes]], int]:
    rows = []
    expected = found[0].first_row if found else 0
    for block in found:
        assert block.first_row == expected, "blocks follow one another"
        texts = block.data.split(b"\n")
        assert texts.pop() == b""
        assert len(texts) == len(block.lines) > 0
        numbers = range(block.first_row, block.end_row)
        rows += list(zip(numbers, block.lines, texts, strict=True))
        expected = block.end_row
    return rows, count


# ── NDJSON ───────────────────────────────────────────────────────────────────────────────────

texts = st.lists(st.sampled_from([b"", b"\r", b"{}", b'{"A":1}\r', b"nonsense", b" "]), max_size=12)


@given(texts, st.booleans(), st.booleans(), cuts, st.integers(0, 14))
@example([b"{}"], False, True, [1], 0)
@example([b"", b"{}"], False, True, [1, 2, 3, 4], 0)
def test_rows_and_their_lines_are_those_of_the_input_however_it_is_cut(
    lines: list[bytes], ends: bool, marked: bool, at: list[int], skip: int
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    held = [(n, t) for n, t in enumerate(data.split(b"\n"), 1) if t not in (b"", b"\r")]
    wanted = [(row, line, text) for row, (line, text) in enumerate(held) if row >= skip]
    found, count = ndjson(cut((MARK if marked else b"") + data, at), skip)
    assert found == wanted
    assert count == len(held)


def test_a_line_over_the_limit_is_told_by_its_number_and_nothing_of_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "LINE_LIMIT_BYTES", 100)

    def endless() -> Iterator[bytes]:
        yield b"{}\n\n"
        while True:
            yield b"x" * 30

    with pytest.raises(CommandFailed, match=r"line 3 of the input is longer than 100 bytes"):
        put_ndjson(endless(), 0, lambda _: None)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────

fields = st.text(st.sampled_from('ab",;\n\r \té€𝄞\x00'), max_size=5)
tables = st.lists(st.tuples(fields, fields), max_size=8)


def csv_text(rows: Sequence[Sequence[str]], line_end: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


@given(
    tables, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(), cuts, st.integers(0, 9)
)
@example([("a\r\nb", '"'), ("", "")], "\r\n", True, False, [1, 5, 9, 10, 11, 12], 0)
def test_records_are_those_of_the_input_however_it_is_cut(
    rows: list[tuple[str, str]], line_end: str, marked: bool, ends: bool, at: list[int], skip: int
) -> None:
    data = csv_text([("A", "b"), *rows], line_end)
    if not ends:
        data = data.removesuffix(line_end.encode())
    wanted, line = [], 2
    for number, (a, b) in enumerate(rows):
        if number >= skip:
            wanted.append((number, line, {"A": a, "B": b}))
        line += 1 + (a + b).count("\n")
    form = CsvForm(columns=STRINGS)
    found, count = read_csv(cut((MARK if marked else b"") + data, at), form, skip)
    assert found == wanted
    assert count == len(rows)


@given(st.lists(st.integers(1, 4), max_size=12), cuts, st.integers(1, 5))
def test_records_of_a_wrong_width_keep_their_place_and_blocks_their_size(
    widths: list[int], at: list[int], block_rows: int
) -> None:
    data = b"".join(b",".join([b"x"] * width) + b"\n" for width in widths)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(records, "BLOCK_ROWS", block_rows)
        form = CsvForm(columns=STRINGS, header=("A", "B"))
        found, count = read_csv(cut(data, at), form)
    right = {"A": "x", "B": "x"}
    wanted = [right if width == 2 else ["x"] * width for width in widths]
    assert [value for _, _, value in found] == wanted
    assert [line for _, line, _ in found] == list(range(1, len(widths) + 1))
    assert count == len(widths)


WRONG_CSV = {
    "a quote that is never closed": (b'A,B\n1,2\n3,"x\ny', "line 4 is no CSV: unexpected end"),
    "text behind a quote": (b'A,B\n1,2\n"x"y,2\n', "line 3 is no CSV"),
    "no UTF-8": (b"A,B\n1,2\n3,\xff\n", "line 3 is not UTF-8"),
    "a cut UTF-8 character": (b"A,B\n1,\xc3", "line 2 is not UTF-8"),
    "no UTF-8 in a quoted line": (b'A,B\n"1\n\n\xff",2\n', "line 4 is not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG_CSV)
def test_what_is_no_csv_is_told_by_its_line(name: str) -> None:
    data, said = WRONG_CSV[name]
    for at in ([], list(range(len(data)))):
        with pytest.raises(CommandFailed) as failed:
            read_csv(cut(data, at), CsvForm(columns=STRINGS))
        assert str(failed.value).startswith(said)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", MARK, b"A,B", b"A,B\r\n", b"\nA,B\n"])
def test_without_a_record_behind_the_header_there_is_no_row(data: bytes) -> None:
    assert read_csv(cut(data, [1, 2]), CsvForm(columns=STRINGS)) == ([], 0)


def test_a_header_of_blanks_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match="names a column ``"):
        read_csv([b"A,\n1,2\n"], CsvForm(columns=STRINGS))


# ── gzip ─────────────────────────────────────────────────────────────────────────────────────


def through_a_pipe(data: bytes, at: Sequence[int]) -> bytes:
    """What `Input` makes of bytes that come in these pieces."""
    reader, writer = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb", buffering=0) as pipe:
            for chunk in cut(data, at):
                pipe.write(chunk)

    feeding = threading.Thread(target=feed)
    feeding.start()
    source = Input(f"/dev/fd/{reader}")
    os.close(reader)
    try:
        return b"".join(source.chunks())
    finally:
        source.close()
        feeding.join()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), cuts, st.integers(0, 20))
def test_gzip_members_are_one_input_however_they_are_cut(
    members: list[bytes], at: list[int], padding: int
) -> None:
    packed = b"".join(gzip.compress(each) for each in members) + b"\0" * padding
    assert through_a_pipe(packed, at) == b"".join(members)


@given(st.binary(max_size=300), cuts)
def test_what_is_no_gzip_is_read_as_it_is(data: bytes, at: list[int]) -> None:
    if not data.startswith(b"\x1f\x8b"):
        assert through_a_pipe(data, at) == data


@given(st.binary(min_size=50, max_size=300), st.data(), cuts)
def test_gzip_that_is_cut_short_is_told_wherever_it_is_cut(
    data: bytes, draw: st.DataObject, at: list[int]
) -> None:
    packed = gzip.compress(data) + gzip.compress(b"more")
    first = len(gzip.compress(data))
    kept = draw.draw(st.integers(2, len(packed) - 1).filter(lambda size: size != first))
    with pytest.raises(CommandFailed, match=r"middle of its gzip data, at byte \d"):
        through_a_pipe(packed[:kept], at)


def test_damaged_gzip_says_where(tmp_path: Any) -> None:
    file = tmp_path / "rows.gz"
    packed = bytearray(gzip.compress(os.urandom(100_000)))
    packed[60_000] ^= 0xFF
    file.write_bytes(packed)
    source = Input(str(file))
    with pytest.raises(CommandFailed, match=rf"{file} is damaged behind byte [\d,]+"):
        list(source.chunks())
    source.close()
