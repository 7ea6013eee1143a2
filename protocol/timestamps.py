"""Timestamp, date and time text, as ksqlDB's clients write it, to one canonical form.

ksqlDB reads ``date[Ttime][zone]`` with zone ``Z``, ``+hhmm`` or ``-hhmm`` and UTC by default; a
short date or time is filled up (``2020-05``, ``T23:59``). We also take ``+hh:mm`` and a blank
instead of the ``T``. Declared patterns (``timestamp_format``) are a subset of Java's, refused by
letter where they leave it.
"""

import datetime
import re
from collections.abc import Callable

MILLIS_MIN = -62135596800000
"""0001-01-01T00:00:00Z: the first instant that every part of the pipeline can hold."""
MILLIS_MAX = 253402300799999
"""9999-12-31T23:59:59.999Z"""

_TEXT = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?"
    r"(?:[T ](\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)?)?)?"
    r"\s*(Z|[+-]\d{2}(?::?\d{2})?)?"
)
_TIME = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,9}))?)?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def parse_timestamp(text: str) -> int:
    """Milliseconds since 1970 in UTC. Raises ValueError with the text in it."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"not a timestamp: '{text[:80]}'")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime.datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0").ljust(9, "0")[:3]) * 1000,
            tzinfo=_zone(zone),
        )
    except ValueError as error:
        raise ValueError(f"not a timestamp: '{text[:80]}' ({error})") from None
    return to_millis(moment)


def to_millis(moment: datetime.datetime) -> int:
    """Milliseconds since 1970 of an aware moment, cut (not rounded) below the millisecond."""
    return (moment - _EPOCH) // _MILLISECOND


def to_iso(millis: int) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    moment = _EPOCH + millis * _MILLISECOND
    return moment.strftime("%Y-%m-%dT%H:%M:%S.").zfill(20) + f"{millis % 1000:03d}Z"


def parse_date(text: str) -> str:
    """ISO date of a date text; a missing month or day is the first. Raises ValueError."""
    match = _TEXT.fullmatch(text)
    if match is None or any(match.groups()[3:]):
        raise ValueError(f"not a date: '{text[:80]}'")
    year, month, day = match.groups()[:3]
    try:
        return datetime.date(int(year), int(month or 1), int(day or 1)).isoformat()
    except ValueError as error:
        raise ValueError(f"not a date: '{text[:80]}' ({error})") from None


def parse_time(text: str) -> str:
    """ISO time of day, to the millisecond where there are any. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time of day: '{text[:80]}'")
    hour, minute, second, fraction = match.groups()
    micros = int((fraction or "0").ljust(9, "0")[:3]) * 1000
    try:
        value = datetime.time(int(hour), int(minute), int(second or 0), micros)
    except ValueError as error:
        raise ValueError(f"not a time of day: '{text[:80]}' ({error})") from None
    return value.isoformat(timespec="milliseconds" if micros else "seconds")


def _zone(text: str | None) -> datetime.tzinfo:
    if text is None or text == "Z":
        return datetime.UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:] if len(text) > 3 else 0)
    return datetime.timezone(datetime.timedelta(minutes=minutes if text[0] == "+" else -minutes))


_HOURS_ONLY = re.compile(r"[+-]\d\d\Z")
"""What Java's ``X`` writes where the zone has no minutes; Python's ``%z`` wants them."""


class PatternError(ValueError):
    """A timestamp pattern outside the subset; the text names the letter."""


_LETTERS = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
    "SSS": "%f",
    "X": "%z",
    "XX": "%z",
    "XXX": "%z",
    "Z": "%z",
}
_PIECES = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']")


def compile_pattern(pattern: str) -> Callable[[str], int]:
    """A reader of timestamps written by a Java pattern: text → milliseconds since 1970.

    Supported letters: yyyy MM dd HH mm ss SSS X XX XXX Z, and quoted literals. The reader raises
    ValueError; this raises `PatternError`.
    """
    directives: list[str] = []
    asked: set[str] = set()
    at = 0
    while at < len(pattern):
        piece = _PIECES.match(pattern, at)
        if piece is None:
            raise PatternError(f"unbalanced quote in timestamp format '{pattern}'")
        directive = _directive(piece, pattern)
        if piece.group(2) is not None:
            if directive in asked:
                raise PatternError(
                    f"'{piece.group(0)}' comes twice in timestamp format '{pattern}'"
                )
            asked.add(directive)
        directives.append(directive)
        at = piece.end()
    translated = "".join(directives)
    short_zone = pattern.endswith("X") and not pattern.endswith("XX")

    def read(text: str) -> int:
        if short_zone and _HOURS_ONLY.search(text):
            text += "00"
        moment = datetime.datetime.strptime(text, translated)  # noqa: DTZ007 - zone added below
        return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))

    return read


def _directive(piece: re.Match[str], pattern: str) -> str:
    text = piece.group(0)
    if text.startswith("'"):
        return (piece.group(1).replace("''", "'") or "'").replace("%", "%%")
    if piece.group(2) is None:
        return text.replace("%", "%%")
    if text not in _LETTERS:
        known = ", ".join(_LETTERS)
        raise PatternError(
            f"'{text}' is not supported in timestamp format '{pattern}'; use {known}"
        )
    return _LETTERS[text]
