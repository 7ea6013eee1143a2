"""SQL types, columns and schemas, and ksqlDB's type text both ways.

Written type names are exactly ksqlDB's thirteen keywords: a real client hangs on any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_TYPE_DEPTH = 16
"""Nesting limit of type text: deeper text is refused before it can exhaust the stack."""


class Base(StrEnum):
    """The thirteen keywords that ksqlDB's clients know."""

    STRING = "STRING"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    DOUBLE = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    DECIMAL = "DECIMAL"
    BYTES = "BYTES"
    TIMESTAMP = "TIMESTAMP"
    DATE = "DATE"
    TIME = "TIME"
    ARRAY = "ARRAY"
    MAP = "MAP"
    STRUCT = "STRUCT"


_ALIASES = {"VARCHAR": Base.STRING, "INT": Base.INTEGER, "DEC": Base.DECIMAL}


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type: ``base`` plus what the base needs.

    ``precision`` and ``scale`` for DECIMAL; ``element`` for ARRAY and for the values of MAP
    (whose keys are always STRING); ``fields`` for STRUCT.
    """

    base: Base
    precision: int = 0
    scale: int = 0
    element: "SqlType | None" = None
    fields: "tuple[Column, ...]" = ()

    def __str__(self) -> str:
        match self.base:
            case Base.DECIMAL:
                return f"DECIMAL({self.precision}, {self.scale})"
            case Base.ARRAY:
                return f"ARRAY<{self.element}>"
            case Base.MAP:
                return f"MAP<STRING, {self.element}>"
            case Base.STRUCT:
                inner = ", ".join(f"{quote(f.name)} {f.type}" for f in self.fields)
                return f"STRUCT<{inner}>"
            case _:
                return str(self.base)


@dataclass(frozen=True, slots=True)
class Column:
    """A named, typed column; ``key`` marks ksqlDB's KEY and PRIMARY KEY columns."""

    name: str
    type: SqlType
    key: bool = False


STRING = SqlType(Base.STRING)
INTEGER = SqlType(Base.INTEGER)
BIGINT = SqlType(Base.BIGINT)
DOUBLE = SqlType(Base.DOUBLE)
BOOLEAN = SqlType(Base.BOOLEAN)
BYTES = SqlType(Base.BYTES)
TIMESTAMP = SqlType(Base.TIMESTAMP)
DATE = SqlType(Base.DATE)
TIME = SqlType(Base.TIME)


def array_of(element: SqlType) -> SqlType:
    """ARRAY<element>."""
    return SqlType(Base.ARRAY, element=element)


def map_of(element: SqlType) -> SqlType:
    """MAP<STRING, element>."""
    return SqlType(Base.MAP, element=element)


def quote(name: str) -> str:
    """A name in back-ticks, as ksqlDB writes schemas."""
    return "`" + name.replace("`", "``") + "`"


def schema_text(columns: tuple[Column, ...]) -> str:
    """Columns as the ``schema`` member of a v1+json header writes them."""
    return ", ".join(f"{quote(c.name)} {c.type}{' KEY' if c.key else ''}" for c in columns)


class TypeTextError(ValueError):
    """The text is not a type that ksqlDB knows."""


def parse_type(text: str) -> SqlType:
    """Read type text such as ``ARRAY<STRUCT<`F` DECIMAL(4, 2)>>``.

    Raises `TypeTextError` naming what was found.
    """
    reader = _TypeReader(text)
    result = reader.type(0)
    reader.end()
    return result


