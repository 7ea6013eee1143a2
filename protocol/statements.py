"""ksqlDB's statements → frozen dataclasses: one parse function for each, behind one table.

Owns: which statements ``/ksql`` serves, the short ones' grammar, and the refusal of what it does
not serve, with a sentence that says what to do instead. Must never know: which streams exist, or
what a property means.

Every error is a `protocol.errors.BadStatement` (40001) that carries the statement's text; a query
posted here is a `QueryOnKsql` (40002). A text is read whole before anything of it runs, so a typing
error in the last statement leaves nothing half done; ``DEFINE`` holds for what follows it.

Read in this order: `lexer`, `variables`, `vocabulary`, `reader`, `query_text`, `forms`,
`declarations`, `insertions`, `assertions`, this, `names`.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from protocol.assertions import assertion
from protocol.declarations import create, drop
from protocol.errors import BadStatement, QueryOnKsql
from protocol.forms import (
    AssertSchema,
    AssertSource,
    AssertTopic,
    CreateSource,
    DefineVariable,
    Describe,
    DropConnector,
    DropSource,
    Explain,
    InsertValues,
    ListAbsent,
    ListFunctions,
    ListProperties,
    ListQueries,
    ListSources,
    ListTopics,
    ListVariables,
    SetProperty,
    SourceWord,
    Statement,
    Terminate,
    UndefineVariable,
    UnsetProperty,
    WarehouseTask,
)
from protocol.insertions import insert, replace
from protocol.lexer import Kind, Piece, Token, split, statements_of
from protocol.query_text import PullQuery, PushQueryText, classify, is_query, parse_query
from protocol.reader import Reader
from protocol.variables import Variables
from protocol.vocabulary import (
    EXPLAIN_STATEMENT,
    REFUSALS,
    TERMINATE_CLUSTER,
    refusal,
    unknown_statement,
)

__all__ = [
    "AssertSchema",
    "AssertSource",
    "AssertTopic",
    "CreateSource",
    "DefineVariable",
    "Describe",
    "DropConnector",
    "DropSource",
    "Explain",
    "InsertValues",
    "ListAbsent",
    "ListFunctions",
    "ListProperties",
    "ListQueries",
    "ListSources",
    "ListTopics",
    "ListVariables",
    "PullQuery",
    "PushQueryText",
    "SetProperty",
    "SourceWord",
    "Statement",
    "Terminate",
    "UndefineVariable",
    "UnsetProperty",
    "WarehouseTask",
    "parse_query",
    "parse_statements",
]


def parse_statements(
    text: str, variables: Mapping[str, Any] | None = None
) -> tuple[Statement, ...]:
    """Every statement of a ``/ksql`` text, after ``${}`` substitution; none for an empty text.

    The last one may lack its semicolon. Raises `BadStatement` for the first that cannot be read or
    is not served, `QueryOnKsql` for a query.
    """
    filled = _filled(text, Variables(variables or {}))
    return tuple(_parse(piece) for piece in statements_of(filled))


def _filled(text: str, variables: Variables) -> str:
    """The text with its variables replaced: each statement by what was defined before it.

    A value cannot end a statement, so filling in piece by piece cuts as the text itself does.
    """
    if "${" not in text:
        return text
    filled: list[str] = []
    for piece in split(text):
        filled.append(variables.fill(piece.raw))
        # What cannot be read is told by the parse of the whole, which knows its place in the text.
        with contextlib.suppress(BadStatement):
            _define_again(filled[-1], variables)
    return "".join(filled)


def _define_again(text: str, variables: Variables) -> None:
    for piece in statements_of(text):
        if not piece.tokens[0].says("DEFINE", "UNDEFINE"):
            return
        statement = _parse(piece)
        if isinstance(statement, DefineVariable):
            variables.define(statement.name, statement.value)
        elif isinstance(statement, UndefineVariable):
            variables.undefine(statement.name)


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
    return token.text.upper() if token.kind is Kind.WORD else ""


# ── LIST, DESCRIBE, EXPLAIN ──────────────────────────────────────────────────────────────────


def _list(reader: Reader) -> Statement:
    text = reader.statement
    if reader.takes("ALL"):
        reader.expect("TOPICS")
        return ListTopics(text=text, extended=reader.takes("EXTENDED"))
    for words, form in _LISTS.items():
        if reader.takes(*words):
            return form(text, reader.takes("EXTENDED"))
    raise reader.unexpected(
        "STREAMS, TABLES, TOPICS, QUERIES, PROPERTIES, VARIABLES, FUNCTIONS, TYPES or CONNECTORS"
    )


_LISTS: dict[tuple[str, ...], Callable[[str, bool], Statement]] = {
    ("STREAMS",): lambda text, more: ListSources(text=text, kind="STREAM", extended=more),
    ("TABLES",): lambda text, more: ListSources(text=text, kind="TABLE", extended=more),
    ("TOPICS",): lambda text, more: ListTopics(text=text, extended=more),
    ("QUERIES",): lambda text, more: ListQueries(text=text, extended=more),
    ("PROPERTIES",): lambda text, _: ListProperties(text=text),
    ("VARIABLES",): lambda text, _: ListVariables(text=text),
    ("FUNCTIONS",): lambda text, _: ListFunctions(text=text),
    ("TYPES",): lambda text, _: ListAbsent(text=text, what="types"),
    ("CONNECTORS",): lambda text, _: ListAbsent(text=text, what="connectors"),
    ("SOURCE", "CONNECTORS"): lambda text, _: ListAbsent(text=text, what="connectors"),
    ("SINK", "CONNECTORS"): lambda text, _: ListAbsent(text=text, what="connectors"),
    ("CONNECTOR", "PLUGINS"): lambda text, _: ListAbsent(text=text, what="plugins"),
}


def _describe(reader: Reader) -> Statement:
    text = reader.statement
    if reader.takes("STREAMS"):
        reader.takes("EXTENDED")
        return ListSources(text=text, kind="STREAM", extended=True)
    if reader.takes("TABLES"):
        reader.takes("EXTENDED")
        return ListSources(text=text, kind="TABLE", extended=True)
    target = reader.written_name("the name of a stream or table")
    return Describe(text=text, target=target, extended=reader.takes("EXTENDED"))


def _explain(reader: Reader) -> Explain:
    reader.takes("PLAN", "FOR")
    if reader.starts_query():
        return Explain(text=reader.statement, query=classify(reader.rest()))
    token = reader.peek()
    if token is not None and token.says("CREATE", "INSERT", "REPLACE"):
        words = ("EXPLAIN", token.text.upper())
        raise BadStatement(refusal(words, EXPLAIN_STATEMENT), reader.statement)
    return Explain(text=reader.statement, query_id=reader.id())


# ── the session ──────────────────────────────────────────────────────────────────────────────


def _terminate(reader: Reader) -> Terminate:
    first, following = reader.peek(), reader.peek(1)
    if reader.takes("ALL"):
        return Terminate(text=reader.statement, query_id=None)
    is_cluster = first is not None and first.says("CLUSTER")
    if is_cluster and (following is None or following.says("DELETE")):
        problem = refusal(("TERMINATE", "CLUSTER"), TERMINATE_CLUSTER)
        raise BadStatement(problem, reader.statement)
    if following is not None and not following.is_sign("-"):
        reader.takes("QUERY")
    return Terminate(text=reader.statement, query_id=reader.id())


def _set(reader: Reader) -> SetProperty:
    name = reader.string("the name of a property in single quotes")
    reader.expect_sign("=")
    value = reader.string("the value in single quotes")
    return SetProperty(text=reader.statement, name=name, value=value)


def _unset(reader: Reader) -> UnsetProperty:
    name = reader.string("the name of a property in single quotes")
    return UnsetProperty(text=reader.statement, name=name)


def _define(reader: Reader) -> DefineVariable:
    name = _variable(reader)
    reader.expect_sign("=")
    value = reader.string("the value in single quotes")
    return DefineVariable(text=reader.statement, name=name, value=value)


def _undefine(reader: Reader) -> UndefineVariable:
    return UndefineVariable(text=reader.statement, name=_variable(reader))


def _variable(reader: Reader) -> str:
    """A variable's name as it is written: it is found whatever its case."""
    token = reader.peek()
    if token is None or token.kind is not Kind.WORD:
        raise reader.unexpected("the name of a variable")
    return reader.next("the name of a variable").text


_STATEMENTS: dict[str, Callable[[Reader], Statement]] = {
    "CREATE": create,
    "DROP": drop,
    "INSERT": insert,
    "REPLACE": replace,
    "LIST": _list,
    "SHOW": _list,
    "DESCRIBE": _describe,
    "EXPLAIN": _explain,
    "TERMINATE": _terminate,
    "SET": _set,
    "UNSET": _unset,
    "DEFINE": _define,
    "UNDEFINE": _undefine,
    "ASSERT": assertion,
}
