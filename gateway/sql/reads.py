"""Which names a statement in Druid's SQL reads, and writes: what access to it is decided by.

Pure. A text is read by two parsers, ours and the warehouse's, and access holds only where both see
the same names. So the text is cut twice. `_Lexemes` takes a narrow alphabet, in which there is one
way to tell code from comments, strings and names: what Calcite and sqlglot might cut differently
(nested comments, ``//``, ``E'\\''``, ``U&"…"``, a lone carriage return) it does not take at all.
Then sqlglot's tree must have as many SELECT, FROM and JOIN as the text has words for them.

Law: what runs reads no other name than these. Where that is not certain the answer is None, and the
caller must ask for a right to all names.

Sources: Calcite's ``Parser.jj`` (tokens and lexical states); Druid's ``querying/sql`` (schemas,
LOOKUP), ``multi-stage-query/reference`` (INSERT, REPLACE, EXTERN).
"""

import re
from collections import Counter
from dataclasses import dataclass

from sqlglot import exp

from gateway.seams import WAREHOUSE_SCHEMAS, QueryRefused
from gateway.sql.dialects import DruidSql, parse_select

OWN_SCHEMA = "druid"
"""The schema of datasources: names in it stand without it."""

_SCHEMAS = WAREHOUSE_SCHEMAS | {OWN_SCHEMA}

_UNCLEAR_WORDS = """
    APPLY EXTEND INTO LATERAL MATCH_RECOGNIZE PIVOT RECURSIVE TABLE TABLESAMPLE UNPIVOT
"""
_UNCLEAR = frozenset(_UNCLEAR_WORDS.split())
"""Words that bring in rows in ways that are not told apart here."""

_COUNTED = ("SELECT", "FROM", "JOIN")
_FROM_INSIDE = ("EXTRACT", "TRIM", "SUBSTRING", "OVERLAY")
"""Functions among whose arguments FROM is a word of theirs."""

_TYPED = ("DATE", "TIME", "TIMESTAMP", "INTERVAL")
"""Words that a string may stand behind without a space, and be a string all the same."""

_LEXEME = re.compile(
    r"""
      (?P<gap>     (?: [ \t\n] | \r\n )++ )
    | (?P<comment> --[^\r\n]*+ (?= \r?\n | \Z ) | /\*(?![*+])(?:[^*/]|\*(?!/)|/(?!\*))*+\*/ )
    | (?P<name>    "(?:[^"]|"")++" )
    | (?P<string>  '(?:[^']|'')*+' )
    | (?P<number>  (?: \d++(?:\.\d*+)?+ | \.\d++ ) (?:[eE][+-]?\d++)?+ (?![\w.]) )
    | (?P<word>    [A-Za-z_][A-Za-z0-9_]*+ (?!\w) )
    | (?P<sign>    <> | [<>!]= | => | \|\| | [(),.*+<>=%\[\]] | -(?!-) | /(?![/*]) )
    """,
    re.VERBOSE,
)
_TEXTS = ("name", "string")
_SOLID = ("name", "string", "number", "word")


@dataclass(frozen=True, slots=True)
class TaskNames:
    """Of an INSERT or REPLACE that runs as a task. ``replaces``: what is there already goes."""

    target: str
    replaces: bool
    reads: frozenset[str]


def names_read(sql: str) -> frozenset[str] | None:
    """Every name that a SELECT reads; None where it cannot be told.

    A datasource is its bare name, all else ``schema.name``; a lookup that ``LOOKUP()`` reads is
    ``lookup.<name>``.
    """
    lexemes = _cut(sql)
    return _read_by(lexemes) if lexemes is not None else None


def task_names(sql: str) -> TaskNames | None:
    """What a task writes and reads; None where it cannot be told."""
    lexemes = _cut(sql)
    if lexemes is None or len(lexemes) < 4 or not lexemes[1].says("INTO"):
        return None
    if not lexemes[0].says("INSERT", "REPLACE"):
        return None
    try:
        target, at = _target(lexemes, 2)
    except _Unclear:
        return None
    start = _query_start(lexemes, at)
    if target is None or start is None:
        return None
    reads = _read_by(lexemes[start : _query_end(lexemes, start)])
    if reads is None:
        return None
    return TaskNames(target, lexemes[0].says("REPLACE"), reads)


