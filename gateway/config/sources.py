"""Where values come from: a TOML file, the environment, flags; and the place of each in them.

Each source is a `Layer`: its values as nested dicts, the place of each, and what is wrong with the
source itself. What values mean is not looked at here.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from gateway.config.errors import Problem
from gateway.config.keys import (
    PREFIX,
    all_keys,
    core_type,
    dotted,
    is_array,
    key_at,
    model_at,
    section_of,
)
from gateway.config.places import find_places, nearest

FILE_LIMIT_BYTES = 4 << 20
FLAGS = {
    ("data_dir",): "--data-dir",
    ("warehouse",): "--warehouse",
    ("http", "host"): "--host",
    ("http", "port"): "--port",
    ("druid", "url"): "--druid-url",
    ("admin", "port"): "--admin-port",
}
"""`headrace serve`'s flags, by the keys that they give"""

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One source. ``place`` tells where a path stands, for paths that ``values`` has."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    place: Callable[[KeyPath], str] = lambda path: ""
    problems: tuple[Problem, ...] = ()

    def has(self, path: KeyPath) -> bool:
        """Whether something is said at ``path`` (a table without keys counts)."""
        at: Any = self.values
        for part in path:
            try:
                at = at[part]
            except (KeyError, IndexError, TypeError):
                return False
        return True


# ── the file ──


def file_layer(file: Path) -> Layer:
    """What a TOML file says."""
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            return _unusable(file, f"is larger than {FILE_LIMIT_BYTES} bytes")
        text = content.decode()
        values = tomllib.loads(text)
    except FileNotFoundError:
        return _unusable(file, "does not exist", "Name the file with --config, or leave it out")
    except OSError as error:
        return _unusable(file, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unusable(f"{file}:{line}", "is not UTF-8", "Save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        return _no_toml(file, text, str(error))
    except RecursionError:
        return _unusable(file, "is nested too deeply")
    places = find_places(text)

    def place(path: KeyPath) -> str:
        found = nearest(places, path)
        return str(file) if found is None else f"{file}:{found.line}:{found.column}"

    return Layer("file", values, place)


def _unusable(place: Path | str, what: str, remedy: str = "") -> Layer:
    return Layer("file", problems=(Problem(place=str(place), key="", what=what, remedy=remedy),))


_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


def _no_toml(file: Path, text: str, message: str) -> Layer:
    """tomllib's words, its place as everywhere else. They quote keys, never a value."""
    at = _AT.search(message)
    line, column = (at[1], at[2]) if at and at[1] else (text.count("\n") + 1, 1)
    what = f"is not TOML: {_AT.sub('', message)}"
    remedy = 'Texts stand in quotes: key = "value"' if "Invalid value" in message else ""
    return _unusable(f"{file}:{line}:{column}", what, remedy)


# ── the environment ──


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """What variables ``HEADRACE__SECTION__KEY`` say, in capital letters or small ones."""
    values: dict[str, Any] = {}
    names: dict[tuple[str, ...], str] = {}
    problems: list[Problem] = []
    ours = [name for name in environment if name.upper().startswith(PREFIX)]
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        path = tuple(name[len(PREFIX) :].lower().split("__"))
        if path in names:
            what = f"is given twice: as {names[path]} too"
            problems.append(Problem(place=name, key=dotted(path), what=what, remedy="Unset one"))
            continue
        value = _from_text(path, environment[name])
        if isinstance(value, _Wrong):
            wrong = Problem(place=name, key=value.key, what=value.what, remedy=value.remedy)
            problems.append(wrong)
            continue
        names[path] = name
        _put(values, path, value)

    def place(path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if (name := names.get(path[:length])) is not None:  # type: ignore[arg-type]
                return name
        return next((name for at, name in names.items() if at[: len(path)] == path), "")

    return Layer("environment", values, place, tuple(problems))


@dataclass(frozen=True, slots=True)
class _Wrong:
    key: str
    what: str
    remedy: str


def _from_text(path: tuple[str, ...], text: str) -> Any:
    """The value that a variable's text stands for."""
    key = key_at(path)
    if key is not None and key.path == path:
        kind = key.type
    else:
        kind = _table_at(path)
        if kind is None:
            remedy = f"{suggestion(path, _variable)} Else unset it"
            return _Wrong(dotted(path), "there is no such key", remedy)
    if is_array(kind) and section_of(kind) is None and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if is_array(kind) or section_of(kind) is not None:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return _Wrong(dotted(path), "is not JSON", f"Write {_json_words(kind)}")
    if not text and (key is None or not key.is_secret):
        return _Wrong(dotted(path), "is empty", "Give it a value, or unset the variable")
    return text


def _table_at(path: tuple[str, ...]) -> Any:
    """The type of a whole table, or array of tables, that a variable may give as JSON."""
    around = model_at(path[:-1])
    held = None if around is None else around.model_fields.get(path[-1])
    is_inside = any(is_array(_annotation(path[:length])) for length in range(1, len(path)))
    return None if held is None or is_inside else core_type(held.annotation)


def _annotation(path: tuple[str, ...]) -> Any:
    around = model_at(path[:-1])
    held = None if around is None else around.model_fields.get(path[-1])
    return None if held is None else held.annotation


def _json_words(kind: Any) -> str:
    if not is_array(kind):
        return 'a JSON object: {"key": …}'
    inner = get_args(kind)[0]
    return 'a JSON array of objects: [{"key": …}]' if section_of(inner) else 'a JSON array: ["…"]'


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sorted by depth, a key of its own wins over the whole table that another variable gives."""
    *tables, last = path
    for part in tables:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # The table is no table: that is what the error is about.
        values = inner
    values[last] = value


# ── flags ──


def flags_layer(values: dict[str, Any]) -> Layer:
    """What flags of the command line say, nested as the sections are."""
    return Layer("flag", values, _flag)


def _flag(path: KeyPath) -> str:
    return next((name for given, name in FLAGS.items() if given == path), "a flag")


# ── unknown keys ──


def suggestion(path: KeyPath, written: Callable[[tuple[str, ...]], str] = dotted) -> str:
    """What may have been meant by a key that there is not."""
    known = [key.path for key in all_keys().values() if key.variable is not None]
    names = tuple(str(part) for part in path if not isinstance(part, int))
    if (model := model_at(path[:-1])) is not None:
        near = difflib.get_close_matches(names[-1], model.model_fields, n=1, cutoff=0.6)
        if near:
            return f"Did you mean {written((*names[:-1], near[0]))}?"
    elsewhere = [found for found in known if found[-1] == names[-1]]
    if len(elsewhere) == 1:
        return f"Did you mean {written(elsewhere[0])}?"
    by_name = {".".join(found): found for found in known}
    near = difflib.get_close_matches(".".join(names), by_name, n=1, cutoff=0.75)
    if near:
        return f"Did you mean {written(by_name[near[0]])}?"
    if model is not None and len(names) > 1:
        return f"The keys there are {', '.join(model.model_fields)}."
    return f"The sections are {', '.join(dict.fromkeys(found[0] for found in known))}."


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()
