"""Where in a TOML text each key stands: `tomllib` says what a text holds, this says in which line.

Only for texts that `tomllib` has read: of one that is not TOML it says nothing to be relied upon.

Law: it knows exactly the paths that `tomllib.loads` gives, each with the line and column in which
its key begins (an element of an array: the element; a table: its header, or the key that first
names it).
"""

import re
import tomllib
from dataclasses import dataclass, field
from typing import NamedTuple

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """Counted from 1, as editors do."""

    line: int
    column: int


def find_places(text: str) -> dict[Path, Place]:
    """The place of every key, table and array element of ``text``, by its path."""
    # tomllib reads lines as TOML defines them; a lone carriage return is not allowed there.
    scan = _Scan(text.replace("\r\n", "\n"))
    scan.document()
    return scan.places


def nearest(places: dict[Path, Place], path: Path) -> Place | None:
    """The place of ``path``, or of the innermost table around it that stands in the text."""
    for length in range(len(path), 0, -1):
        if (found := places.get(path[:length])) is not None:
            return found
    return None


_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    # A multi-line string may end with two quotes of its own before the three that close it.
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{1,2}(?!"))?', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{1,2}(?!'))?", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_PLAIN = re.compile(r"[^,\]}\n#]*")


@dataclass(slots=True)
class _Scan:
    text: str
    at: int = 0
    places: dict[Path, Place] = field(default_factory=dict)
    _tables: dict[Path, int] = field(default_factory=dict)
    """how many tables each array of tables has so far"""
    _line: int = 1
    _line_start: int = 0
    _counted_to: int = 0

    def document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._entry(table)

    # ── statements ──

    def _header(self) -> Path:
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        keys = self._keys()
        self.at += 2 if is_array else 1
        path: Path = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            if number < len(keys) - 1 or not is_array:
                self._mark(path, start)
                path = self._innermost(path)
        if is_array:
            self._mark(path, start)
            self._tables[path] = self._tables.get(path, 0) + 1
            path = self._innermost(path)
        self._mark(path, start)
        return path

    def _innermost(self, path: Path) -> Path:
        """The last table so far, if ``path`` is an array of tables."""
        count = self._tables.get(path)
        return path if count is None else (*path, count - 1)

    def _entry(self, table: Path) -> None:
        """``a.b = value``"""
        start = self.at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._mark(path, start)
        self._skip(_BLANK)
        self.at += 1  # =
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if self.text[self.at : self.at + 1] != ".":
                return keys
            self.at += 1

    def _key(self) -> str:
        if (bare := self._skip(_BARE_KEY)) is not None:
            return bare
        quoted = self._string() or ""
        (key,) = tomllib.loads(f"{quoted} = 0")
        return key

    # ── values ──

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif self._string() is None:
            self._skip(_PLAIN)

    def _array(self, path: Path) -> None:
        self.at += 1
        number = 0
        while True:
            self._skip(_SPACE)
            if self._closes("]"):
                return
            self._mark((*path, number), self.at)
            self._value((*path, number))
            number += 1
            self._skip(_SPACE)
            self._closes(",")

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_SPACE)
            if self._closes("}"):
                return
            self._entry(path)
            self._skip(_SPACE)
            self._closes(",")

    # ── letters ──

    def _closes(self, letter: str) -> bool:
        found = self.at >= len(self.text) or self.text[self.at] == letter
        self.at += found
        return found

    def _string(self) -> str | None:
        for kind in _STRINGS:
            if (found := self._skip(kind)) is not None:
                return found
        return None

    def _skip(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def _mark(self, path: Path, at: int) -> None:
        if path in self.places:
            return
        if at < self._counted_to:  # keys are met in the order of the text, but for a header's own
            self._line, self._line_start, self._counted_to = 1, 0, 0
        newlines = self.text.count("\n", self._counted_to, at)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rindex("\n", self._counted_to, at) + 1
        self._counted_to = at
        self.places[path] = Place(self._line, at - self._line_start + 1)
