"""Columns of CSV text as values of SQL types, a column of a block at a time. Pure.

Law: what is no value of its type stays the text that it is: the gateway refuses it by name, in its
own words. Nothing is bent here, and nothing rounded.
"""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from protocol.types import Base, SqlType

Texts = Sequence[str]
Convert = Callable[[Texts], Sequence[Any]]

_INTEGER = r"[+-]?[0-9]{1,18}"
"""as many digits as surely fit into 64 bits"""
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_INTEGERS = re.compile(rf"{_INTEGER}(?:\n{_INTEGER})*+")
_NUMBERS = re.compile(rf"{_NUMBER}(?:\n{_NUMBER})*+")
_LONG = re.compile(r"[+-]?[0-9]{1,19}")
_BOOLEANS = {"true": True, "false": False}


def converter(kind: SqlType, null: str | None) -> Convert:
    """From texts to values. ``null``: the text of NULL; None: the empty text, but for STRING."""
    read = _READ.get(kind.base, _READ_NESTED if kind.element or kind.fields else None)
    if null is None:
        if kind.base is Base.STRING:
            return _as_they_are
        null = ""
    if read is None:
        return _texts_or(null)
    return _values_or(null, *read)


def _as_they_are(texts: Texts) -> Texts:
    return texts


def _texts_or(null: str) -> Convert:
    def convert(texts: Texts) -> Sequence[str | None]:
        return [None if text == null else text for text in texts] if null in texts else texts

    return convert


def _values_or(null: str, read_all: Convert, read: Callable[[str], Any]) -> Convert:
    """``read_all`` raises `ValueError` where not all are plain; then each is looked at."""

    def convert(texts: Texts) -> Sequence[Any]:
        # Looked for first: the text of NULL may be one that reads as a value too.
        if null not in texts:
            with contextlib.suppress(ValueError):
                return read_all(texts)
        return [None if text == null else read(text) for text in texts]

    return convert


# ── integers ─────────────────────────────────────────────────────────────────────────────────


def _all_integers(texts: Texts) -> list[int]:
    if not _INTEGERS.fullmatch("\n".join(texts)):
        raise ValueError
    return list(map(int, texts))


def _integer(text: str) -> int | str:
    number = int(text) if _LONG.fullmatch(text) else None
    return text if number is None or not -(2**63) <= number < 2**63 else number


# ── numbers ──────────────────────────────────────────────────────────────────────────────────


def _all_numbers(texts: Texts) -> list[float]:
    if not _NUMBERS.fullmatch("\n".join(texts)):
        raise ValueError
    numbers = list(map(float, texts))
    # One that is infinite makes the sum so; a sum that is so without is looked at one by one too.
    if not math.isfinite(sum(numbers)):
        raise ValueError
    return numbers


def _number(text: str) -> float | str:
    number = float(text) if re.fullmatch(_NUMBER, text) else math.inf
    return number if math.isfinite(number) else text


# ── booleans and nested values ───────────────────────────────────────────────────────────────


def _all_booleans(texts: Texts) -> list[bool]:
    try:
        return [_BOOLEANS[text] for text in texts]
    except KeyError:
        raise ValueError from None


def _boolean(text: str) -> bool | str:
    return _BOOLEANS.get(text.lower(), text)


def _all_nested(texts: Texts) -> list[Any]:
    return [orjson.loads(text) for text in texts]


def _nested(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


_READ: dict[Base, tuple[Convert, Callable[[str], Any]]] = {
    Base.INTEGER: (_all_integers, _integer),
    Base.BIGINT: (_all_integers, _integer),
    Base.DOUBLE: (_all_numbers, _number),
    Base.BOOLEAN: (_all_booleans, _boolean),
}
_READ_NESTED = (_all_nested, _nested)
