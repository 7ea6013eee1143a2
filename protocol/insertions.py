"""``INSERT`` and ``REPLACE``: rows in the text, and Druid's own batch statements.

Owns: which of the two a text is, and the grammar of ``VALUES``. Must never know: the columns of a
target. Druid's statements are told by ``PARTITIONED BY`` outside of parentheses, which ksqlDB does
not have and Druid wants; their text is passed on, not read.
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from protocol.errors import BadStatement
from protocol.forms import InsertValues, MapValue, StructValue, Value, WarehouseTask
from protocol.lexer import Kind, Piece, Token, literal
from protocol.reader import Reader
from protocol.types import MAX_TYPE_DEPTH
from protocol.vocabulary import INSERT_SELECT, refusal

MAX_NUMBER_CHARS = 100
"""Longest number of a row: no type holds more digits, and reading them is not linear."""

_LITERAL = "a string, a number, TRUE, FALSE, NULL, ARRAY[…], MAP(…) or STRUCT(…)"


def insert(reader: Reader) -> InsertValues | WarehouseTask:
    """What follows ``INSERT``."""
    reader.expect("INTO")
    if _outside_parentheses(reader.piece, "PARTITIONED", "BY"):
        return _task(reader)
    target = reader.written_name("the name of a stream or table")
    columns = None
    if reader.takes_sign("("):
        columns = _written_names(reader)
    if reader.starts_query():
        problem = refusal(("INSERT", "INTO", "SELECT"), INSERT_SELECT)
        raise BadStatement(problem, reader.statement)
    reader.expect("VALUES")
    rows = [_row(reader)]
    while reader.takes_sign(","):
        rows.append(_row(reader))
    return InsertValues(text=reader.statement, target=target, columns=columns, rows=tuple(rows))


def replace(reader: Reader) -> WarehouseTask:
    """What follows ``REPLACE``."""
    reader.expect("INTO")
    if not _outside_parentheses(reader.piece, "OVERWRITE"):
        raise reader.error(None, "REPLACE INTO needs OVERWRITE ALL, or OVERWRITE WHERE and a time")
    return _task(reader)


def _task(reader: Reader) -> WarehouseTask:
    reader.skip_all()
    return WarehouseTask(text=reader.statement, sql=reader.piece.sql)


def _outside_parentheses(piece: Piece, *words: str) -> bool:
    depth = 0
    for at, token in enumerate(piece.tokens):
        depth += token.is_sign("(") - token.is_sign(")")
        run = piece.tokens[at : at + len(words)]
        if depth == 0 and len(run) == len(words) and all(map(Token.says, run, words)):
            return True
    return False


def _written_names(reader: Reader) -> tuple[str, ...]:
    names = [reader.written_name("the name of a column")]
    while not reader.takes_sign(")"):
        reader.expect_sign(",")
        names.append(reader.written_name("the name of a column"))
    return tuple(names)


def _row(reader: Reader) -> tuple[Value, ...]:
    reader.expect_sign("(")
    return tuple(_values(reader, ")", 0))


# ── literals ─────────────────────────────────────────────────────────────────────────────────


def _values(reader: Reader, closing: str, depth: int) -> list[Value]:
    """Values between commas, up to the closing sign; there may be none."""
    values: list[Value] = []
    while not reader.takes_sign(closing):
        if values:
            reader.expect_sign(",")
        values.append(_value(reader, depth))
    return values


def _value(reader: Reader, depth: int) -> Value:
    token = reader.peek()
    if depth > MAX_TYPE_DEPTH:
        raise reader.error(token, f"A value is nested deeper than {MAX_TYPE_DEPTH}")
    if token is None:
        raise reader.unexpected(_LITERAL)
    if token.kind is Kind.STRING:
        return literal(reader.next("a string"))
    if reader.takes("NULL"):
        return None
    if reader.takes("TRUE"):
        return True
    if reader.takes("FALSE"):
        return False
    if token.kind is Kind.NUMBER or token.is_sign("-", "+"):
        return _number(reader)
    return _nested(reader, token, depth)


def _nested(reader: Reader, token: Token, depth: int) -> Value:
    following = reader.peek(1)
    if following is not None and following.is_sign("(", "["):
        if following.is_sign("[") and reader.takes("ARRAY"):
            reader.expect_sign("[")
            return _values(reader, "]", depth + 1)
        if following.is_sign("(") and reader.takes("MAP"):
            return MapValue(_members(reader, depth + 1, _map_key))
        if following.is_sign("(") and reader.takes("STRUCT"):
            return StructValue(_members(reader, depth + 1, _struct_field))
        problem = f"'{token.text[:80]}' cannot be computed here: write its result as {_LITERAL}"
        raise reader.error(token, problem)
    raise reader.unexpected(_LITERAL)


def _map_key(reader: Reader) -> str:
    return reader.string("a key in single quotes")


def _struct_field(reader: Reader) -> str:
    return reader.name("the name of a field")


def _members(reader: Reader, depth: int, name_of: Callable[[Reader], str]) -> dict[str, Any]:
    """``name := value`` between commas, up to the closing parenthesis."""
    reader.expect_sign("(")
    members: dict[str, Any] = {}
    while not reader.takes_sign(")"):
        if members:
            reader.expect_sign(",")
        token = reader.peek()
        name = name_of(reader)
        if name in members:
            raise reader.error(token, f"'{name[:80]}' is given twice")
        reader.expect_sign(":=")
        members[name] = _value(reader, depth)
    return members


def _number(reader: Reader) -> int | Decimal:
    minus = reader.takes_sign("-")
    if not minus:
        reader.takes_sign("+")
    token = reader.peek()
    if token is None or token.kind is not Kind.NUMBER:
        raise reader.unexpected("a number")
    reader.next("a number")
    if len(token.text) > MAX_NUMBER_CHARS:
        problem = f"A number of {len(token.text)} characters: {MAX_NUMBER_CHARS} are allowed"
        raise reader.error(token, problem)
    text = f"-{token.text}" if minus else token.text
    if token.text.isdigit():
        return int(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise reader.error(token, f"Not a number: '{token.text}'") from None
