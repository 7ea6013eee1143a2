"""What pydantic has against values, in our words: where the value stands, and the remedy.

Law: see `gateway.config.errors`. pydantic's own text holds the value, so it is never passed on.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from gateway.config.contradictions import Contradictory
from gateway.config.errors import Problem
from gateway.config.keys import (
    EACH,
    all_keys,
    allowed,
    choices_of,
    dotted,
    element_type,
    key_at,
    model_at,
)
from gateway.config.redaction import shown_wrong
from gateway.config.sources import KeyPath, suggestion

Placed = Callable[[KeyPath], str]

_AT_THE_END = re.compile(r":(\d+):(\d+)$")
_NAMED = re.compile(r"\b[a-z]+(?:\.[a-z_0-9]+|\[\d+\])+")


def problems_of(error: ValidationError, place: Placed) -> Iterator[Problem]:
    """Each thing that is wrong. ``place`` tells where a path was set; empty: nowhere."""
    for found in error.errors(include_url=False):
        path: KeyPath = tuple(found["loc"])
        cause = found.get("ctx", {}).get("error")
        if isinstance(cause, Contradictory):
            yield from (contradiction(sentence, place) for sentence in cause.sentences)
        else:
            yield _problem(found["type"], path, found["msg"], found["input"], place)


def contradiction(sentence: str, place: Placed) -> Problem:
    """A sentence that names its keys, with the places where they were set."""
    places = dict.fromkeys(filter(None, map(place, named_keys(sentence))))
    return Problem(place=", ".join(places), key="", what=sentence)


def named_keys(sentence: str) -> list[KeyPath]:
    """The keys that a sentence names."""
    found: dict[KeyPath, None] = {}
    for match in _NAMED.finditer(sentence):
        path = tuple(
            int(part) if part.isdigit() else part
            for part in re.findall(r"[a-z_0-9]+", match[0].rstrip("."))
        )
        if model_at(path[:1]) is not None:
            found[path] = None
    return list(found)


def _problem(kind: str, path: KeyPath, message: str, value: Any, place: Placed) -> Problem:
    where, name = place(path), dotted(path)
    if kind == "extra_forbidden":
        what, remedy = "there is no such key", suggestion(path)
    elif kind == "missing":
        key = key_at(path)
        what, remedy = "is missing", f"Give {allowed(key)}" if key else ""
    elif kind == "value_error":
        what, remedy = message.removeprefix("Value error, "), ""
    elif kind in ("model_type", "model_attributes_type"):
        header = dotted(tuple(part for part in path if not isinstance(part, int)))
        is_element = any(isinstance(part, int) for part in path)
        table = f"[[{header}]]" if is_element else f"[{header}]"
        what, remedy = "is a table, not a value", f"Write its keys below {table}"
    else:
        what, remedy = _not_allowed(path, value)
    return Problem(place=where, key=name, what=what, remedy=remedy)


def _not_allowed(path: KeyPath, value: Any) -> tuple[str, str]:
    key = key_at(path)
    if key is None:
        rest = tuple(EACH if isinstance(part, int) else part for part in path)
        tables = (*rest, EACH)
        is_tables = any(known[: len(tables)] == tables for known in all_keys())
        header = dotted(tuple(part for part in rest if part != EACH))
        return "is not allowed here", f"Write [[{header}]]" if is_tables else f"Write [{header}]"
    shown = shown_wrong(key, value)
    what = "is not allowed here" if shown is None else f"{shown} is not allowed"
    choices = choices_of(element_type(key))
    if choices is None or not isinstance(value, str):
        return what, f"Give {allowed(key)}"
    near = difflib.get_close_matches(value.lower(), choices, n=1)
    remedy = "Give one of " + ", ".join(f'"{choice}"' for choice in choices)
    return what, f'Did you mean "{near[0]}"? {remedy}' if near else remedy


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Those of flags and variables first, then those of the file from its top; each once."""

    def line(problem: Problem) -> tuple[int, int]:
        at = _AT_THE_END.search(problem.place)
        return (int(at[1]), int(at[2])) if at else (0, 0)

    return sorted(dict.fromkeys(problems), key=line)


def text_of(problems: Iterable[Problem]) -> str:
    """All of them, a line each where there are many."""
    said = list(map(str, problems))
    if len(said) == 1:
        return f"the configuration cannot be used: {said[0]}"
    return "\n  ".join(("the configuration cannot be used:", *said))
