"""What a command prints: a table on a terminal, tab-separated lines elsewhere, or JSON lines.

Law: what clients sent (a row, a channel's name) never reaches a terminal as control characters:
whatever cannot be printed is written as an escape.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.port import Document

_LONG = frozenset({"row", "message", "error"})
"""columns that are cut to what is left of the terminal's width"""
LONG_LEAST = 20
GAP = 2


def print_documents(
    documents: Iterable[Document], columns: Sequence[str], *, as_json: bool
) -> None:
    """One table row, or one line, for each; ``columns`` are members of the documents."""
    if as_json:
        for document in documents:
            print_json(document)
    elif sys.stdout.isatty():
        _print_table(documents, columns)
    else:
        for document in documents:
            print("\t".join(plain(document.get(name)) for name in columns))


def print_members(document: Document, *, as_json: bool) -> None:
    """All of one document: a line for each member."""
    if as_json:
        print_json(document)
        return
    width = max(map(len, document)) + 2 if sys.stdout.isatty() else 0
    for name, value in document.items():
        print(f"{name:<{width}}{plain(value)}" if width else f"{name}\t{plain(value)}")


def print_json(document: Document) -> None:
    """One line of JSON."""
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))


def complain(text: str) -> None:
    """A sentence on standard error; one of the gateway's may have several lines."""
    print("headrace: " + "\n".join(map(plain, text.split("\n"))), file=sys.stderr)


def plain(value: object) -> str:
    """``value`` as text of one line that does nothing to a terminal; None is empty."""
    if isinstance(value, dict):
        value = ", ".join(f"{name} {each}" for name, each in value.items())
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _print_table(documents: Iterable[Document], columns: Sequence[str]) -> None:
    values = [[document.get(name) for name in columns] for document in documents]
    rows = [list(map(plain, each)) for each in values]
    numeric = [_is_numeric(cells) for cells in zip(*values, strict=True)] or [False] * len(columns)
    widths = _widths(columns, rows, Console().width)
    table = Table(box=None, pad_edge=False, header_style="", padding=(0, GAP, 0, 0))
    for name, width, is_numeric in zip(columns, widths, numeric, strict=True):
        side: Literal["left", "right"] = "right" if is_numeric else "left"
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width, justify=side)
    for row in rows:
        table.add_row(*map(Text, row))
    # Where all is too wide, lines that wrap are better than cells that nobody can read.
    console = Console(width=sum(widths) + GAP * len(widths))
    console.print(table, soft_wrap=True)


def _is_numeric(cells: Sequence[object]) -> bool:
    """Numbers and nothing else, but for cells that are empty."""
    return {type(each) for each in cells} - {type(None)} in ({int}, {float}, {int, float})


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Short columns get what they need; the long ones share what is left, a fair part each."""
    needed = [
        max(map(cell_len, (name, *cells))) for name, *cells in zip(columns, *rows, strict=True)
    ]
    long = sum(name in _LONG for name in columns)
    left = width - GAP * len(columns)
    left -= sum(each for name, each in zip(columns, needed, strict=True) if name not in _LONG)
    widths = []
    for name, each in zip(columns, needed, strict=True):
        if name in _LONG:
            each = min(each, max(LONG_LEAST, left // long))
            left, long = left - each, long - 1
        widths.append(each)
    return widths
