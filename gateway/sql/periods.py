"""ISO 8601 periods, time units and Joda patterns, as DuckDB text.

Sources of the rules: Druid's SQL reference (time functions: ``TIME_FLOOR`` takes an ISO 8601
period, ``TIME_FORMAT`` a Joda pattern), java.time's ``DateTimeFormatter`` for ksqlDB's patterns,
of which the letters below mean the same.
"""

import re

from gateway.seams import QueryRefused

_PERIOD = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?"
)
_PERIOD_UNITS = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
_TRUNCATED = {
    "P1Y": "year",
    "P3M": "quarter",
    "P1M": "month",
    "P1W": "week",
    "P1D": "day",
    "PT1H": "hour",
    "PT1M": "minute",
    "PT1S": "second",
}

UNITS = {
    unit: unit.lower()
    for unit in (
        "MICROSECOND",
        "MILLISECOND",
        "SECOND",
        "MINUTE",
        "HOUR",
        "DAY",
        "WEEK",
        "MONTH",
        "QUARTER",
        "YEAR",
        "DECADE",
        "CENTURY",
        "MILLENNIUM",
    )
}
"""Units that a time can be floored to or counted in, as DuckDB's ``date_trunc`` names them."""

FIELDS = {
    "EPOCH": "epoch",
    "SECOND": "second",
    "MINUTE": "minute",
    "HOUR": "hour",
    "DAY": "day",
    "DOW": "isodow",
    "ISODOW": "isodow",
    "DOY": "doy",
    "WEEK": "week",
    "MONTH": "month",
    "QUARTER": "quarter",
    "YEAR": "year",
    "ISOYEAR": "isoyear",
    "DECADE": "decade",
    "CENTURY": "century",
    "MILLENNIUM": "millennium",
}
"""Parts of a time. Druid's DOW runs from 1 for Monday to 7, which is DuckDB's ``isodow``."""

_PATTERN = {
    "yyyy": "%Y",
    "YYYY": "%Y",
    "y": "%Y",
    "yy": "%y",
    "MM": "%m",
    "M": "%-m",
    "MMM": "%b",
    "MMMM": "%B",
    "dd": "%d",
    "d": "%-d",
    "HH": "%H",
    "H": "%-H",
    "hh": "%I",
    "h": "%-I",
    "mm": "%M",
    "m": "%-M",
    "ss": "%S",
    "s": "%-S",
    "SSS": "%g",
    "a": "%p",
    "EEE": "%a",
    "EEEE": "%A",
    "DDD": "%j",
}
_ZONES = {"Z": "+0000", "ZZ": "+00:00", "X": "Z", "XX": "Z", "XXX": "Z"}
_PIECE = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")


def interval(period: str) -> str:
    """A DuckDB interval for an ISO period such as ``P1D`` or ``PT15M``."""
    match = _PERIOD.fullmatch(period)
    if match is None or not any(match.groups()):
        raise QueryRefused(f"'{period}' is not an ISO 8601 period")
    parts = [
        f"{amount} {unit}"
        for amount, unit in zip(match.groups(), _PERIOD_UNITS, strict=True)
        if amount
    ]
    if not any(int(amount) for amount in match.groups() if amount):
        raise QueryRefused(f"the period '{period}' is empty")
    return f"INTERVAL '{' '.join(parts)}'"


def floored(time: str, period: str) -> str:
    """DuckDB text that floors the timestamp ``time`` to multiples of ``period`` since 1970."""
    step = interval(period)
    unit = _TRUNCATED.get(period, "")
    if unit:
        return f"date_trunc('{unit}', {time})"
    if "W" in period:
        raise QueryRefused(f"a floor to '{period}' is not supported: of weeks, P1W alone is")
    return f"time_bucket({step}, {time}, TIMESTAMP '1970-01-01')"


def unit(name: str, table: dict[str, str], what: str) -> str:
    """The DuckDB name of a unit; refuses an unknown one by name."""
    found = table.get(name.upper())
    if found is None:
        raise QueryRefused(f"{what} does not know the unit '{name}'")
    return found


def strftime_pattern(pattern: str) -> str:
    """A Joda or java.time pattern as a strftime pattern; refuses letters outside the table."""
    out: list[str] = []
    at = 0
    for piece in _PIECE.finditer(pattern):
        if piece.start() != at:
            break
        at = piece.end()
        out.append(_pattern_piece(piece))
    if at != len(pattern):
        raise QueryRefused(f"unbalanced quote in the time pattern '{pattern}'")
    return "".join(out)


def _pattern_piece(piece: re.Match[str]) -> str:
    text = piece[0]
    if text.startswith("'"):
        return (piece[1].replace("''", "'") or "'").replace("%", "%%")
    if not piece[2]:
        return text.replace("%", "%%")
    found = _PATTERN.get(text) or _ZONES.get(text)
    if found is None:
        raise QueryRefused(f"the letters '{text}' in a time pattern are not supported")
    return found
