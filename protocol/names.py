"""Names in a pull query: ksqlDB's rules for what was declared, Druid's for all else.

Owns ruling 4 of the design. A name behind FROM that names a declared stream becomes its quoted
datasource; a word that names one of its columns (unquoted folds, quoted is literal) becomes the
column as the datasource spells it, the declared time column ``"__time"``; ``SELECT *`` of one
declared stream becomes its columns in their order. A plain column keeps its declared name in the
result. All other text stays byte for byte, but for back-ticks, which Druid does not read: a name
in them gets double quotes.

Must never know: the catalogue (it is asked through a callable), or SQL beyond `scopes`. Law: a
query that names nothing declared, and has no back-ticks, comes out as it went in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from protocol.bindings import (
    Binding,
    ColumnRef,
    DeclaredNames,
    Origin,
    Output,
    Scope,
    declare,
    druid_quoted,
    expanded,
)
from protocol.lexer import MAX_TEXT_CHARS, Kind, Token, syntax_error, tokenize
from protocol.scopes import Clause, Query, Select, Skeleton, SourceRef, is_reserved
from protocol.types import NameTextError, fold

__all__ = ["DeclaredNames", "Lookup", "Origin", "ResolvedQuery", "resolve_names", "resolve_query"]

_LIMIT_CHARS = 4 * MAX_TEXT_CHARS
"""Longest text that names may grow a query to: ``SELECT *, *, …`` is bounded by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedQuery:
    """``sql`` for the warehouse; ``sources`` are the declared streams that it reads.

    ``outputs`` has an entry for each column of the result: its origin, or None for an expression.
    It is None where the columns cannot be told from the text (``*`` of an undeclared datasource,
    a UNION).
    """

    sql: str
    sources: tuple[DeclaredNames, ...] = ()
    outputs: tuple[Origin | None, ...] | None = None


Lookup = Callable[[str], DeclaredNames | None]
"""The declared stream of exactly this (already folded) name."""


def resolve_names(sql: str, lookup: Lookup) -> str:
    """``sql`` with its declared names as the warehouse spells them; raises as `resolve_query`."""
    return resolve_query(sql, lookup).sql


def resolve_query(sql: str, lookup: Lookup) -> ResolvedQuery:
    """Resolve the declared names of one SELECT without a semicolon.

    Raises `protocol.errors.BadStatement` for an ambiguous column, for text over the limits, and
    for quotes that do not end. Text that is no SELECT at all comes out as it is.
    """
    return _Resolver(sql, lookup).run()


