"""The skeleton of a SELECT: which words of it belong to which part, by tokens alone.

Owns: finding each SELECT of a query, its items, its sources with their aliases, and the words
that may name columns, with the clause they stand in. Must never know: any stream or column.

This is no parser of SQL: text that it does not understand belongs to nothing, and so nobody
touches it. There is no recursion, one pass, and nesting and
sources are bounded (`MAX_DEPTH`, `MAX_SOURCES`).
"""

from dataclasses import dataclass, field
from enum import Enum

from protocol.lexer import Kind, Token, syntax_error
from protocol.types import NameTextError, fold

MAX_DEPTH = 100
"""Deepest nesting of parentheses."""

MAX_SOURCES = 200
"""Most sources of one SELECT: each of its words is looked for in all of them."""

_RESERVED_WORDS = """
    ALL AND ANY AS ASC BETWEEN BOTH BY CASE CAST CROSS CUBE CURRENT DESC DISTINCT ELSE END ESCAPE
    EXCEPT EXISTS EXTEND FALSE FETCH FILTER FOLLOWING FOR FROM FULL GROUP GROUPING HAVING ILIKE IN
    INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEADING LEFT LIKE LIMIT MINUS NATURAL NOT NULL
    NULLS OFFSET ON OR ORDER OUTER OVER OVERLAPS PARTITION PRECEDING RANGE RIGHT RLIKE ROLLUP ROW
    ROWS SELECT SIMILAR SOME SYMMETRIC TABLE TABLESAMPLE THEN TO TRAILING TRUE UNBOUNDED UNION
    UNNEST USING VALUES WHEN WHERE WINDOW WITH WITHIN
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
"""Words that name nothing unless they are quoted."""

_LATER_CLAUSES = ("WHERE", "HAVING", "LIMIT", "OFFSET", "FETCH", "WINDOW")
_SET_OPERATORS = ("UNION", "EXCEPT", "INTERSECT", "MINUS")


class Clause(Enum):
    """Where a word stands in its SELECT."""

    ITEMS = "items"
    FROM = "from"
    ON = "on"
    USING = "using"
    OTHER = "other"
    ORDER = "order"
    SET_ORDER = "set order"
    """ORDER BY behind a UNION: it sees the names that the first SELECT gives out"""


@dataclass(slots=True)
class SourceRef:
    """What stands behind FROM or JOIN. Token indexes; ``renamed``: its alias lists new columns.

    A name has ``name_at``; a subquery, or the name of one of the query's WITH, has ``query``;
    all else (a dotted name, a table function) has neither.
    """

    name_at: int | None = None
    query: "Query | None" = None
    alias_at: int | None = None
    renamed: bool = False


@dataclass(slots=True)
class Select:
    """One SELECT: ``items`` are token ranges, ``words`` the identifiers that stand in it."""

    parent: "Select | None"
    items: list[tuple[int, int]] = field(default_factory=list)
    sources: list[SourceRef] = field(default_factory=list)
    words: list[tuple[int, Clause]] = field(default_factory=list)


@dataclass(slots=True)
class Query:
    """SELECTs under set operators; the first one names the columns."""

    selects: list[Select] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    """A pair of parentheses, or the whole text.

    ``query`` is None where the parentheses hold no query: then ``select`` and ``clause`` are those
    of the place where they stand.
    """

    query: Query | None
    select: Select | None = None
    clause: Clause = Clause.OTHER
    outer: Select | None = None
    wants_source: bool = False
    item_start: int = 0
    cte: str | None = None


class Skeleton:
    """``top``: the query; ``selects``: every SELECT of it, inner ones before those around them."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._ctes: dict[str, Query | None] = {}
        self.top = Query()
        self.selects: list[Select] = []
        self.balanced = True
        self._frames = [_Frame(self.top)]
        self._scan()

    def _scan(self) -> None:
        at = 0
        while at < len(self._tokens):
            token = self._tokens[at]
            if token.is_sign("("):
                self._open(at)
                at += 1
            elif token.is_sign(")"):
                at = self._close(at)
            else:
                at = self._step(at, token)
            if not self.balanced:
                return
        self.balanced = len(self._frames) == 1
        self._end_select(self._frames[0], len(self._tokens))

    # parentheses

    def _open(self, at: int) -> None:
        frame = self._frames[-1]
        if len(self._frames) > MAX_DEPTH:
            token = self._tokens[at]
            raise syntax_error(
                self._text, token.start, f"Nested deeper than {MAX_DEPTH} parentheses"
            )
        inside = self._token(at + 1)
        if inside is None or not inside.says("SELECT", "WITH"):
            self._frames.append(self._plain(frame, at))
            return
        opened = _Frame(Query(), outer=frame.select or frame.outer)
        if frame.wants_source and frame.select is not None:
            frame.select.sources.append(SourceRef(query=opened.query))
        elif frame.query is not None and frame.select is None:
            opened.cte = self._cte_name(at)
        self._frames.append(opened)

    def _plain(self, frame: _Frame, at: int) -> _Frame:
        """Parentheses without a query; those around a join belong to nothing."""
        if frame.wants_source and frame.select is not None:
            frame.select.sources.append(SourceRef())
            return _Frame(None, outer=frame.select)
        clause = Clause.OTHER if frame.clause is Clause.FROM else frame.clause
        if self._before(at, "USING"):
            clause = Clause.USING
        return _Frame(None, select=frame.select, clause=clause, outer=frame.outer)

    def _close(self, at: int) -> int:
        if len(self._frames) == 1:
            self.balanced = False
            return at
        closed = self._frames.pop()
        self._end_select(closed, at)
        if closed.cte is not None:
            self._ctes[closed.cte] = closed.query
        frame = self._frames[-1]
        if frame.wants_source:
            frame.wants_source = False
            return self._alias(frame, at + 1)
        return at + 1

    def _cte_name(self, at: int) -> str | None:
        """The name in ``name AS (``; ``name (a, b) AS (`` renames, so its columns are unknown."""
        name = self._token(at - 2) if self._before(at, "AS") else None
        if name is not None and name.is_sign(")"):
            self._forget_renamed(at - 2)
            return None
        return _folded(name) if name is not None and name.is_identifier else None

    def _forget_renamed(self, closing: int) -> None:
        at = closing
        while at > 0 and not self._tokens[at].is_sign("("):
            at -= 1
        if at > 0 and self._tokens[at - 1].is_identifier:
            self._ctes[_folded(self._tokens[at - 1])] = None

    # words and signs

    def _step(self, at: int, token: Token) -> int:
        frame = self._frames[-1]
        if frame.query is not None:
            if token.is_sign(","):
                self._comma(frame, at)
                return at + 1
            if token.kind is Kind.WORD and self._keyword(frame, at, token.text.upper()):
                return at + 1
            if frame.wants_source and frame.select is not None and token.is_identifier:
                return self._source(frame, frame.select, at)
        if token.is_identifier and frame.select is not None and frame.clause is not Clause.FROM:
            frame.select.words.append((at, frame.clause))
        return at + 1

    def _comma(self, frame: _Frame, at: int) -> None:
        if frame.clause in (Clause.FROM, Clause.ON):
            frame.clause, frame.wants_source = Clause.FROM, True
        elif frame.clause is Clause.ITEMS and frame.select is not None:
            frame.select.items.append((frame.item_start, at))
            frame.item_start = at + 1

    def _keyword(self, frame: _Frame, at: int, word: str) -> bool:
        """Move on to the clause that the word begins; whether it began one."""
        if word == "SELECT":
            self._begin_select(frame, at)
        elif word in _SET_OPERATORS:
            self._end_select(frame, at)
        elif frame.select is None:
            if word == "ORDER" and frame.query is not None and frame.query.selects:
                frame.select, frame.clause = frame.query.selects[0], Clause.SET_ORDER
            return word in RESERVED
        elif word == "FROM" and not self._before(at, "DISTINCT"):
            self._end_items(frame, at)
            frame.clause, frame.wants_source = Clause.FROM, True
        elif word == "JOIN":
            frame.clause, frame.wants_source = Clause.FROM, True
        elif word == "ORDER":
            self._order(frame, at)
        elif word in ("ON", "USING"):
            frame.clause, frame.wants_source = Clause.ON, False
        elif word in _LATER_CLAUSES or (word == "GROUP" and not self._before(at, "WITHIN")):
            self._end_items(frame, at)
            frame.clause, frame.wants_source = Clause.OTHER, False
        else:
            return word in RESERVED and word not in ("TABLE", "UNNEST")
        return True

    def _order(self, frame: _Frame, at: int) -> None:
        self._end_items(frame, at)
        several = frame.query is not None and len(frame.query.selects) > 1
        if several and frame.query is not None:
            self._end_select(frame, at)
            frame.select, frame.clause = frame.query.selects[0], Clause.SET_ORDER
        else:
            frame.clause = Clause.ORDER

    def _begin_select(self, frame: _Frame, at: int) -> None:
        self._end_select(frame, at)
        select = Select(frame.outer)
        if frame.query is not None:
            frame.query.selects.append(select)
        frame.select, frame.clause = select, Clause.ITEMS
        following = self._token(at + 1)
        skips = following is not None and following.says("DISTINCT", "ALL")
        frame.item_start = at + 2 if skips else at + 1

    def _end_items(self, frame: _Frame, at: int) -> None:
        if frame.clause is Clause.ITEMS and frame.select is not None:
            frame.select.items.append((frame.item_start, at))
            frame.clause = Clause.OTHER

    def _end_select(self, frame: _Frame, at: int) -> None:
        """A SELECT is whole: inner ones are before it in ``selects`` by now."""
        if frame.query is None or frame.select is None:
            return
        if len(frame.select.sources) > MAX_SOURCES:
            at = min(at, len(self._tokens) - 1)
            problem = f"A SELECT has more than {MAX_SOURCES} sources"
            raise syntax_error(self._text, self._tokens[at].start, problem)
        if frame.clause is not Clause.SET_ORDER:
            self._end_items(frame, at)
            self.selects.append(frame.select)
        frame.select, frame.clause, frame.wants_source = None, Clause.OTHER, False

    # sources

    def _source(self, frame: _Frame, select: Select, at: int) -> int:
        following = self._token(at + 1)
        if following is not None and following.is_sign("("):
            # A table function: its source is added here, and its alias read behind the `)`.
            select.sources.append(SourceRef())
            self._frames.append(_Frame(None, select=select, clause=Clause.OTHER, outer=frame.outer))
            return at + 2
        last = at
        while self._dotted(last):
            last += 2
        frame.wants_source = False
        name = _folded(self._tokens[at])
        if last > at:
            select.sources.append(SourceRef())
        elif name in self._ctes:
            select.sources.append(SourceRef(name_at=at, query=self._ctes[name] or Query()))
        else:
            select.sources.append(SourceRef(name_at=at))
        return self._alias(frame, last + 1)

    def _dotted(self, at: int) -> bool:
        dot, part = self._token(at + 1), self._token(at + 2)
        return dot is not None and dot.is_sign(".") and part is not None and part.is_identifier

    def _alias(self, frame: _Frame, at: int) -> int:
        """Read ``[AS] alias [(columns)]`` behind a source; the index of what follows."""
        explicit = self._token(at)
        name_at = at + 1 if explicit is not None and explicit.says("AS") else at
        token = self._token(name_at)
        if frame.select is None or token is None or not token.is_identifier or is_reserved(token):
            return at
        source = frame.select.sources[-1]
        source.alias_at = name_at
        following = self._token(name_at + 1)
        if following is None or not following.is_sign("("):
            return name_at + 1
        source.renamed = True
        end = name_at + 1
        while end < len(self._tokens) and not self._tokens[end].is_sign(")"):
            end += 1
        return end + 1

    def _token(self, at: int) -> Token | None:
        return self._tokens[at] if 0 <= at < len(self._tokens) else None

    def _before(self, at: int, word: str) -> bool:
        return at > 0 and self._tokens[at - 1].says(word)


def is_reserved(token: Token) -> bool:
    """Whether the token is a word that names nothing."""
    return token.kind is Kind.WORD and token.text.upper() in RESERVED


def _folded(token: Token) -> str:
    try:
        return fold(token.text)
    except NameTextError:
        return token.text
