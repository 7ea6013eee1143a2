"""A Druid SELECT to DuckDB's: the clauses around the expressions.

Owns the names in FROM: a base table is asked of the caller by its name, so a query can reach what
the caller hands out and nothing else. Never knows where tables are kept.
"""

from collections.abc import Callable, Mapping

from sqlglot import exp

from gateway.seams import QueryRefused
from gateway.sql.aggregates import AGGREGATES, WINDOWS
from gateway.sql.calls import Function
from gateway.sql.dialects import DruidSql, parse_select
from gateway.sql.expressions import ExpressionWriter, label, only
from gateway.sql.names import identifier
from gateway.sql.text_functions import ARRAYS, DOCUMENTS, NUMBERS, TEXT
from gateway.sql.time_functions import TIMES

Relation = Callable[[str, str], str]
"""(schema, table) → DuckDB text of a relation whose columns are encoded names, in parentheses.

Schema is ``druid`` for a bare name. Raises `QueryRefused` where there is no such table.
"""

DRUID_FUNCTIONS: Mapping[str, Function] = {
    **TEXT,
    **NUMBERS,
    **TIMES,
    **DOCUMENTS,
    **ARRAYS,
    **AGGREGATES,
    **WINDOWS,
}

_CLAUSES = (
    "expressions",
    "distinct",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "with_",
)
_JOINS = {
    ("", ""): "JOIN",
    ("", "INNER"): "JOIN",
    ("", "CROSS"): "CROSS JOIN",
    ("LEFT", ""): "LEFT JOIN",
    ("LEFT", "OUTER"): "LEFT JOIN",
    ("RIGHT", ""): "RIGHT JOIN",
    ("RIGHT", "OUTER"): "RIGHT JOIN",
    ("FULL", ""): "FULL JOIN",
    ("FULL", "OUTER"): "FULL JOIN",
}


def translate(sql: str, relation: Relation) -> str:
    """The DuckDB text of a Druid SELECT; its result's names are encoded (`names.decode`).

    Raises `QueryRefused` with a sentence for the user: broken syntax, a table that does not
    exist, a function or clause that is not supported, by its name.
    """
    tree = parse_select(sql, DruidSql)
    try:
        return SelectWriter(relation).query(tree)
    except RecursionError as error:
        raise QueryRefused("the statement is nested too deeply") from error