# ── lexemes ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Lexeme:
    kind: str
    text: str

    def says(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words


def _cut(sql: str) -> list[_Lexeme] | None:
    """The text without comments and white space; None for what is outside of the alphabet."""
    found: list[_Lexeme] = []
    at = 0
    touches = False
    while at < len(sql):
        match = _LEXEME.match(sql, at)
        if match is None:
            return None
        kind, text = match.lastgroup or "", match[0]
        at = match.end()
        if kind in ("gap", "comment"):
            touches = False
            continue
        if touches and kind in _SOLID and not _may_touch(found[-1], kind):
            return None
        touches = kind in _SOLID
        found.append(_Lexeme(kind, text))
    return found


def _may_touch(before: _Lexeme, kind: str) -> bool:
    """A prefix changes what a string is (``E'…'``, ``U&'…'``); a type's name does not."""
    return kind == "string" and before.says(*_TYPED)


def _words(lexemes: list[_Lexeme]) -> Counter[str] | None:
    """How often each of `_COUNTED` begins a clause; None where a word is unclear."""
    counted: Counter[str] = Counter()
    openers: list[bool] = []
    for at, lexeme in enumerate(lexemes):
        if lexeme.kind == "sign" and lexeme.text == "(":
            openers.append(at > 0 and lexemes[at - 1].says(*_FROM_INSIDE))
        elif lexeme.kind == "sign" and lexeme.text == ")" and openers:
            openers.pop()
        elif lexeme.says(*_UNCLEAR):
            return None
        elif lexeme.says(*_COUNTED) and not _is_operator(lexemes, at, openers):
            counted[lexeme.text.upper()] += 1
    return counted


def _is_operator(lexemes: list[_Lexeme], at: int, openers: list[bool]) -> bool:
    """``x IS DISTINCT FROM y``, ``EXTRACT(DAY FROM x)``: no source follows this FROM."""
    if not lexemes[at].says("FROM"):
        return False
    return (at > 0 and lexemes[at - 1].says("DISTINCT")) or (bool(openers) and openers[-1])


# ── tasks ────────────────────────────────────────────────────────────────────────────────────


def _target(lexemes: list[_Lexeme], at: int) -> tuple[str | None, int]:
    """The datasource behind INTO, and the index of what follows it."""
    parts = [_part(lexemes, at)]
    while at + 1 < len(lexemes) and lexemes[at + 1].text == ".":
        at += 2
        parts.append(_part(lexemes, at))
    names = [part for part in parts if part is not None]
    if len(names) != len(parts) or len(names) > 2 or names[:-1] not in ([], [OWN_SCHEMA]):
        return None, at + 1
    if at + 1 < len(lexemes) and lexemes[at + 1].text == "(" and names[-1].upper() == "EXTERN":
        return None, at + 1
    return _joined(names), at + 1


def _part(lexemes: list[_Lexeme], at: int) -> str | None:
    if at >= len(lexemes):
        return None
    lexeme = lexemes[at]
    if lexeme.kind == "name":
        return lexeme.text[1:-1].replace('""', '"')
    return lexeme.text if lexeme.kind == "word" else None


def _query_start(lexemes: list[_Lexeme], at: int) -> int | None:
    """Where the query begins; nothing before it may hold another."""
    depth = 0
    for index in range(at, len(lexemes)):
        lexeme = lexemes[index]
        if lexeme.says("SELECT", "WITH"):
            return index if depth == 0 else None
        depth += (lexeme.text == "(") - (lexeme.text == ")")
    return None


def _query_end(lexemes: list[_Lexeme], start: int) -> int:
    """Where Druid's own clauses behind the query begin."""
    depth = 0
    for index in range(start, len(lexemes) - 1):
        lexeme = lexemes[index]
        depth += (lexeme.text == "(") - (lexeme.text == ")")
        if depth == 0 and lexeme.says("PARTITIONED") and lexemes[index + 1].says("BY"):
            return index
    return len(lexemes)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────


class _Unclear(Exception):
    """It cannot be told what is read."""


def _read_by(lexemes: list[_Lexeme]) -> frozenset[str] | None:
    words = _words(lexemes)
    if words is None:
        return None
    try:
        tree = parse_select(" ".join(lexeme.text for lexeme in lexemes), DruidSql)
        if words != _clauses(tree):
            return None
        return frozenset(_names(tree))
    except (QueryRefused, RecursionError, _Unclear):
        return None


def _clauses(tree: exp.Expr) -> Counter[str]:
    """As `_words`, of the tree."""
    joins = [join for join in tree.find_all(exp.Join) if not _is_comma(join)]
    counted = Counter(
        SELECT=sum(1 for _ in tree.find_all(exp.Select)),
        FROM=sum(1 for _ in tree.find_all(exp.From)),
        JOIN=len(joins),
    )
    return +counted


def _is_comma(join: exp.Join) -> bool:
    """A JOIN without any of these is none that Calcite takes."""
    return not any(join.args.get(part) for part in ("side", "kind", "method", "on", "using"))


def _names(tree: exp.Expr) -> set[str]:
    """Names of all tables, but those that are a WITH's own where they stand."""
    found: set[str] = set()
    waiting: list[tuple[exp.Expr, frozenset[str]]] = [(tree, frozenset())]
    while waiting:
        node, scope = waiting.pop()
        inner = scope
        clause = node.args.get("with_")
        if clause is not None:
            for table in clause.expressions:
                # It sees those before it, and not itself.
                waiting.append((table.this, inner))
                inner |= {_cte_name(table)}
        if isinstance(node, exp.From | exp.Join) and not isinstance(node.this, _SOURCES):
            raise _Unclear
        if isinstance(node, exp.Table):
            name = _table_name(node, inner)
            found |= {name} if name is not None else set()
        elif isinstance(node, exp.Anonymous) and node.name.upper() == "LOOKUP":
            found.add(_lookup_name(node))
        waiting += [(child, inner) for child in node.iter_expressions() if child is not clause]
    return found


_SOURCES = (exp.Table, exp.Subquery, exp.Values, exp.Unnest)
_TABLE_PARTS = {"this", "db", "alias", "joins"}


def _cte_name(table: exp.Expr) -> str:
    alias = table.args.get("alias")
    if not isinstance(table, exp.CTE) or not isinstance(alias, exp.TableAlias) or not alias.name:
        raise _Unclear
    return alias.name


def _table_name(node: exp.Table, scope: frozenset[str]) -> str | None:
    """The table's name; None for one of a WITH. Raises `_Unclear` for a table function."""
    parts = {part for part, value in node.args.items() if value}
    if not parts <= _TABLE_PARTS or not isinstance(node.this, exp.Identifier):
        raise _Unclear
    schema = node.args.get("db")
    if schema is None and node.name in scope:
        return None
    return _joined([schema.name, node.name] if schema is not None else [node.name])


def _joined(parts: list[str]) -> str:
    """``schema.name``, or the bare name of a datasource. Raises `_Unclear` where it is neither."""
    if not all(parts):
        raise _Unclear
    *schema, name = parts
    if schema and schema != [OWN_SCHEMA]:
        return f"{schema[0]}.{name}"
    # A datasource that is named like a table of another schema would be taken for that.
    if name.partition(".")[0] in _SCHEMAS and "." in name:
        raise _Unclear
    return name


def _lookup_name(call: exp.Anonymous) -> str:
    arguments = call.expressions
    if len(arguments) < 2 or not isinstance(arguments[1], exp.Literal):
        raise _Unclear
    return f"lookup.{arguments[1].name}"