class _TypeReader:
    """Recursive descent over type text; positions are kept for the error."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def type(self, depth: int) -> SqlType:
        if depth > MAX_TYPE_DEPTH:
            raise TypeTextError(f"type is nested deeper than {MAX_TYPE_DEPTH}: {self._text[:80]}")
        word = self._next()
        base = _ALIASES.get(word.upper()) or Base.__members__.get(word.upper())
        match base:
            case None:
                raise TypeTextError(f"unknown type '{word}' in '{self._text[:200]}'")
            case Base.DECIMAL:
                return self._decimal()
            case Base.ARRAY:
                self._expect("<")
                element = self.type(depth + 1)
                self._expect(">")
                return array_of(element)
            case Base.MAP:
                return self._map(depth)
            case Base.STRUCT:
                return self._struct(depth)
            case Base.STRING:
                self._skip_length()
        return SqlType(base)

    def end(self) -> None:
        if self._at != len(self._tokens):
            raise TypeTextError(f"unexpected '{self._tokens[self._at]}' in '{self._text[:200]}'")

    def _decimal(self) -> SqlType:
        self._expect("(")
        precision = self._number()
        scale = 0
        if self._peek() == ",":
            self._next()
            scale = self._number()
        self._expect(")")
        if precision < 1 or scale > precision:
            raise TypeTextError(f"DECIMAL precision must be >= 1 and >= scale: {self._text[:200]}")
        return SqlType(Base.DECIMAL, precision=precision, scale=scale)

    def _map(self, depth: int) -> SqlType:
        self._expect("<")
        key = self.type(depth + 1)
        if key.base is not Base.STRING:
            raise TypeTextError(f"MAP keys must be STRING, not {key}")
        self._expect(",")
        element = self.type(depth + 1)
        self._expect(">")
        return map_of(element)

    def _struct(self, depth: int) -> SqlType:
        self._expect("<")
        fields: list[Column] = []
        while self._peek() != ">":
            if fields:
                self._expect(",")
            name = self._field_name()
            if any(field.name == name for field in fields):
                raise TypeTextError(f"duplicate field '{name}' in '{self._text[:200]}'")
            fields.append(Column(name, self.type(depth + 1)))
        self._expect(">")
        return SqlType(Base.STRUCT, fields=tuple(fields))

    def _field_name(self) -> str:
        word = self._next()
        if word in "<>(),":
            raise TypeTextError(f"expected a name, found '{word}' in '{self._text[:200]}'")
        try:
            return fold(word)
        except NameTextError as problem:
            raise TypeTextError(str(problem)) from None

    def _skip_length(self) -> None:
        """VARCHAR(n) is read as STRING: ksqlDB keeps no length."""
        if self._peek() == "(":
            self._next()
            self._number()
            self._expect(")")

    def _number(self) -> int:
        word = self._next()
        if not (word.isascii() and word.isdigit() and len(word) < 6):
            raise TypeTextError(f"expected a number, found '{word}' in '{self._text[:200]}'")
        return int(word)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise TypeTextError(f"type text ends early: '{self._text[:200]}'")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise TypeTextError(f"expected '{token}', found '{found}' in '{self._text[:200]}'")


def _tokens(text: str) -> Iterator[str]:
    """Words, quoted names (quotes kept) and the signs ``<>(),``."""
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif char in "<>(),":
            yield char
            at += 1
        else:
            end = _quoted_end(text, at) if char in '`"' else _word_end(text, at)
            yield text[at:end]
            at = end


def _word_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and not text[end].isspace() and text[end] not in "<>(),":
        end += 1
    return end


def _quoted_end(text: str, start: int) -> int:
    sign = text[start]
    end = start + 1
    while True:
        end = text.find(sign, end)
        if end < 0:
            raise TypeTextError(f"unbalanced {sign} in '{text[:200]}'")
        if text[end + 1 : end + 2] != sign:
            return end + 1
        end += 2


class NameTextError(ValueError):
    """A name whose quotes do not balance."""


def fold(text: str) -> str:
    """An identifier as ksqlDB reads it: unquoted → upper case, quoted → literal.

    Back-ticks and double quotes both quote; a doubled quote inside stands for one.
    Raises `NameTextError` on unbalanced quotes.
    """
    if text[:1] in ("`", '"'):
        return _unquote(text)
    if "`" in text or '"' in text:
        raise NameTextError(f"unbalanced quotes in name: {text}")
    return text.upper()


def _unquote(text: str) -> str:
    sign = text[0]
    if len(text) < 3 or text[-1] != sign:
        raise NameTextError(f"unbalanced quotes in name: {text}")
    inner = text[1:-1]
    if sign in inner.replace(sign + sign, ""):
        raise NameTextError(f"unbalanced quotes in name: {text}")
    return inner.replace(sign + sign, sign)
