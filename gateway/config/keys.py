"""Every key that there is, read from the sections themselves: its type, default, unit and words.

What is said of keys anywhere (errors, the reference, the sample file) comes from here, so it cannot
be told twice in two ways.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.config import sections
from gateway.config.reloads import is_reloadable
from gateway.config.units import BYTES_MAX, COUNT_MAX, SECONDS_MAX, SIZE_EXAMPLES, TIME_EXAMPLES

PREFIX = "HEADRACE__"
_UNITS = {"bytes": "bytes", "rows": "rows", "streams": "streams", "s": "seconds"}
"""by a part of a key's name, the most telling first"""
EACH = "[]"
"""the part of a path that stands for any element of an array of tables"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. ``path`` has `EACH` where an array of tables is gone into."""

    path: tuple[str, ...]
    field: FieldInfo
    doc: str
    section_doc: str

    @property
    def name(self) -> str:
        """``section.key``, as errors and the reference write it."""
        return dotted(self.path)

    @property
    def variable(self) -> str | None:
        """The environment's name for it; None within an array of tables."""
        return None if EACH in self.path else PREFIX + "__".join(self.path).upper()

    @property
    def is_reloadable(self) -> bool:
        """Whether SIGHUP is enough."""
        return is_reloadable(".".join(self.path))

    @property
    def type(self) -> Any:
        """Its type without None and constraints."""
        return core_type(self.field.annotation)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return self.type is SecretStr

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.field.is_required()

    @property
    def default(self) -> Any:
        """What holds where nobody says anything."""
        return self.field.get_default()


def dotted(path: tuple[str | int, ...]) -> str:
    """``access.rules[0].rights``"""
    text = ""
    for part in path:
        if part == EACH or isinstance(part, int):
            text += part if isinstance(part, str) else f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@cache
def all_keys() -> dict[tuple[str, ...], Key]:
    """Every key with a value of its own (not the tables around them), in the order of the code."""
    return {key.path: key for key in _keys_of(sections.Config, ())}


def key_at(path: tuple[str | int, ...]) -> Key | None:
    """The key that a path of values leads to, or leads into."""
    found = tuple(EACH if isinstance(part, int) else part for part in path)
    for length in range(len(found), 0, -1):
        if (key := all_keys().get(found[:length])) is not None:
            return key
    return None


def model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The section that stands at a path; None if no section does."""
    model: type[BaseModel] = sections.Config
    for part in path:
        if isinstance(part, int) or part == EACH:
            continue
        field = model.model_fields.get(part)
        inner = None if field is None else section_of(field.annotation)
        if inner is None:
            return None
        model = inner
    return model


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that values of this type are, or hold."""
    inner = core_type(annotation)
    if get_origin(inner) is tuple:
        inner = core_type(get_args(inner)[0])
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def is_array(annotation: Any) -> bool:
    """Whether values are arrays."""
    return get_origin(core_type(annotation)) is tuple


def core_type(annotation: Any) -> Any:
    """The type without ``None`` and without constraints."""
    if get_origin(annotation) is Annotated:
        return core_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        some = [part for part in get_args(annotation) if part is not NoneType]
        if len(some) == 1:
            return core_type(some[0])
    return annotation


def may_be_none(annotation: Any) -> bool:
    """Whether None is a value."""
    return NoneType in get_args(annotation)


# ── words ──


def allowed(key: Key) -> str:
    """What a value may be, with an example where units can be written."""
    kind = core_type(key.field.annotation)
    if key.path == ("admin", "port"):
        return 'a port from 0 to 65535, or "off"'
    if (choices := choices_of(kind)) is not None:
        return "one of " + ", ".join(f'"{choice}"' for choice in choices)
    if is_array(kind):
        inner = section_of(kind)
        return "an array of tables" if inner else f"an array: {_element_words(kind)}"
    if kind in (int, float):
        return _number_words(key)
    words = {bool: "true or false", SecretStr: "a text, in quotes"}
    if kind in words:
        return words[kind]
    return "a table" if section_of(kind) else "a path" if kind.__name__ == "Path" else "a text"


def kind_of(key: Key) -> str:
    """What a value may be, in few words: ``bytes, above 0``."""
    unit = unit_of(key)
    if unit.startswith(("bytes", "seconds")):
        return unit + _bounds(key, (BYTES_MAX, SECONDS_MAX))
    return allowed(key)


def unit_of(key: Key) -> str:
    """The unit that its name says, in words; empty for what has none."""
    if key.type not in (int, float):
        return ""
    parts = key.path[-1].split("_")
    unit = next((words for part, words in _UNITS.items() if part in parts), "")
    is_rate = parts[-2:] == ["per", "s"]
    return f"{unit} a second" if is_rate else unit


def element_type(key: Key) -> Any:
    """The type of its values; of an array, of what is in it."""
    return core_type(get_args(key.type)[0]) if is_array(key.type) else key.type


def choices_of(kind: Any) -> tuple[str, ...] | None:
    """The texts that a closed choice is between."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    return None


def _element_words(kind: Any) -> str:
    inner = core_type(get_args(kind)[0])
    choices = choices_of(inner)
    return "texts" if choices is None else ", ".join(f'"{choice}"' for choice in choices)


def _number_words(key: Key) -> str:
    unit = unit_of(key)
    if unit.startswith("bytes"):
        return SIZE_EXAMPLES + _bounds(key, (BYTES_MAX,))
    if unit == "seconds":
        return TIME_EXAMPLES + _bounds(key, (SECONDS_MAX,))
    whole = "an integer" if key.type is int else "a number"
    return whole + _bounds(key, (BYTES_MAX, SECONDS_MAX, COUNT_MAX))


def _bounds(key: Key, unsaid: tuple[float, ...]) -> str:
    """``, from 0 to 65535``; bounds that only a slip goes past are not worth the words."""
    low, high = "", ""
    for bound in _constraints(key.field):
        if isinstance(bound, Gt):
            low = f"above {bound.gt:g}"
        elif isinstance(bound, Ge):
            low = f"from {bound.ge:g}"
        elif isinstance(bound, Le) and bound.le not in unsaid:
            high = f" to {bound.le}" if low.startswith("from") else f", at most {bound.le}"
        elif isinstance(bound, Lt):
            high = f", below {bound.lt}"
    return f", {low}{high}" if low else ""


def _constraints(field: FieldInfo) -> Iterator[Any]:
    yield from _flat(field.metadata)
    for part in get_args(field.annotation):
        if get_origin(part) is Annotated:
            yield from _flat(list(get_args(part)[1:]))


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        else:
            yield item


# ── walking ──


def _keys_of(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Key]:
    """A section's own keys, then those of the sections in it: as TOML has to have them."""
    docs = _documented().get(model.__name__, {})
    section_doc = inspect.getdoc(model) or ""
    below = []
    for name, field in model.model_fields.items():
        at, doc = (*path, name), docs.get(name, "")
        if (inner := section_of(field.annotation)) is None:
            yield Key(path=at, field=field, doc=doc, section_doc=section_doc)
        else:
            below.append((inner, (*at, EACH) if is_array(field.annotation) else at))
    for inner, at in below:
        yield from _keys_of(inner, at)


@cache
def _documented() -> dict[str, dict[str, str]]:
    """The text under each key in the code of the sections, by class and key."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sections)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = dict(_docs_of(node))
    return found


def _docs_of(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement.target.id, " ".join(str(following.value.value).split())
