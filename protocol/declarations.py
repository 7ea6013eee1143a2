"""``CREATE`` and ``DROP``: columns, their types, and the WITH properties.

Owns: the grammar of a declaration. Must never know: what a property means, or what exists.
Every error is a `protocol.errors.BadStatement`.
"""

from protocol.errors import BadStatement
from protocol.forms import CreateSource, DropConnector, DropSource, SourceWord
from protocol.lexer import Kind, Token, literal
from protocol.reader import Reader
from protocol.types import Column, NameTextError, SqlType, TypeTextError, parse_type
from protocol.vocabulary import AS_SELECT, CONNECTORS, refusal


def create(reader: Reader) -> CreateSource:
    """What follows ``CREATE``."""
    or_replace = reader.takes("OR", "REPLACE")
    kind = source_word(reader)
    if_not_exists = reader.takes("IF", "NOT", "EXISTS")
    name = reader.name(f"the name of the {kind.lower()}")
    columns = columns_of(reader, kind) if reader.takes_sign("(") else ()
    properties = properties_of(reader) if reader.takes("WITH") else {}
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


def source_word(reader: Reader) -> SourceWord:
    """STREAM or TABLE."""
    if reader.takes("STREAM"):
        return "STREAM"
    if reader.takes("TABLE"):
        return "TABLE"
    raise reader.unexpected("STREAM or TABLE")


def columns_of(reader: Reader, kind: SourceWord) -> tuple[Column, ...]:
    """Declared columns up to the closing parenthesis; the opening one has been read."""
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


def properties_of(reader: Reader) -> dict[str, str]:
    """What follows ``WITH``: upper-case names and the values' text."""
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


def drop(reader: Reader) -> DropSource | DropConnector:
    """What follows ``DROP``."""
    if reader.takes("CONNECTOR"):
        return _drop_connector(reader)
    kind = source_word(reader)
    if_exists = reader.takes("IF", "EXISTS")
    name = reader.name(f"the name of the {kind.lower()}")
    delete_topic = reader.takes("DELETE", "TOPIC")
    return DropSource(
        text=reader.statement, kind=kind, name=name, if_exists=if_exists, delete_topic=delete_topic
    )


def _drop_connector(reader: Reader) -> DropConnector:
    if not reader.takes("IF", "EXISTS"):
        raise BadStatement(refusal(("DROP", "CONNECTOR"), CONNECTORS), reader.statement)
    return DropConnector(text=reader.statement, name=reader.name("the name of the connector"))
