"""Push queries: a ksqlDB SELECT over one source, compiled once for every batch to come.

Streamable is what one row can answer: a filter, scalar projections, LIMIT. All else is refused
with a sentence that names it. Names follow ksqlDB's rules, types its keywords.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
from sqlglot import exp

from gateway.seams import BATCH_COLUMN, QueryRefused, ResultColumn, Source
from gateway.sql.dialects import KsqlSql, parse_select
from gateway.sql.duck import close_off, refusal
from gateway.sql.duck_types import DuckType, columns_of, sql_type
from gateway.sql.expressions import ExpressionWriter, label, only
from gateway.sql.ksql_functions import KSQL_AGGREGATES, KSQL_FUNCTIONS
from gateway.sql.lines import Style, row_line
from gateway.sql.names import identifier, literal, quoted
from gateway.sql.rowfile import Field
from gateway.sql.typed_rows import TypedColumn, long_decimals, row_time, typed_columns
from protocol.types import BIGINT, Base, Column, SqlType

ROWTIME = "ROWTIME"
"""Pseudo column: the row's time in epoch milliseconds."""

_CLAUSES = {
    "distinct": "DISTINCT",
    "joins": "JOIN",
    "group": "GROUP BY",
    "having": "HAVING",
    "windows": "WINDOW",
    "order": "ORDER BY",
    "offset": "OFFSET",
    "with_": "WITH",
    "qualify": "QUALIFY",
}
_KSQL_CLAUSES = re.compile(r"\bWINDOW\s+(?:TUMBLING|HOPPING|SESSION)\b|\bPARTITION\s+BY\b", re.I)
_TABLE_FUNCTIONS = {"EXPLODE", "CUBE_EXPLODE"}


@dataclass(frozen=True, slots=True)
class PushQuery:
    """A compiled push query.

    ``key`` is equal for queries whose evaluation is the same whatever their LIMIT and the names of
    their columns. ``limit`` is the LIMIT, which the subscription counts, not the evaluation.
    """

    columns: tuple[ResultColumn, ...]
    limit: int | None
    key: str
    fields: tuple[Field, ...]
    numbers_as_text: frozenset[str]
    before: str
    """DuckDB text up to the relation of rows, and from there on"""
    after: str


def compile_push(select: str, source: Source) -> PushQuery:
    """Compile a SELECT, given without its EMIT clause, over ``source``.

    Blocks for about 20 ms (DuckDB finds the types): call it from a thread. Raises `QueryRefused`
    naming the construct that cannot be streamed, or the name that does not resolve.
    """
    found = _KSQL_CLAUSES.search(select)
    tree = None
    try:
        tree = parse_select(select, KsqlSql)
    except QueryRefused:
        if found is None:
            raise
    if tree is None or not isinstance(tree, exp.Select):
        what = " ".join(found[0].upper().split()) if found else label(tree) if tree else ""
        raise _unstreamable(what)
    try:
        return _Compiler(source, tree).compile()
    except RecursionError as error:
        raise QueryRefused("the statement is nested too deeply") from error


