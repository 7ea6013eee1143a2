"""``ASSERT``: what is claimed of topics, schemas and sources, and how a claim fails.

Owns: the grammar of the statement, and its two errors. Must never know: what exists.
"""

from typing import Any

from protocol.declarations import columns_of, properties_of
from protocol.errors import BadStatement, KsqlError
from protocol.forms import AssertSchema, AssertSource, AssertTopic, SourceWord
from protocol.lexer import Kind
from protocol.reader import Reader
from protocol.types import quote

TIMEOUT_MAX_S = 300.0
"""Longest that a request may wait for its claim to come true."""

_UNITS_S = {
    "MILLISECOND": 0.001,
    "SECOND": 1.0,
    "MINUTE": 60.0,
    "HOUR": 3600.0,
    "DAY": 86400.0,
}


class AssertionFailed(KsqlError):
    """The claim did not hold within its time: 417 (§1.8, §2.2)."""

    code = 41700


class NoSchemaRegistry(KsqlError):
    """A schema was asked for, and there is no registry of schemas: 428 (§1.8, §2.2)."""

    code = 42801

    def __init__(self) -> None:
        super().__init__(
            "KSQL is not configured to use a schema registry: a stream's schema is its columns, "
            "use ASSERT STREAM name (columns)"
        )


def assertion(reader: Reader) -> AssertTopic | AssertSource | AssertSchema:
    """What follows ``ASSERT``."""
    exists = not reader.takes("NOT", "EXISTS")
    if reader.takes("TOPIC"):
        return _topic(reader, exists)
    if reader.takes("SCHEMA"):
        return _schema(reader)
    if reader.takes("STREAM"):
        return _source(reader, "STREAM", exists)
    if reader.takes("TABLE"):
        return _source(reader, "TABLE", exists)
    raise reader.unexpected("TOPIC, SCHEMA, STREAM or TABLE")


def _topic(reader: Reader, exists: bool) -> AssertTopic:
    token = reader.peek()
    if token is not None and token.kind is Kind.STRING:
        # A string names the datasource literally, as back-ticks do.
        name = reader.string("the name of a topic")
        if not name:
            raise BadStatement("The name of a topic must not be empty", reader.statement)
        target = quote(name)
    else:
        target = reader.written_name("the name of a topic")
    properties = properties_of(reader) if reader.takes("WITH") else {}
    return AssertTopic(
        text=reader.statement,
        target=target,
        exists=exists,
        properties=properties,
        timeout_s=_timeout_s(reader),
    )


def _source(reader: Reader, kind: SourceWord, exists: bool) -> AssertSource:
    name = reader.name(f"the name of the {kind.lower()}")
    columns = columns_of(reader, kind) if reader.takes_sign("(") else ()
    properties = properties_of(reader) if reader.takes("WITH") else {}
    return AssertSource(
        text=reader.statement,
        kind=kind,
        name=name,
        exists=exists,
        columns=columns,
        properties=properties,
        timeout_s=_timeout_s(reader),
    )


def _schema(reader: Reader) -> AssertSchema:
    named: list[Any] = []
    if reader.takes("SUBJECT"):
        token = reader.peek()
        is_string = token is not None and token.kind is Kind.STRING
        named.append(reader.string("a subject") if is_string else reader.name("a subject"))
    if reader.takes("ID"):
        named.append(_whole_number(reader, "the id of a schema"))
    if not named:
        raise reader.unexpected("SUBJECT or ID")
    _timeout_s(reader)
    return AssertSchema(text=reader.statement)


def _timeout_s(reader: Reader) -> float | None:
    token = reader.peek()
    if not reader.takes("TIMEOUT"):
        return None
    amount = _whole_number(reader, "a number")
    unit = reader.next("a unit of time")
    scale_s = _UNITS_S.get(unit.text.upper().removesuffix("S"))
    if scale_s is None:
        raise reader.error(unit, f"Expected a unit such as SECONDS, found '{unit.text[:80]}'")
    if amount * scale_s > TIMEOUT_MAX_S:
        raise reader.error(token, f"TIMEOUT is longer than {TIMEOUT_MAX_S:.0f} seconds")
    return amount * scale_s


def _whole_number(reader: Reader, wanted: str) -> int:
    token = reader.peek()
    if token is None or token.kind is not Kind.NUMBER:
        raise reader.unexpected(wanted)
    if not token.text.isdigit() or len(token.text) > 18:
        raise reader.error(token, f"Expected {wanted}, found '{token.text[:80]}'")
    reader.next(wanted)
    return int(token.text)