class SelectWriter(ExpressionWriter):
    """Writes a query and everything in it."""

    def __init__(self, relation: Relation) -> None:
        super().__init__(DRUID_FUNCTIONS)
        self._relation = relation
        self._common: list[set[str]] = []

    def query(self, node: exp.Expr) -> str:
        """A SELECT or a UNION ALL."""
        names = self._with(node)
        try:
            if isinstance(node, exp.Select):
                return names + self._select(node)
            if isinstance(node, exp.Union):
                return names + self._union(node)
        finally:
            self._common.pop()
        if isinstance(node, exp.Subquery):
            return self.subquery(node)
        raise QueryRefused(f"{label(node)} is not supported")

    def subquery(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Subquery):
            only(node, "this", "with_")
            node = node.this
        return f"({self.query(node)})"

    def column(self, node: exp.Column) -> str:
        only(node, "this", "table", "db")
        if isinstance(node.this, exp.Star):
            raise QueryRefused("a star cannot stand in an expression")
        # A schema in front of the table adds nothing: the tables of one query have one each.
        parts = [node.args.get("table"), node.this]
        return ".".join(identifier(part.name) for part in parts if part)

    # clauses

    def _with(self, node: exp.Expr) -> str:
        """The common tables, each of which sees those before it."""
        found: set[str] = set()
        self._common.append(found)
        clause = node.args.get("with_")
        if not clause:
            return ""
        only(clause, "expressions")
        parts: list[str] = []
        for table in clause.expressions:
            only(table, "this", "alias")
            parts.append(f"{self._alias(table)} AS ({self.query(table.this)})")
            found.add(table.alias)
        return f"WITH {', '.join(parts)} "

    def _union(self, node: exp.Union) -> str:
        only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        if node.args.get("distinct"):
            raise QueryRefused("UNION is not supported; UNION ALL is")
        sides = [self._side(node.this), self._side(node.expression)]
        return " UNION ALL ".join(sides) + self._tail(node)

    def _side(self, node: exp.Expr) -> str:
        # A nested UNION ALL stays flat text: hundreds of them must not nest as deeply.
        text = self.query(node)
        return text if isinstance(node, exp.Union | exp.Subquery) else f"({text})"

    def _select(self, node: exp.Select) -> str:
        only(node, *_CLAUSES)
        if not node.expressions:
            raise QueryRefused("SELECT names no columns")
        if node.args.get("distinct"):
            only(node.args["distinct"])
        parts = ["SELECT DISTINCT" if node.args.get("distinct") else "SELECT"]
        parts.append(", ".join(self._item(at, item) for at, item in enumerate(node.expressions)))
        if node.args.get("from_"):
            parts.append(f"FROM {self._table(node.args['from_'].this)}")
            parts.extend(self._join(join) for join in node.args.get("joins") or ())
        for name, word in (("where", "WHERE"), ("group", "GROUP BY"), ("having", "HAVING")):
            clause = node.args.get(name)
            if clause:
                text = self._group(clause) if name == "group" else self.write(clause.this)
                parts.append(f"{word} {text}")
        return " ".join(parts) + self._tail(node)

    def _tail(self, node: exp.Expr) -> str:
        text = ""
        if node.args.get("order"):
            text += f" {self.order(node.args['order'])}"
        if node.args.get("limit"):
            text += f" LIMIT {self._limit(node.args['limit'])}"
        if node.args.get("offset"):
            text += f" OFFSET {self._whole(node.args['offset'].expression, 'OFFSET')}"
        return text

    def _limit(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Fetch):
            only(node, "direction", "count", "limit_options")
            options = node.args.get("limit_options")
            if options:
                only(options, "rows")
            return self._whole(node.args.get("count"), "FETCH")
        only(node, "expression")
        return self._whole(node.expression, "LIMIT")

    def _whole(self, node: exp.Expr | None, what: str) -> str:
        if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
            return str(node.this)
        raise QueryRefused(f"{what} has to be a whole number")

    def _item(self, at: int, node: exp.Expr) -> str:
        """One column of the result; without a name it is ``EXPR$n``, as in Druid."""
        if isinstance(node, exp.Star):
            only(node)
            return "*"
        if isinstance(node, exp.Column):
            if isinstance(node.this, exp.Star):
                only(node, "this", "table")
                return f"{identifier(node.args['table'].name)}.*"
            return self.column(node)
        if isinstance(node, exp.Alias):
            return f"{self.write(node.this)} AS {identifier(node.alias)}"
        return f"{self.write(node)} AS {identifier(f'EXPR${at}')}"

    def _group(self, node: exp.Group) -> str:
        only(node, "expressions", "grouping_sets", "rollup", "cube")
        parts = [self.write(key) for key in node.expressions if not _is_set(key)]
        sets = [key for key in node.expressions if _is_set(key)]
        for name in ("grouping_sets", "rollup", "cube"):
            sets.extend(node.args.get(name) or ())
        parts.extend(self._grouping_set(key) for key in sets)
        return ", ".join(parts)

    def _grouping_set(self, node: exp.Expr) -> str:
        only(node, "expressions")
        words: dict[type[exp.Expr], str] = {
            exp.GroupingSets: "GROUPING SETS",
            exp.Rollup: "ROLLUP",
            exp.Cube: "CUBE",
        }
        keys = ", ".join(self.write(key) for key in node.expressions)
        return f"{words[type(node)]} ({keys})"

    # tables

    def _join(self, node: exp.Join) -> str:
        only(node, "this", "side", "kind", "on", "using")
        side, kind = str(node.args.get("side") or ""), str(node.args.get("kind") or "")
        word = _JOINS.get((side.upper(), kind.upper()))
        if word is None:
            raise QueryRefused(f"{side} {kind} JOIN is not supported".strip())
        table = self._table(node.this)
        if node.args.get("on"):
            return f"{word} {table} ON {self.write(node.args['on'])}"
        if node.args.get("using"):
            names = ", ".join(identifier(name.name) for name in node.args["using"])
            return f"{word} {table} USING ({names})"
        return f", {table}" if word == "JOIN" else f"{word} {table}"

    def _table(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Table):
            return self._named_table(node)
        if isinstance(node, exp.Subquery):
            only(node, "this", "alias", "with_")
            alias = f" AS {self._alias(node)}" if node.args.get("alias") else ""
            return f"({self.query(node.this)}){alias}"
        if isinstance(node, exp.Values):
            only(node, "expressions", "alias")
            rows = ", ".join(self.write(row) for row in node.expressions)
            alias = self._alias(node) if node.args.get("alias") else identifier("EXPR$0")
            return f"(VALUES {rows}) AS {alias}"
        if isinstance(node, exp.Unnest):
            only(node, "expressions", "alias")
            return f"UNNEST({self.write(node.expressions[0])}) AS {self._alias(node)}"
        raise QueryRefused(f"{label(node)} in FROM is not supported")

    def _named_table(self, node: exp.Table) -> str:
        if isinstance(node.this, exp.Anonymous):
            raise QueryRefused(f"the table function {node.this.name} is not supported")
        only(node, "this", "db", "alias")
        alias = self._alias(node) if node.args.get("alias") else identifier(node.name)
        if not node.db and any(node.name in names for names in self._common):
            return f"{identifier(node.name)} AS {alias}"
        return f"{self._relation(node.db or 'druid', node.name)} AS {alias}"

    def _alias(self, node: exp.Expr) -> str:
        """``name`` or ``name(column, …)``."""
        alias = node.args.get("alias")
        if not isinstance(alias, exp.TableAlias):
            raise QueryRefused(f"{label(node)} needs a name")
        only(alias, "this", "columns")
        columns = ", ".join(identifier(column.name) for column in alias.args.get("columns") or ())
        name = identifier(alias.name) if alias.this else identifier("EXPR$0")
        return f"{name}({columns})" if columns else name


def _is_set(node: exp.Expr) -> bool:
    return isinstance(node, exp.GroupingSets | exp.Rollup | exp.Cube)