def _unstreamable(what: str) -> QueryRefused:
    return QueryRefused(
        f"{what} is not supported in a push query: "
        "only a filter and a projection of the rows of one source can be streamed."
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """A column of the result; ``declared`` is its type where it is a plain column."""

    name: str
    value: str
    declared: SqlType | None = None


class _Compiler(ExpressionWriter):
    """Writes one push query, collecting the columns that it reads."""

    def __init__(self, source: Source, tree: exp.Select) -> None:
        super().__init__(KSQL_FUNCTIONS)
        self._source = source
        self._tree = tree
        columns = [typed for typed in typed_columns(source) if typed.column.name != BATCH_COLUMN]
        self._columns = {typed.column.name: typed for typed in columns}
        self._used: dict[str, TypedColumn] = {}
        self._qualifiers: set[str] = set()

    def compile(self) -> PushQuery:
        self._check_clauses()
        items = _distinct_names(list(self._items()))
        where = self._tree.args.get("where")
        condition = f" WHERE TRY({self.write(where.this)})" if where else ""
        types = self._types(items, condition)
        names = [quoted(f"c{at}") for at in range(len(items))]
        line = row_line(list(zip(names, types, strict=True)), Style.KSQL)
        values = ", ".join(item.value for item in items)
        typed = ", ".join(f"{c.value} AS {identifier(n)}" for n, c in self._used.items()) or "1"
        before = f"SELECT {line} FROM (SELECT {values} FROM (SELECT {typed} FROM "
        after = f") AS s{condition}) AS q({', '.join(names)})"
        fields = self._fields()
        return PushQuery(
            columns=tuple(
                ResultColumn(item.name, item.declared or sql_type(kind), kind.kind)
                for item, kind in zip(items, types, strict=True)
            ),
            limit=self._limit(),
            key=f"{self._source.name}\n{fields}\n{before}{after}",
            fields=fields,
            numbers_as_text=long_decimals(self._source) & {field.name for field in fields},
            before=before,
            after=after,
        )

    def _fields(self) -> tuple[Field, ...]:
        """The members to read, each once; the time alone where nothing is read."""
        used = [typed.field for typed in self._used.values()]
        return tuple(dict.fromkeys(used or [row_time(self._source).field]))

    # clauses

    def _check_clauses(self) -> None:
        for name, what in _CLAUSES.items():
            if self._tree.args.get(name):
                raise _unstreamable(what)
        only(self._tree, "expressions", "from_", "where", "limit")
        clause = self._tree.args.get("from_")
        if clause is None:
            raise QueryRefused("a push query needs FROM and the name of a source")
        table = clause.this
        if not isinstance(table, exp.Table):
            raise _unstreamable("a subquery" if isinstance(table, exp.Subquery) else label(table))
        if isinstance(table.this, exp.Anonymous):
            raise QueryRefused(f"the table function {table.this.name} is not supported")
        if table.args.get("joins"):
            raise _unstreamable("JOIN")
        only(table, "this", "alias")
        self._qualifiers = {_folded(table.this), self._source.name}
        if table.args.get("alias"):
            self._qualifiers = {_folded(table.args["alias"].this)}

    def _limit(self) -> int | None:
        clause = self._tree.args.get("limit")
        if clause is None:
            return None
        node = clause.args.get("expression")
        if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
            return int(node.this)
        raise QueryRefused("LIMIT has to be a whole number")

    def _items(self) -> Iterator[_Item]:
        if not self._tree.expressions:
            raise QueryRefused("SELECT names no columns")
        for at, node in enumerate(self._tree.expressions):
            if isinstance(node, exp.Star) or (
                isinstance(node, exp.Column) and isinstance(node.this, exp.Star)
            ):
                yield from self._star(node)
                continue
            alias = None
            if isinstance(node, exp.Alias):
                alias, node = _folded(node.args["alias"]), node.this
            yield self._item(node, alias, at)

    def _star(self, node: exp.Expr) -> Iterator[_Item]:
        only(node, "this", "table")
        if node.args.get("table") and _folded(node.args["table"]) not in self._qualifiers:
            raise QueryRefused(f"'{node.args['table'].name}' is not the source of this query")
        for name, typed in self._columns.items():
            yield _Item(name, self._use(name, typed), typed.column.type)

    def _item(self, node: exp.Expr, alias: str | None, at: int) -> _Item:
        if isinstance(node, exp.Column | exp.Dot | exp.Bracket):
            value, kind = self._access(node)
            named = isinstance(node, exp.Column | exp.Dot)
            name = self._last_name(node) if named else f"KSQL_COL_{at}"
            return _Item(alias or name, value, kind)
        # As in ksqlDB, an expression that fails on a row is null there: the query runs on.
        return _Item(alias or f"KSQL_COL_{at}", f"TRY({self.write(node)})")

    # names

    def column(self, node: exp.Column) -> str:
        return self._access(node)[0]

    def bracket(self, node: exp.Bracket) -> str:
        return self._access(node)[0]

    def dot(self, node: exp.Dot) -> str:
        return self._access(node)[0]

    def subquery(self, node: exp.Expr) -> str:
        raise _unstreamable("a subquery")

    def fraction(self, text: str) -> str:
        """A number with a point is a DECIMAL in ksqlDB, with an exponent a DOUBLE."""
        return text

    def window(self, node: exp.Window) -> str:
        raise _unstreamable("a window function (OVER)")

    def filtered(self, node: exp.Filter, over: str = "") -> str:
        raise _unstreamable("an aggregate (FILTER)")

    def call(self, node: exp.Expr, suffix: str = "", over: bool = False) -> str:
        name = str(node.name).upper()
        if name in KSQL_AGGREGATES:
            raise _unstreamable(f"the aggregate {name}")
        if name in _TABLE_FUNCTIONS:
            raise _unstreamable(f"the table function {name}")
        return super().call(node, suffix, over)

    def _access(self, node: exp.Expr) -> tuple[str, SqlType | None]:
        """A column, a field of a struct, an element: its text, and its type if it is known."""
        if isinstance(node, exp.Column):
            only(node, "this", "table", "db", "catalog")
            return self._path([part for part in node.parts if isinstance(part, exp.Identifier)])
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
            value, kind = self._access(node.this)
            return self._field(value, kind, node.expression)
        if isinstance(node, exp.Bracket):
            value, kind = self._access(node.this)
            only(node, "this", "expressions")
            element = kind.element if kind and kind.base in (Base.ARRAY, Base.MAP) else None
            return f"({value})[{self.write(node.expressions[0])}]", element
        return self.write(node), None

    def _path(self, parts: list[exp.Identifier]) -> tuple[str, SqlType | None]:
        """``[source.]column[->field]…``; the parser reads ``->`` and ``.`` alike."""
        found = self._resolve(parts[0])
        if len(parts) > 1 and _folded(parts[0]) in self._qualifiers:
            # A source and a column of one name: the column only if it has such a field.
            field = _struct_field(found.column.type, _folded(parts[1])) if found else None
            if field is None:
                parts = parts[1:]
                found = self._resolve(parts[0])
        if found is None:
            if len(parts) == 1 and _folded(parts[0]) == ROWTIME:
                return f"epoch_ms({self._use(ROWTIME, row_time(self._source))})", BIGINT
            raise QueryRefused(f"Column '{_folded(parts[0])}' cannot be resolved.")
        value: str = self._use(found.column.name, found)
        kind: SqlType | None = found.column.type
        for part in parts[1:]:
            value, kind = self._field(value, kind, part)
        return value, kind

    def _resolve(self, part: exp.Identifier) -> TypedColumn | None:
        """A column by ksqlDB's rules; a discovered source forgives case."""
        name = _folded(part)
        if name in self._columns and (self._source.declared or part.quoted):
            return self._columns[name]
        if self._source.declared or part.quoted:
            return None
        if part.name in self._columns:
            return self._columns[part.name]
        alike = [typed for key, typed in self._columns.items() if key.upper() == name]
        return alike[0] if len(alike) == 1 else None

    def _field(
        self, value: str, kind: SqlType | None, part: exp.Identifier
    ) -> tuple[str, SqlType | None]:
        name = _folded(part)
        if kind is None:
            return f"struct_extract({value}, {literal(name)})", None
        field = _struct_field(kind, name)
        if field is None:
            raise QueryRefused(f"'{name}' is not a field of {kind}")
        return f"struct_extract({value}, {literal(name)})", field.type

    def _last_name(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Column) and len(node.parts) == 1:
            found = self._resolve(node.this)
            return found.column.name if found else _folded(node.this)
        part = node.expression if isinstance(node, exp.Dot) else node.this
        if isinstance(node, exp.Column) and len(node.parts) == 2:
            found = self._resolve(node.this)
            return found.column.name if found else _folded(part)
        return _folded(part)

    def _use(self, name: str, typed: TypedColumn) -> str:
        self._used[name] = typed
        return identifier(name)

    # types

    def _types(self, items: list[_Item], condition: str) -> list[DuckType]:
        """What DuckDB makes of the expressions, over a relation that has the types and no rows."""
        fields = ", ".join(
            f"CAST(NULL AS {f.read_as}) AS {identifier(f.name)}" for f in self._fields()
        )
        typed = ", ".join(f"{c.value} AS {identifier(n)}" for n, c in self._used.items()) or "1"
        values = ", ".join(f"{item.value} AS {quoted(f'c{at}')}" for at, item in enumerate(items))
        text = f"SELECT {values} FROM (SELECT {typed} FROM (SELECT {fields})) AS s{condition}"
        with duckdb.connect() as connection:
            close_off(connection, None)
            try:
                return [kind for _, kind in columns_of(connection, text)]
            except duckdb.Error as error:
                raise refusal(error) from error


def _folded(part: exp.Expr) -> str:
    """An identifier by ksqlDB's rule: upper case unless it is quoted."""
    return str(part.name) if part.args.get("quoted") else str(part.name).upper()


def _struct_field(kind: SqlType, name: str) -> Column | None:
    return next((field for field in kind.fields if field.name == name), None)


def _distinct_names(items: list[_Item]) -> list[_Item]:
    """ksqlDB numbers a name that stands twice: ``A``, ``A_1``."""
    seen: set[str] = set()
    out: list[_Item] = []
    for item in items:
        name, at = item.name, 0
        while name in seen:
            at += 1
            name = f"{item.name}_{at}"
        seen.add(name)
        out.append(_Item(name, item.value, item.declared))
    return out
