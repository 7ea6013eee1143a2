"""ksqlDB's statements → frozen dataclasses: one parse function for each, behind one table.

Owns: the grammar of what ``/ksql`` serves, and the refusal of what it does not, with a sentence
that says what to do instead. Must never know: which streams exist, or what a property means.

Every error is a `protocol.errors.BadStatement` (40001) that carries the statement's text; a query
posted here is a `QueryOnKsql` (40002). A text is read whole before anything of it runs, so a typing
error in the last statement leaves nothing half done.

Read in this order: `lexer`, `variables`, `vocabulary`, `reader`, this, `query_text`, `names`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from protocol.errors import BadStatement, QueryOnKsql
from protocol.lexer import Kind, Piece, Token, literal, statements_of
from protocol.query_text import PullQuery, PushQueryText, is_query, parse_query
from protocol.reader import Reader
from protocol.types import Column, NameTextError, SqlType, TypeTextError, parse_type
from protocol.variables import substitute
from protocol.vocabulary import AS_SELECT, REFUSALS, refusal, unknown_statement

__all__ = [
    "CreateSource",
    "Describe",
    "DropSource",
    "ListProperties",
    "ListQueries",
    "ListSources",
    "ListTopics",
    "PullQuery",
    "PushQueryText",
    "SetProperty",
    "SourceWord",
    "Statement",
    "Terminate",
    "UnsetProperty",
    "parse_query",
    "parse_statements",
]

SourceWord = Literal["STREAM", "TABLE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSource:
    """``CREATE [OR REPLACE] STREAM|TABLE [IF NOT EXISTS] name (columns) WITH (properties)``.

    ``properties`` have upper-case names and the values' text, quotes off. ``columns`` is empty
    where the statement names none.
    """

    text: str
    kind: SourceWord
    name: str
    columns: tuple[Column, ...]
    properties: Mapping[str, str]
    or_replace: bool = False
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSource:
    """``DROP STREAM|TABLE [IF EXISTS] name [DELETE TOPIC]``."""

    text: str
    kind: SourceWord
    name: str
    if_exists: bool = False
    delete_topic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSources:
    """``LIST STREAMS|TABLES [EXTENDED]``."""

    text: str
    kind: SourceWord
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTopics:
    """``LIST [ALL] TOPICS [EXTENDED]``."""

    text: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQueries:
    """``LIST QUERIES [EXTENDED]``."""

    text: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListProperties:
    """``LIST PROPERTIES``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """``DESCRIBE name [EXTENDED]``; ``target`` is the name as it was written, quotes included."""

    text: str
    target: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """``TERMINATE [QUERY] id``, the id as it was written without quotes; None: ``ALL``."""

    text: str
    query_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetProperty:
    """``SET 'name' = 'value'``: taken, and without effect beyond the request."""

    text: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsetProperty:
    """``UNSET 'name'``."""

    text: str
    name: str


Statement = (
    CreateSource
    | DropSource
    | ListSources
    | ListTopics
    | ListQueries
    | ListProperties
    | Describe
    | Terminate
    | SetProperty
    | UnsetProperty
)


def parse_statements(
    text: str, variables: Mapping[str, Any] | None = None
) -> tuple[Statement, ...]:
    """Every statement of a ``/ksql`` text, after ``${}`` substitution; none for an empty text.

    The last one may lack its semicolon. Raises `BadStatement` for the first that cannot be read or
    is not served, `QueryOnKsql` for a query.
    """
    return tuple(_parse(piece) for piece in statements_of(substitute(text, variables or {})))


def _parse(piece: Piece) -> Statement:
    first = piece.tokens[0]
    if is_query(piece) or first.says("PRINT"):
        raise QueryOnKsql(
            "A query or PRINT cannot run here: post it to the /query-stream endpoint", piece.text
        )
    _refuse(piece)
    reader = Reader(piece)
    word = reader.next("a statement")
    parse = _STATEMENTS.get(word.text.upper()) if word.kind is Kind.WORD else None
    if parse is None:
        raise reader.error(word, unknown_statement(word.text))
    statement = parse(reader)
    reader.end()
    return statement


