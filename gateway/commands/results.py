"""A query's rows as text: a table on a terminal, else tab-separated lines, CSV or JSON lines.

Must never know: where the text goes (`outlet`).
Law: what clients sent never reaches a terminal as control characters (`gateway.commands.output`).
"""

import csv
import io
import sys
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import orjson
from rich.cells import cell_len, set_cell_size

from gateway.commands.output import plain
from protocol.types import Base, Column

Form = Literal["table", "tabs", "csv", "json"]
Rows = Sequence[Sequence[Any]]

COLUMN_MAX = 60
"""cells of a table's column at the most, where the terminal is wide enough for no more"""
GAP = "  "
NULL = "null"

_RIGHT = frozenset({Base.INTEGER, Base.BIGINT, Base.DOUBLE, Base.DECIMAL})


class Printer(Protocol):
    """Makes UTF-8 text of a result, a part at a time; a part may be empty."""

    def begin(self) -> bytes:
        """What stands before the rows."""

    def rows(self, rows: Rows) -> bytes:
        """Some rows, at least one. A table takes its columns' widths from the first ones."""

    def end(self) -> bytes:
        """There are no more; a table that had none shows its header."""


def printer(form: Form, columns: Sequence[Column]) -> Printer:
    """One for a result."""
    match form:
        case "json":
            return _JsonLines(columns)
        case "csv":
            return _Csv(columns)
        case "tabs":
            return _Tabs()
    return _Table(columns)


def form_of(*, as_json: bool, as_csv: bool) -> Form:
    """What was asked for, or what fits where the output goes."""
    if as_json or as_csv:
        return "json" if as_json else "csv"
    return "table" if sys.stdout.isatty() else "tabs"


def text_of(value: object) -> str:
    """A value as a text: JSON's for what is no string."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


class _Lines:
    """What has nothing to say but rows."""

    def begin(self) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class _JsonLines(_Lines):
    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]

    def rows(self, rows: Rows) -> bytes:
        names = self._names
        lines = [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]
        return b"\n".join(lines) + b"\n"


class _Csv(_Lines):
    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]

    def begin(self) -> bytes:
        return self.rows([self._names])

    def rows(self, rows: Rows) -> bytes:
        text = io.StringIO()
        fields = [["" if v is None else text_of(v) for v in row] for row in rows]
        csv.writer(text, lineterminator="\n").writerows(fields)
        return text.getvalue().encode()


class _Tabs(_Lines):
    def rows(self, rows: Rows) -> bytes:
        lines = ["\t".join("" if v is None else plain(text_of(v)) for v in row) for row in rows]
        return _text(lines)


class _Table:
    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths: list[int] = []

    def begin(self) -> bytes:
        return b""

    def rows(self, rows: Rows) -> bytes:
        texts = [[NULL if v is None else plain(text_of(v)) for v in row] for row in rows]
        head = [] if self._widths else self._head(texts)
        return _text([*head, *map(self._line, texts)])

    def end(self) -> bytes:
        return b"" if self._widths else self.rows([])

    def _head(self, texts: list[list[str]]) -> list[str]:
        names = [plain(column.name) for column in self._columns]
        needed = [max(map(cell_len, cells)) for cells in zip(names, *texts, strict=True)]
        self._widths = [min(COLUMN_MAX, max(1, width)) for width in needed]
        return [self._line(names), GAP.join("─" * width for width in self._widths)]

    def _line(self, cells: Sequence[str]) -> str:
        fitted = map(self._fitted, cells, self._widths, self._columns)
        return GAP.join(fitted).rstrip()

    def _fitted(self, cell: str, width: int, column: Column) -> str:
        space = width - cell_len(cell)
        if space < 0:
            return set_cell_size(cell, width - 1) + "…" if width > 1 else cell
        return " " * space + cell if column.type.base in _RIGHT else cell + " " * space


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
