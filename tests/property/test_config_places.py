"""The locator of the configuration against `tomllib`: the same paths, each in its own line."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.places import Path, Place, find_places, nearest

KEYS = st.one_of(
    st.sampled_from(["a", "b", "c-d", "1", "host", "é", "", "a.b", "x y", "#", '"', "'", "[", "="]),
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=3),
)
NOISE = st.sampled_from(
    [
        "# = [x] {",
        '"# no [comment] = \\" {"',
        "'\\'",
        '"""\n[http]\nport = 1\n\\""" # """',
        "'''\n[a]\n= ''''",
        '"""""five quotes"""""',
        "1979-05-27 07:32:00",
        "-inf",
        "true",
        "0xDEAD_beef",
    ]
)


def quoted(key: str, draw: Any) -> str:
    """One of the ways to write a key."""
    ways = ['"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"']
    if key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key):
        ways.append(key)
    if "'" not in key:
        ways.append(f"'{key}'")
    return str(draw(st.sampled_from(ways)))


@dataclass
class Written:
    """A TOML text in the making; numbered values are where they should be found."""

    draw: Any
    text: str = ""
    number: int = 0
    expected: dict[int, int] = field(default_factory=dict)
    """the line of each numbered value's key, or of the value itself in an array"""

    def line(self) -> int:
        return self.text.count("\n") + 1

    def gap(self, *, newlines: bool = False) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t "]))
        if newlines and self.draw(st.booleans()):
            self.text += self.draw(st.sampled_from(["\n", " # , ] \n\t", "\r\n", "\n\n"]))

    def value(self, depth: int, line: int) -> None:
        kind = self.draw(st.integers(0, 5 if depth else 2))
        if kind == 0 and self.draw(st.booleans()):
            self.text += self.draw(NOISE)
        elif kind <= 2:
            self.number += 1
            self.expected[self.number] = line
            self.text += f"{1000 + self.number}"
        elif kind <= 4:
            self.array(depth)
        else:
            self.inline_table(depth)

    def array(self, depth: int) -> None:
        self.text += "["
        for _ in range(self.draw(st.integers(0, 3))):
            self.gap(newlines=True)
            self.value(depth - 1, self.line())
            self.gap(newlines=True)
            self.text += ","
        self.gap(newlines=True)
        self.text += "]"

    def inline_table(self, depth: int) -> None:
        self.text += "{"
        keys = self.draw(st.lists(KEYS, max_size=3, unique=True))
        for at, key in enumerate(keys):
            self.text += ", " if at else " "
            self.entry(key, depth - 1)
        self.text += " }"

    def entry(self, key: str, depth: int) -> None:
        line = self.line()
        self.text += quoted(key, self.draw)
        if self.draw(st.integers(0, 3)) == 0:
            self.gap()
            self.text += "."
            self.gap()
            self.text += quoted(self.draw(KEYS), self.draw)
        self.gap()
        self.text += "="
        self.gap()
        self.value(depth, line)

    def table(self) -> None:
        parts = self.draw(st.lists(KEYS, min_size=1, max_size=3))
        name = ".".join(quoted(part, self.draw) for part in parts)
        self.gap()
        self.text += f"[[{name}]]" if self.draw(st.booleans()) else f"[ {name} ]"

    def body(self) -> None:
        for key in self.draw(st.lists(KEYS, max_size=3, unique=True)):
            self.gap()
            self.entry(key, 2)
            self.gap()
            self.text += self.draw(st.sampled_from(["\n", " # = x\n", "\r\n"]))


@st.composite
def documents(draw: Any) -> tuple[str, dict[int, int]]:
    """A text that is TOML, and the line of each numbered value."""
    written = Written(draw)
    written.body()
    for _ in range(draw(st.integers(0, 4))):
        before, known = written.text, dict(written.expected)
        written.table()
        written.text += draw(st.sampled_from(["\n", " # [no]\n", "\r\n"]))
        written.body()
        if not is_toml(written.text):  # a table that is defined twice, and the like
            written.text, written.expected = before, known
    return written.text, written.expected


def is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every path below ``value`` and what is there."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*path, key), part
        if isinstance(part, dict | list):
            yield from paths(part, (*path, key))


@settings(max_examples=500)
@given(documents())
def test_each_path_of_a_text_is_found_in_the_line_in_which_it_stands(
    document: tuple[str, dict[int, int]],
) -> None:
    text, expected = document
    if not is_toml(text):
        return
    found = find_places(text)
    known = dict(paths(tomllib.loads(text)))
    assert found.keys() == known.keys()
    lines = text.split("\n")
    for path, value in known.items():
        line, column = found[path]
        assert lines[line - 1][column - 1 :].strip()
        if isinstance(value, int) and value > 1000 and value - 1000 in expected:
            assert line == expected[value - 1000]


def test_what_stands_in_no_line_is_placed_where_its_table_is() -> None:
    places = find_places('[http]\nport = 1\n\n[[access.rules]]\nprincipal = "x"\n')
    assert nearest(places, ("access", "rules", 0, "rights")) == Place(4, 1)
    assert nearest(places, ("http", "host")) == Place(1, 1)
    assert nearest(places, ("druid", "url")) is None