def _refuse(piece: Piece) -> None:
    """Known statements that are not served, by their longest run of first words."""
    words = tuple(_plain(token) for token in piece.tokens[:3])
    for length in (3, 2, 1):
        instead = REFUSALS.get(words[:length])
        # `DESCRIBE function;` and `DESCRIBE connector;` describe a stream of that name.
        if instead is not None and (words[0] != "DESCRIBE" or len(piece.tokens) > length):
            raise BadStatement(refusal(words[:length], instead), piece.text)


def _plain(token: Token) -> str:
    word = token.text.upper() if token.kind is Kind.WORD else ""
    return "LIST" if word == "SHOW" else word


# ── CREATE and DROP ──────────────────────────────────────────────────────────────────────────


def _create(reader: Reader) -> CreateSource:
    or_replace = reader.takes("OR", "REPLACE")
    kind = _source_word(reader)
    if_not_exists = reader.takes("IF", "NOT", "EXISTS")
    name = reader.name(f"the name of the {kind.lower()}")
    columns = _columns(reader, kind) if reader.takes_sign("(") else ()
    properties = _properties(reader) if reader.takes("WITH") else {}
    if reader.takes("AS"):
        raise BadStatement(refusal(("CREATE", kind, "AS", "SELECT"), AS_SELECT), reader.statement)
    return CreateSource(
        text=reader.statement,
        kind=kind,
        name=name,
        columns=columns,
        properties=properties,
        or_replace=or_replace,
        if_not_exists=if_not_exists,
    )


def _source_word(reader: Reader) -> SourceWord:
    if reader.takes("STREAM"):
        return "STREAM"
    if reader.takes("TABLE"):
        return "TABLE"
    raise reader.unexpected("STREAM or TABLE")


def _columns(reader: Reader, kind: SourceWord) -> tuple[Column, ...]:
    columns = [_column(reader, kind)]
    while not reader.takes_sign(")"):
        reader.expect_sign(",")
        columns.append(_column(reader, kind))
    return tuple(columns)


def _column(reader: Reader, kind: SourceWord) -> Column:
    name = reader.name("the name of a column")
    type_ = _type(reader)
    token = reader.peek()
    if token is not None and token.says("HEADERS", "HEADER"):
        problem = f"Column `{name}` is of headers, and rows here have none: leave it out"
        raise reader.error(token, problem)
    if reader.takes("PRIMARY", "KEY"):
        if kind == "STREAM":
            raise reader.error(token, f"Column `{name}` of a stream is KEY, not PRIMARY KEY")
        return Column(name, type_, key=True)
    if reader.takes("KEY"):
        if kind == "TABLE":
            raise reader.error(token, f"Column `{name}` of a table is PRIMARY KEY, not KEY")
        return Column(name, type_, key=True)
    return Column(name, type_)


def _type(reader: Reader) -> SqlType:
    """The tokens up to the comma, parenthesis or KEY that ends the type, read as type text."""
    first = reader.peek()
    taken: list[str] = []
    depth = 0
    while (token := reader.peek()) is not None:
        if depth == 0 and (token.is_sign(",", ")") or token.says(*_AFTER_TYPE)):
            break
        depth += token.is_sign("(", "<") - token.is_sign(")", ">")
        taken.append(reader.next("a type").text)
    if not taken:
        raise reader.unexpected("the type of the column")
    try:
        # Blanks between the tokens stand for the comments that stood there.
        return parse_type(" ".join(taken))
    except (TypeTextError, NameTextError) as error:
        raise reader.error(first, f"Not a type: {error}") from error


_AFTER_TYPE = ("KEY", "PRIMARY", "HEADERS", "HEADER")


def _properties(reader: Reader) -> dict[str, str]:
    reader.expect_sign("(")
    properties: dict[str, str] = {}
    while not reader.takes_sign(")"):
        if properties:
            reader.expect_sign(",")
        token = reader.next("the name of a property")
        name = _property_name(reader, token)
        if name in properties:
            raise reader.error(token, f"Property '{name}' is given twice")
        reader.expect_sign("=")
        properties[name] = _value(reader)
    return properties