class _Resolver:
    def __init__(self, sql: str, lookup: Lookup) -> None:
        self._sql = sql
        self._lookup = lookup
        self._tokens = tokenize(sql)
        self._edits: dict[int, str] = {}
        self._sources: dict[str, DeclaredNames] = {}
        self._scopes: dict[int, Scope] = {}
        self._outputs: dict[int, list[Output] | None] = {}
        self._grown_chars = 0

    def run(self) -> ResolvedQuery:
        skeleton = Skeleton(self._tokens, self._sql)
        if not skeleton.balanced:
            return ResolvedQuery(sql=self._sql)
        # A SELECT may name sources of those around it, so all are bound before any is resolved.
        # Inner ones come first, so what a subquery gives out is known where it is used.
        for select in skeleton.selects:
            self._scopes[id(select)] = self._scope(select)
        for select in skeleton.selects:
            self._bind_queries(select)
            self._resolve_words(select)
            self._outputs[id(select)] = self._resolve_items(select)
        # ORDER BY behind a UNION names what its first SELECT gives out, which is known only now.
        for select in skeleton.selects:
            self._resolve_set_order(select)
        self._requote()
        return ResolvedQuery(
            sql=self._edited(),
            sources=tuple(self._sources.values()),
            outputs=self._origins(skeleton.top),
        )

    # sources

    def _scope(self, select: Select) -> Scope:
        aliases: dict[str, str] = {}
        for start, end in select.items:
            alias = self._alias_at(start, end)
            if alias is not None:
                token = self._tokens[alias]
                aliases.setdefault(_folded(token), token.text)
        return Scope(
            bindings=[self._bind(source) for source in select.sources],
            aliases=aliases,
            joined_on={
                _folded(self._tokens[at]) for at, clause in select.words if clause is Clause.USING
            },
        )

    def _bind(self, source: SourceRef) -> Binding:
        alias = self._tokens[source.alias_at] if source.alias_at is not None else None
        named = alias or (self._tokens[source.name_at] if source.name_at is not None else None)
        binding = Binding(_folded(named) if named else None, named.text if named else "")
        if source.name_at is None or source.query is not None:
            return binding
        declared = self._lookup(_folded(self._tokens[source.name_at]))
        if declared is None:
            return binding
        self._sources[declared.name] = declared
        datasource = druid_quoted(declared.datasource)
        self._edit(source.name_at, datasource)
        if alias is None:
            binding.writes = datasource
        if not source.renamed:
            declare(binding, declared)
        return binding

    def _bind_queries(self, select: Select) -> None:
        """Give subqueries, and names of WITH, the columns that they give out."""
        for source, binding in zip(select.sources, self._scopes[id(select)].bindings, strict=True):
            if source.query is None or source.renamed or not source.query.selects:
                continue
            binding.stars = self._outputs.get(id(source.query.selects[0]))
            for output in binding.stars or ():
                if output.name is not None and output.origin is not None:
                    text = druid_quoted(output.name)
                    self._charge(0, len(text))
                    ref = ColumnRef(text, output.name, output.name, output.origin)
                    binding.columns[output.name] = ref

    # words

    def _resolve_words(self, select: Select) -> None:
        for at, clause in select.words:
            if clause is Clause.SET_ORDER or not self._is_operand(at):
                continue
            if self._sign(at + 1, "."):
                self._resolve_qualified(select, at)
                continue
            ref = self._column(select, at, clause)
            if ref is not None:
                self._edit(at, ref.text)

    def _column(self, select: Select, at: int, clause: Clause) -> ColumnRef | None:
        name = _folded(self._tokens[at])
        scope = self._scopes[id(select)]
        found = [bound.columns[name] for bound in scope.bindings if name in bound.columns]
        if clause is Clause.ORDER and found and name in scope.aliases:
            return ColumnRef(scope.aliases[name], name, name, None)
        if len(found) > 1 and name not in scope.joined_on:
            token = self._tokens[at]
            problem = f"Column '{name}' is ambiguous: write it as source.column"
            raise syntax_error(self._sql, token.start, problem)
        return found[0] if found else None

    def _resolve_set_order(self, select: Select) -> None:
        given_out = {
            output.name: druid_quoted(output.name)
            for output in self._outputs.get(id(select)) or ()
            if output.name is not None and output.origin is not None
        }
        for at, clause in select.words:
            text = given_out.get(_folded(self._tokens[at]))
            if clause is Clause.SET_ORDER and text is not None and self._is_operand(at):
                self._edit(at, text)

    def _resolve_qualified(self, select: Select, at: int) -> None:
        binding = self._qualified(select, at)
        if binding is None:
            return
        if binding.writes != self._tokens[at].text and (
            binding.columns or binding.declared is not None
        ):
            self._edit(at, binding.writes)
        part = self._token(at + 2)
        ref = binding.columns.get(_folded(part)) if part and part.is_identifier else None
        if ref is not None:
            self._edit(at + 2, ref.text)

    def _qualified(self, select: Select | None, at: int) -> Binding | None:
        """The source that a qualifier names, in this SELECT or in one around it."""
        name = _folded(self._tokens[at])
        while select is not None:
            binding = self._scopes[id(select)].qualifiers.get(name)
            if binding is not None:
                return binding
            select = select.parent
        return None

    def _is_operand(self, at: int) -> bool:
        """Whether an identifier may be a column here, or the source that qualifies one."""
        token, before, after = self._tokens[at], self._token(at - 1), self._token(at + 1)
        if is_reserved(token):
            return False
        if after is not None and (after.is_sign("(", "=>") or after.kind is Kind.STRING):
            return False
        if before is None:
            return True
        if before.is_sign("("):
            opener = self._token(at - 2)
            return opener is None or not opener.says("EXTRACT", "TIMESTAMPADD", "TIMESTAMPDIFF")
        named = before.is_sign(".", "->") or before.says("AS", "TO", "NULLS")
        return not named and not _ends_operand(before)

    # items

    def _resolve_items(self, select: Select) -> list[Output] | None:
        """Rewrite the items whose names would change; what they give out, None if unknown."""
        given_out: list[Output] = []
        known = True
        for start, end in select.items:
            outputs = self._item(select, start, end)
            known = known and outputs is not None
            given_out += outputs or ()
        return given_out if known else None

    def _item(self, select: Select, start: int, end: int) -> list[Output] | None:
        if end > start and self._tokens[end - 1].is_sign("*"):
            if end - start == 1:
                return self._star(select, start)
            if end - start == 3 and self._sign(start + 1, "."):
                return self._qualified_star(select, start)
        alias = self._alias_at(start, end)
        if alias is not None:
            explicit = self._tokens[alias - 1].says("AS")
            ref = self._plain(select, start, alias - 1 if explicit else alias)
            return [Output(_literal(self._tokens[alias]), ref.origin if ref else None)]
        ref = self._plain(select, start, end)
        if ref is None:
            return [Output(None)]
        if ref.stored != ref.name:
            self._edit(end - 1, f"{ref.text} AS {druid_quoted(ref.name)}")
        return [Output(ref.name, ref.origin)]

    def _plain(self, select: Select, start: int, end: int) -> ColumnRef | None:
        """The column that ``x`` or ``source.x`` is, and nothing more."""
        if not self._tokens[start:end] or not self._tokens[end - 1].is_identifier:
            return None
        if end - start == 1:
            return self._column(select, start, Clause.ITEMS) if self._is_operand(start) else None
        if end - start == 3 and self._sign(start + 1, "."):
            binding = self._qualified(select, start)
            return binding.columns.get(_folded(self._tokens[end - 1])) if binding else None
        return None

    def _star(self, select: Select, at: int) -> list[Output] | None:
        bindings = self._scopes[id(select)].bindings
        if len(bindings) != 1:
            return None
        if bindings[0].declared is not None:
            self._edit(at, expanded(bindings[0], ""))
        return bindings[0].stars

    def _qualified_star(self, select: Select, start: int) -> list[Output] | None:
        binding = self._qualified(select, start)
        if binding is None:
            return None
        if binding.declared is not None:
            self._edit(start, expanded(binding, f"{binding.writes}."))
            self._edit(start + 1, "")
            self._edit(start + 2, "")
        return binding.stars

    def _alias_at(self, start: int, end: int) -> int | None:
        """The token that names the item: behind AS, or behind a whole operand."""
        if end - start < 2 or not self._tokens[end - 1].is_identifier:
            return None
        before = self._tokens[end - 2]
        if before.says("AS"):
            return end - 1
        implicit = _ends_operand(before) and not is_reserved(self._tokens[end - 1])
        return end - 1 if implicit else None

    # the text

    def _requote(self) -> None:
        for at, token in enumerate(self._tokens):
            if token.kind is Kind.NAME and token.text[0] == "`" and at not in self._edits:
                literal = _literal(token)
                if literal:
                    self._edits[at] = druid_quoted(literal)

    def _edit(self, at: int, text: str) -> None:
        self._edits[at] = text
        self._charge(at, len(text))

    def _charge(self, at: int, chars: int) -> None:
        """Text that is written, or kept to be written, is bounded as a whole."""
        self._grown_chars += chars
        if self._grown_chars > _LIMIT_CHARS:
            token = self._tokens[at]
            raise syntax_error(self._sql, token.start, "The query grows too long: list columns")

    def _edited(self) -> str:
        out: list[str] = []
        done = 0
        for at in sorted(self._edits):
            token = self._tokens[at]
            out += (self._sql[done : token.start], self._edits[at])
            done = token.end
        return "".join((*out, self._sql[done:]))

    def _origins(self, top: Query) -> tuple[Origin | None, ...] | None:
        if len(top.selects) != 1:
            return None
        outputs = self._outputs.get(id(top.selects[0]))
        return None if outputs is None else tuple(output.origin for output in outputs)

    def _token(self, at: int) -> Token | None:
        return self._tokens[at] if 0 <= at < len(self._tokens) else None

    def _sign(self, at: int, sign: str) -> bool:
        token = self._token(at)
        return token is not None and token.is_sign(sign)


def _ends_operand(token: Token) -> bool:
    """Whether a value is whole with this token, so that an identifier behind it is its alias."""
    if token.kind is Kind.WORD:
        return not is_reserved(token) or token.says("END", "NULL", "TRUE", "FALSE")
    return token.kind is not Kind.SIGN or token.is_sign(")")


def _literal(token: Token) -> str:
    """A name as Druid reads it: without its quotes, and without folding."""
    return _folded(token) if token.kind is Kind.NAME else token.text


def _folded(token: Token) -> str:
    try:
        return fold(token.text)
    except NameTextError:
        return ""
