"""Sizes and times as people write them: ``"64 MiB"``, ``"1h"``.

Plain numbers stay what they are: bytes and seconds. What is written with a unit is exact, or it is
refused: no size is rounded.
"""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
    "TiB": TIB,
}
TIMES = {
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
SIZE_EXAMPLES = 'a number of bytes, or for example "64 KiB", "10 MB", "1.5 GiB"'
TIME_EXAMPLES = 'a number of seconds, or for example "250 ms", "30s", "5 min", "1h", "7d"'

BYTES_MAX = 1 << 62
SECONDS_MAX = 100 * 365 * 86_400.0
COUNT_MAX = (1 << 31) - 1
"""as many as a signed 32-bit field can hold, such as HTTP/2's"""

_WRITTEN = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_TEXT_MAX = 40


def parse_size(value: object) -> object:
    """A text with a unit as bytes; all else as it is. Raises ValueError, without the text."""
    return _parsed(value, "a size", SIZES, SIZE_EXAMPLES)


def parse_time(value: object) -> object:
    """A text with a unit as seconds; all else as it is. Raises ValueError, without the text."""
    parsed = _parsed(value, "a time", TIMES, TIME_EXAMPLES)
    return float(parsed) if isinstance(parsed, Fraction) else parsed


def no_bool(value: object) -> object:
    """Python takes true for 1; a configuration must not."""
    if isinstance(value, bool):
        raise ValueError("is a number, not true or false")  # noqa: TRY004 - pydantic takes these
    return value


def _parsed(
    value: object, what: str, units: dict[str, int] | dict[str, Fraction], examples: str
) -> object:
    no_bool(value)
    if not isinstance(value, str):
        return value
    written = _WRITTEN.fullmatch(value.strip()) if len(value) <= _TEXT_MAX else None
    if written is None:
        raise ValueError(f"is not {what}: write {examples}")
    number, unit = Fraction(written[1]), written[2]
    if unit:
        number *= _factor(unit, what, units, examples)
    if units is SIZES and number.denominator != 1:
        raise ValueError(f"is not a whole number of bytes: write {examples}")
    return int(number) if number.denominator == 1 else number


def _factor(
    unit: str, what: str, units: dict[str, int] | dict[str, Fraction], examples: str
) -> int | Fraction:
    """Units are told apart by their letters' case only where that matters (none does today)."""
    for name, factor in units.items():
        if name.lower() == unit.lower():
            return factor
    raise ValueError(f"has a unit that {what} does not have: write {examples}")


_SIZE, _TIME, _NUMBER = map(BeforeValidator, (parse_size, parse_time, no_bool))

Bytes = Annotated[int, Field(gt=0, le=BYTES_MAX), _SIZE]
BytesFromZero = Annotated[int, Field(ge=0, le=BYTES_MAX), _SIZE]
"""0 is a choice of its own"""
WindowBytes = Annotated[int, Field(gt=0, le=COUNT_MAX), _SIZE]
"""HTTP/2 counts windows in 31 bits (RFC 9113, 6.9.1)"""
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False), _TIME]
SecondsFromZero = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False), _TIME]
Count = Annotated[int, Field(gt=0, le=COUNT_MAX), _NUMBER]
Port = Annotated[int, Field(ge=0, le=65535), _NUMBER]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), _NUMBER]
