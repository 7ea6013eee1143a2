"""CSV records as blocks of NDJSON, with the types that the stream's columns have.

Owns: which field goes into which column. Must never know: files and the gateway.

Laws:
1. A row is a record; a record of no fields (an empty line) is no row.
2. Where a chunk of the input ends, the records so far are handed on: a live pipe is never held up.
3. A record of too few or too many fields takes its place among the rows all the same, as a JSON
   array that the gateway refuses: rows keep their numbers on a channel.
"""

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from gateway.commands.failures import CommandFailed, WrongUsage
from gateway.commands.load.blocks import LINE_LIMIT_BYTES, Block, PutBlock, whole_lines
from gateway.commands.load.values import Convert, converter
from protocol.types import Column, NameTextError, fold, quote

BLOCK_ROWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvForm:
    """How the text is to be read. ``header``: the columns' names, None if the first record is them.

    ``null``: see `values.converter`.
    """

    columns: Sequence[Column] = ()
    """the stream's"""
    header: Sequence[str] | None = None
    delimiter: str = ","
    null: str | None = None


def put_csv(chunks: Iterable[bytes], form: CsvForm, skip: int, put: PutBlock) -> int:
    """Hand on all rows from ``skip`` on; returns how many rows the input has."""
    return _Records(chunks, form, put).run(skip)


@dataclass
class _Gathered:
    """Records that wait to become a block."""

    first_row: int = 0
    records: list[list[str]] = field(default_factory=list)
    lines: "array[int]" = field(default_factory=lambda: array("Q"))


class _Records:
    def __init__(self, chunks: Iterable[bytes], form: CsvForm, put: PutBlock) -> None:
        csv.field_size_limit(LINE_LIMIT_BYTES)
        self._form = form
        self._put = put
        self._gathered = _Gathered()
        self._rows: _Rows | None = None
        self._reader = csv.reader(self._lines(chunks), delimiter=form.delimiter, strict=True)

    def run(self, skip: int) -> int:
        try:
            header = self._form.header or next(filter(None, self._reader), None)
            if header is None:
                return 0
            self._rows = _Rows(header, self._form)
            passed = sum(1 for _ in islice(filter(None, self._reader), skip))
            self._gathered.first_row = passed
            self._gather()
        except csv.Error as error:
            raise CommandFailed(f"line {self._reader.line_num} is no CSV: {error}") from None
        return self._gathered.first_row

    def _gather(self) -> None:
        reader = self._reader
        line = reader.line_num
        for record in reader:
            if record:
                gathered = self._gathered
                gathered.records.append(record)
                gathered.lines.append(line + 1)
                if len(gathered.records) >= BLOCK_ROWS:
                    self._hand_on()
            line = reader.line_num
        self._hand_on()

    def _hand_on(self) -> None:
        gathered = self._gathered
        if gathered.records:
            assert self._rows is not None
            data = self._rows.lines_of(gathered.records)
            block = Block(data, gathered.first_row, gathered.lines)
            self._gathered = _Gathered(block.end_row)
            self._put(block)

    def _lines(self, chunks: Iterable[bytes]) -> Iterator[str]:
        for data in whole_lines(chunks):
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                line = self._reader.line_num + data.count(b"\n", 0, error.start) + 1
                raise CommandFailed(f"line {line} is not UTF-8: {error.reason}") from None
            yield from io.StringIO(text, newline="\n")
            self._hand_on()


class _Rows:
    """Records to lines of JSON, a column at a time."""

    def __init__(self, header: Sequence[str], form: CsvForm) -> None:
        columns = [_column(name, form.columns) for name in header]
        twice = {column.name for column in columns if columns.count(column) > 1}
        if twice:
            raise WrongUsage(f"the header names {', '.join(sorted(twice))} more than once")
        self._width = len(columns)
        self._convert: list[Convert] = [converter(each.type, form.null) for each in columns]
        names = [(f"f{place}", Any) for place in range(self._width)]
        spelt = {f"f{place}": _key(each.name) for place, each in enumerate(columns)}
        # A struct is made and written several times faster than a dict.
        self._make: Any = msgspec.defstruct("Row", names, rename=spelt, gc=False)
        self._encoder = msgspec.json.Encoder()

    def lines_of(self, records: list[list[str]]) -> bytes:
        """A line for each."""
        if set(map(len, records)) != {self._width}:
            return b"".join(map(self._line_of, records))
        texts = zip(*records, strict=True)
        values = [convert(each) for convert, each in zip(self._convert, texts, strict=True)]
        return self._encoder.encode_lines(list(map(self._make, *values)))

    def _line_of(self, record: list[str]) -> bytes:
        if len(record) != self._width:
            return self._encoder.encode(record) + b"\n"
        values = [convert((text,))[0] for convert, text in zip(self._convert, record, strict=True)]
        return self._encoder.encode(self._make(*values)) + b"\n"


def _column(name: str, columns: Sequence[Column]) -> Column:
    """The stream's column that a header names: as it is spelt, else as ksqlDB reads it."""
    text = name.strip()
    for spelt in (text, _folded(text)):
        for column in columns:
            if column.name == spelt:
                return column
    known = ", ".join(column.name for column in columns)
    raise WrongUsage(
        f"the header names a column `{text}`, and the stream has {known}: "
        "name the file's columns with --columns"
    )


def _folded(text: str) -> str:
    try:
        return fold(text)
    except NameTextError:
        return text


def _key(name: str) -> str:
    """The key of a JSON row that names this column."""
    return name if _folded(name) == name else quote(name)
