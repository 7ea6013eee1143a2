"""What a text posted to ``/query-stream`` is: a pull query, a push query, or neither.

Owns: that there is exactly one statement, that it is a query, and where ``EMIT CHANGES`` stands.
The query's own text is passed on, not read: all but the semicolon, and ``EMIT CHANGES``, which is
cut out by its position, stays byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import BadStatement
from protocol.lexer import Piece, Token, statements_of, syntax_error
from protocol.variables import substitute
from protocol.vocabulary import PRINT, QUERY_WORDS, STATEMENT_WORDS, refusal, unknown_statement


@dataclass(frozen=True, slots=True)
class PullQuery:
    """A query with an end. ``sql`` is the text up to the semicolon, untouched."""

    sql: str


@dataclass(frozen=True, slots=True)
class PushQueryText:
    """A query that goes on for ever: ``sql`` is its text without ``EMIT CHANGES``.

    ``source_text`` is the name behind its first FROM as it was written, quotes and dots included;
    None where something else than a name stands there.
    """

    sql: str
    source_text: str | None


def parse_query(text: str, variables: Mapping[str, Any] | None = None) -> PullQuery | PushQueryText:
    """Classify the ``sql`` of a query request, after ``${}`` substitution (§1.4, §2.4).

    Raises `BadStatement`: not one statement, not a query, or ``EMIT`` where it does not belong.
    """
    filled = substitute(text, variables or {})
    pieces = statements_of(filled)
    if len(pieces) != 1:
        _name_unknown(pieces)
        raise BadStatement(
            f"Expected exactly one KSQL statement; found {len(pieces)} instead", filled.strip()
        )
    return classify(pieces[0])


def classify(piece: Piece) -> PullQuery | PushQueryText:
    """What the query in the piece is. Raises as `parse_query` does."""
    _require_query(piece)
    emit = _find_emit(piece)
    if emit is None:
        return PullQuery(piece.sql)
    start, stop = emit
    tokens = piece.tokens
    cut_from, cut_to = tokens[start].start - piece.start, tokens[stop].end - piece.start
    sql = piece.sql[:cut_from] + piece.sql[cut_to:]
    return PushQueryText(sql.strip(), _source_text(piece))


def is_query(piece: Piece) -> bool:
    """Whether the statement begins as a query does."""
    first = piece.tokens[0]
    return first.says(*QUERY_WORDS) or first.is_sign("(")


def _name_unknown(pieces: list[Piece]) -> None:
    """A text that cannot be read is told so before its statements are counted, as ksqlDB does."""
    for piece in pieces:
        first = piece.tokens[0]
        if not is_query(piece) and not first.says(*STATEMENT_WORDS):
            problem = unknown_statement(first.text)
            raise syntax_error(piece.source, first.start, problem, piece.text)


def _require_query(piece: Piece) -> None:
    _name_unknown([piece])
    if is_query(piece):
        return
    if piece.tokens[0].says("PRINT"):
        raise BadStatement(refusal(("PRINT",), PRINT), piece.text)
    raise BadStatement("Neither a query nor a print statement", piece.text)


def _find_emit(piece: Piece) -> tuple[int, int] | None:
    """Indexes of the tokens EMIT and CHANGES; None if the query is a pull query.

    They stand outside of parentheses behind a FROM and its source, and only the end, WHERE or
    LIMIT may follow. Elsewhere the two words may be a column and its alias.
    """
    depth = 0
    source_seen: int | None = None
    tokens = piece.tokens
    found: int | None = None
    for at, token in enumerate(tokens):
        depth += token.is_sign("(") - token.is_sign(")")
        if depth == 0 and source_seen is None and _is_from(tokens, at):
            source_seen = at + 1
        if not _is_emit(tokens, at):
            continue
        if depth > 0:
            raise _misplaced(piece, token)
        if source_seen is not None and at > source_seen:
            if found is not None:
                raise _misplaced(piece, token)
            found = at
    if found is None:
        return None
    _check_emit(piece, found)
    return found, found + 1


def _is_from(tokens: tuple[Token, ...], at: int) -> bool:
    """``x IS DISTINCT FROM y`` has no source behind its FROM."""
    return tokens[at].says("FROM") and not tokens[at - 1].says("DISTINCT")


def _is_emit(tokens: tuple[Token, ...], at: int) -> bool:
    return (
        tokens[at].says("EMIT")
        and at + 1 < len(tokens)
        and tokens[at + 1].says("CHANGES", "FINAL")
        and (at == 0 or not tokens[at - 1].is_sign("."))
    )


def _check_emit(piece: Piece, at: int) -> None:
    if piece.tokens[at + 1].says("FINAL"):
        raise BadStatement(
            "EMIT FINAL is not supported by this gateway: windows are not kept. "
            "Use a pull query with GROUP BY, or EMIT CHANGES without a window.",
            piece.text,
        )
    rest = piece.tokens[at + 2 :]
    if rest and not rest[0].says("LIMIT", "WHERE"):
        found = rest[0].text[:80]
        problem = f"Expected LIMIT or the end of the query behind EMIT CHANGES, found '{found}'"
        raise syntax_error(piece.source, rest[0].start, problem, piece.text)
    if not piece.tokens[0].says("SELECT"):
        raise BadStatement(
            "EMIT CHANGES belongs to a single SELECT; leave WITH and parentheses out", piece.text
        )


def _misplaced(piece: Piece, token: Token) -> BadStatement:
    problem = "EMIT CHANGES belongs once at the end of the query, outside of parentheses"
    return syntax_error(piece.source, token.start, problem, piece.text)


def _source_text(piece: Piece) -> str | None:
    """The (dotted) name behind the first FROM outside of parentheses, as it was written."""
    depth = 0
    for at, token in enumerate(piece.tokens):
        depth += token.is_sign("(") - token.is_sign(")")
        if depth == 0 and _is_from(piece.tokens, at):
            return _dotted_name(piece, at + 1)
    return None


def _dotted_name(piece: Piece, at: int) -> str | None:
    tokens = piece.tokens
    if at >= len(tokens) or not tokens[at].is_identifier:
        return None
    last = at
    while (
        last + 2 < len(tokens) and tokens[last + 1].is_sign(".") and tokens[last + 2].is_identifier
    ):
        last += 2
    return piece.source[tokens[at].start : tokens[last].end]