def _property_name(reader: Reader, token: Token) -> str:
    if token.kind is Kind.STRING:
        return literal(token).upper()
    if token.is_identifier:
        return reader.fold(token).upper()
    raise reader.error(token, f"Expected the name of a property, found '{token.text}'")


def _value(reader: Reader) -> str:
    """A string, a number or a word such as ``true``, as text."""
    minus = "-" if reader.takes_sign("-") else ""
    token = reader.next("a value")
    if token.kind is Kind.NUMBER or (token.kind is Kind.WORD and not minus):
        return minus + token.text
    if token.kind is Kind.STRING and not minus:
        return literal(token)
    raise reader.error(token, f"Expected a value, found '{minus}{token.text}'")


def _drop(reader: Reader) -> DropSource:
    kind = _source_word(reader)
    if_exists = reader.takes("IF", "EXISTS")
    name = reader.name(f"the name of the {kind.lower()}")
    delete_topic = reader.takes("DELETE", "TOPIC")
    return DropSource(
        text=reader.statement, kind=kind, name=name, if_exists=if_exists, delete_topic=delete_topic
    )


# ── LIST, DESCRIBE and the rest ──────────────────────────────────────────────────────────────


def _list(reader: Reader) -> Statement:
    text = reader.statement
    if reader.takes("ALL"):
        reader.expect("TOPICS")
        return ListTopics(text=text, extended=reader.takes("EXTENDED"))
    token = reader.next("what to list")
    match token.text.upper():
        case "STREAMS":
            return ListSources(text=text, kind="STREAM", extended=reader.takes("EXTENDED"))
        case "TABLES":
            return ListSources(text=text, kind="TABLE", extended=reader.takes("EXTENDED"))
        case "TOPICS":
            return ListTopics(text=text, extended=reader.takes("EXTENDED"))
        case "QUERIES":
            return ListQueries(text=text, extended=reader.takes("EXTENDED"))
        case "PROPERTIES":
            reader.takes("EXTENDED")
            return ListProperties(text=text)
    problem = f"Expected STREAMS, TABLES, TOPICS, QUERIES or PROPERTIES, found '{token.text[:80]}'"
    raise reader.error(token, problem)


def _describe(reader: Reader) -> Statement:
    token = reader.next("the name of a stream or table")
    if not token.is_identifier:
        raise reader.error(token, f"Expected the name of a stream or table, found '{token.text}'")
    reader.fold(token)
    return Describe(text=reader.statement, target=token.text, extended=reader.takes("EXTENDED"))


def _terminate(reader: Reader) -> Terminate:
    """A query's id may hold hyphens: unquoted, it is the run of tokens with no gap between."""
    if reader.takes("ALL"):
        return Terminate(text=reader.statement, query_id=None)
    following = reader.peek(1)
    if following is not None and not following.is_sign("-"):
        reader.takes("QUERY")
    token = reader.next("the id of a query")
    if token.kind is Kind.STRING:
        return Terminate(text=reader.statement, query_id=literal(token))
    if token.kind is Kind.NAME:
        return Terminate(text=reader.statement, query_id=reader.fold(token))
    query_id, end = token.text, token.end
    while (token_ := reader.peek()) is not None and token_.start == end:
        query_id, end = query_id + token_.text, token_.end
        reader.next("the id of a query")
    return Terminate(text=reader.statement, query_id=query_id)


def _set(reader: Reader) -> SetProperty:
    name = reader.string("the name of a property in single quotes")
    reader.expect_sign("=")
    value = reader.string("the value in single quotes")
    return SetProperty(text=reader.statement, name=name, value=value)


def _unset(reader: Reader) -> UnsetProperty:
    name = reader.string("the name of a property in single quotes")
    return UnsetProperty(text=reader.statement, name=name)


_STATEMENTS: dict[str, Callable[[Reader], Statement]] = {
    "CREATE": _create,
    "DROP": _drop,
    "LIST": _list,
    "SHOW": _list,
    "DESCRIBE": _describe,
    "TERMINATE": _terminate,
    "SET": _set,
    "UNSET": _unset,
}
