"""Values as TOML writes them."""

import math
from enum import Enum
from pathlib import PurePath
from typing import Any

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def toml_value(value: Any) -> str:
    """``value`` as TOML: scalars, arrays and inline tables of them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return toml_value(value.value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) + ".0" if _is_short(value) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        members = ", ".join(f"{name} = {toml_value(inner)}" for name, inner in value.items())
        return f"{{ {members} }}" if members else "{}"
    if isinstance(value, str | PurePath):
        return f'"{"".join(map(_letter, str(value)))}"'
    raise TypeError(f"TOML has no {type(value).__name__}")


def _is_short(value: float) -> bool:
    return math.isfinite(value) and value.is_integer() and abs(value) < 1e15


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    code = ord(letter)
    is_plain = letter.isprintable() and not 0xD800 <= code < 0xE000
    return letter if is_plain else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
