"""Expression trees to DuckDB text, by an allow-list of node classes and of their parts.

What stands in no table here is refused by name. A part of a node that a table does not list is
refused too, so that a clause which a newer parser understands can never be dropped in silence.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from gateway.seams import QueryRefused
from gateway.sql.calls import Call, FunctionKind, Functions
from gateway.sql.casts import cast, target
from gateway.sql.names import literal
from gateway.sql.text_functions import json_value
from gateway.sql.time_functions import NOW, ceil_to, extracted, floor_to

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}

_LABELS = {
    "tablesample": "TABLESAMPLE",
    "qualify": "QUALIFY",
    "lateral": "LATERAL",
    "placeholder": "a parameter (?)",
    "anonymous": "a table function",
    "similarto": "SIMILAR TO",
    "ilike": "ILIKE",
    "hint": "a hint",
    "into": "INTO",
    "locks": "FOR UPDATE",
    "with_": "WITH",
    "window": "OVER",
    "dpipe": "||",
}

_HEX = re.compile(r"\\(\\|\+[0-9A-Fa-f]{6}|[0-9A-Fa-f]{4})")
_INTERVALS = {"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"}


def label(node: exp.Expr) -> str:
    """What to call a node in a refusal."""
    return _LABELS.get(node.key, node.key.upper())


def only(node: exp.Expr, *parts: str) -> None:
    """Refuse a node that has any part besides ``parts``, by the part's name."""
    for name, value in node.args.items():
        if value and name not in parts:
            raise QueryRefused(f"{label(node)} with {_LABELS.get(name, name)} is not supported")


class ExpressionWriter(ABC):
    """Writes expressions; a subclass says what a column, a subquery and a number mean."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def write(self, node: exp.Expr) -> str:
        """DuckDB text of ``node``. Raises `QueryRefused` naming what is not on the list."""
        operator = _OPERATORS.get(type(node))
        if operator is not None:
            only(node, "this", "expression", "typed", "safe")
            return f"({self.write(node.this)} {operator} {self.write(node.expression)})"
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise QueryRefused(f"{label(node)} is not supported")
        return handler(self, node)

    @abstractmethod
    def column(self, node: exp.Column) -> str:
        """A reference to a column."""

    @abstractmethod
    def subquery(self, node: exp.Expr) -> str:
        """A query inside an expression, in parentheses."""

    def fraction(self, text: str) -> str:
        """A number literal with a point or an exponent. Druid calculates with doubles."""
        return text if "e" in text.lower() else f"{text}e0"

    def bracket(self, node: exp.Bracket) -> str:
        """``a[i]``."""
        raise QueryRefused("an index in brackets is not supported; use ARRAY_OFFSET")

    def dot(self, node: exp.Dot) -> str:
        """``a.b`` where ``a`` is no plain name."""
        raise QueryRefused("a function in a schema is not supported")

    # calls

    def call(self, node: exp.Expr, suffix: str = "", over: bool = False) -> str:
        """A function call; ``suffix`` is its FILTER and OVER text."""
        if not isinstance(node, exp.Anonymous):
            raise QueryRefused(f"{label(node)} cannot have FILTER or OVER")
        name = str(node.name).upper()
        function = self._functions.get(name)
        if function is None:
            raise QueryRefused(f"the function {name} is not supported")
        if suffix and function.kind is FunctionKind.SCALAR:
            raise QueryRefused(f"{name} is no aggregate: it cannot have FILTER or OVER")
        if function.kind is FunctionKind.WINDOW and not over:
            raise QueryRefused(f"{name} needs OVER")
        return function.write(self._arguments(name, node, suffix, function.kind))

    def _arguments(self, name: str, node: exp.Anonymous, suffix: str, kind: FunctionKind) -> Call:
        nodes = list(node.expressions)
        order, distinct = "", False
        if nodes and kind is FunctionKind.AGGREGATE:
            if isinstance(nodes[-1], exp.Order):
                order = " " + self.order(nodes[-1])
                nodes[-1] = nodes[-1].this
            if isinstance(nodes[0], exp.Distinct):
                only(nodes[0], "expressions")
                distinct = True
                nodes = [*nodes[0].expressions, *nodes[1:]]
        return Call(name, tuple(nodes), self, suffix, distinct, order)

    def order(self, node: exp.Order) -> str:
        """``ORDER BY``. Nulls are the lowest values in Druid: first upwards, last downwards."""
        only(node, "this", "expressions")
        return "ORDER BY " + ", ".join(self._ordered(part) for part in node.expressions)

    def _ordered(self, node: exp.Expr) -> str:
        if not isinstance(node, exp.Ordered):
            raise QueryRefused(f"{label(node)} in ORDER BY is not supported")
        only(node, "this", "desc", "nulls_first")
        direction = "DESC" if node.args.get("desc") else "ASC"
        nulls = "FIRST" if node.args.get("nulls_first") else "LAST"
        return f"{self.write(node.this)} {direction} NULLS {nulls}"

    def filtered(self, node: exp.Filter, over: str = "") -> str:
        """``aggregate FILTER (WHERE …)``."""
        only(node, "this", "expression")
        condition = self.write(node.expression.this)
        return self.call(node.this, f" FILTER (WHERE {condition}){over}", over=bool(over))

    def window(self, node: exp.Window) -> str:
        """``function OVER (…)``."""
        only(node, "this", "partition_by", "order", "spec", "over")
        parts: list[str] = []
        if node.args.get("partition_by"):
            keys = ", ".join(self.write(key) for key in node.args["partition_by"])
            parts.append(f"PARTITION BY {keys}")
        if node.args.get("order"):
            parts.append(self.order(node.args["order"]))
        if node.args.get("spec"):
            parts.append(self._frame(node.args["spec"]))
        over = f" OVER ({' '.join(parts)})"
        if isinstance(node.this, exp.Filter):
            return self.filtered(node.this, over)
        return self.call(node.this, over, over=True)

    def _frame(self, node: exp.WindowSpec) -> str:
        only(node, "kind", "start", "start_side", "end", "end_side")
        ends = [self._edge(node, "start"), self._edge(node, "end")]
        kind = str(node.args["kind"]).upper()
        if kind not in ("ROWS", "RANGE"):
            raise QueryRefused(f"a window frame by {kind} is not supported")
        return f"{kind} BETWEEN {ends[0]} AND {ends[1]}"

    def _edge(self, node: exp.WindowSpec, which: str) -> str:
        value = node.args.get(which)
        if value is None or value == "CURRENT ROW":
            return "CURRENT ROW"
        side = str(node.args[f"{which}_side"]).upper()
        if side not in ("PRECEDING", "FOLLOWING"):
            raise QueryRefused(f"a window frame ending at {side} is not supported")
        return f"{'UNBOUNDED' if isinstance(value, str) else self.write(value)} {side}"


# ── one function per node class ──────────────────────────────────────────────────────────────


def _literal(writer: ExpressionWriter, node: exp.Literal) -> str:
    text = str(node.this)
    if node.is_string:
        return literal(text)
    return text if text.isdigit() else writer.fraction(text)


def _unicode(writer: ExpressionWriter, node: exp.UnicodeString) -> str:
    only(node, "this")
    return literal(_HEX.sub(_code_point, str(node.this)))


def _code_point(match: re.Match[str]) -> str:
    if match[1] == "\\":
        return "\\"
    code = int(match[1].lstrip("+"), 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise QueryRefused(f"'{match[0]}' is no character")
    return chr(code)


def _junction(writer: ExpressionWriter, node: exp.Connector) -> str:
    """AND and OR, flat: a chain of a thousand conditions has to fit on the stack."""
    word = " AND " if isinstance(node, exp.And) else " OR "
    return "(" + word.join(writer.write(part) for part in node.flatten()) + ")"


def _concatenation(writer: ExpressionWriter, node: exp.DPipe) -> str:
    parts = [f"CAST({writer.write(part)} AS VARCHAR)" for part in node.flatten()]
    return "(" + " || ".join(parts) + ")"


def _in(writer: ExpressionWriter, node: exp.In) -> str:
    only(node, "this", "expressions", "query")
    value = writer.write(node.this)
    if node.args.get("query"):
        return f"({value} IN {writer.write(node.args['query'])})"
    return f"({value} IN ({', '.join(writer.write(part) for part in node.expressions)}))"


def _like(writer: ExpressionWriter, node: exp.Like, escape: str = "") -> str:
    only(node, "this", "expression")
    return f"({writer.write(node.this)} LIKE {writer.write(node.expression)}{escape})"


def _escape(writer: ExpressionWriter, node: exp.Escape) -> str:
    if not isinstance(node.this, exp.Like):
        raise QueryRefused(f"ESCAPE after {label(node.this)} is not supported")
    return _like(writer, node.this, f" ESCAPE {writer.write(node.expression)}")


def _is(writer: ExpressionWriter, node: exp.Is) -> str:
    if not isinstance(node.expression, exp.Null | exp.Boolean):
        raise QueryRefused(f"IS {label(node.expression)} is not supported")
    return f"({writer.write(node.this)} IS {writer.write(node.expression)})"


def _between(writer: ExpressionWriter, node: exp.Between) -> str:
    only(node, "this", "low", "high")
    low, high = writer.write(node.args["low"]), writer.write(node.args["high"])
    return f"({writer.write(node.this)} BETWEEN {low} AND {high})"


def _case(writer: ExpressionWriter, node: exp.Case) -> str:
    only(node, "this", "ifs", "default")
    parts = ["CASE"]
    if node.this:
        parts.append(writer.write(node.this))
    for branch in node.args["ifs"]:
        parts.append(f"WHEN {writer.write(branch.this)} THEN {writer.write(branch.args['true'])}")
    if node.args.get("default"):
        parts.append(f"ELSE {writer.write(node.args['default'])}")
    return f"({' '.join(parts)} END)"


def _cast(writer: ExpressionWriter, node: exp.Cast) -> str:
    only(node, "this", "to")
    to = target(node.to)
    if isinstance(node.this, exp.Literal) and node.this.is_string and to in ("TIMESTAMP", "DATE"):
        # TIMESTAMP '2000-01-01 00:00:00': text that is no time is the statement's fault.
        return f"CAST({writer.write(node.this)} AS {to})"
    return cast(writer.write(node.this), to)


def _floor(writer: ExpressionWriter, node: exp.Floor) -> str:
    only(node, "this", "to")
    value = writer.write(node.this)
    return floor_to(value, node.args["to"].name) if node.args.get("to") else f"floor({value})"


def _ceil(writer: ExpressionWriter, node: exp.Ceil) -> str:
    only(node, "this", "to")
    value = writer.write(node.this)
    return ceil_to(value, node.args["to"].name) if node.args.get("to") else f"ceil({value})"


def _extract(writer: ExpressionWriter, node: exp.Extract) -> str:
    only(node, "this", "expression")
    return extracted(writer.write(node.expression), node.this.name, "EXTRACT")


def _position(writer: ExpressionWriter, node: exp.StrPosition) -> str:
    only(node, "this", "substr")
    return f"strpos({writer.write(node.this)}, {writer.write(node.args['substr'])})"


def _substring(writer: ExpressionWriter, node: exp.Substring) -> str:
    only(node, "this", "start", "length")
    parts = [node.this, node.args["start"], node.args.get("length")]
    return f"substring({', '.join(writer.write(part) for part in parts if part)})"


def _trim(writer: ExpressionWriter, node: exp.Trim) -> str:
    only(node, "this", "expression", "position")
    side = str(node.args.get("position") or "BOTH").upper()
    function = {"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[side]
    letters = writer.write(node.args["expression"]) if node.args.get("expression") else "' '"
    return f"{function}({writer.write(node.this)}, {letters})"


def _interval(writer: ExpressionWriter, node: exp.Interval) -> str:
    only(node, "this", "unit")
    step = node.args.get("unit")
    name = str(getattr(step, "name", "")).upper()
    amount = str(node.this.name) if isinstance(node.this, exp.Literal) else ""
    if not isinstance(step, exp.Var) or name not in _INTERVALS or not amount.lstrip("-").isdigit():
        raise QueryRefused(
            "an INTERVAL has to be a whole number of one unit, as in INTERVAL '1' DAY"
        )
    return f"INTERVAL '{amount} {name}'"


def _array(writer: ExpressionWriter, node: exp.Array) -> str:
    only(node, "expressions")
    return f"[{', '.join(writer.write(part) for part in node.expressions)}]"


def _json_value(writer: ExpressionWriter, node: exp.JSONValue) -> str:
    only(node, "this", "path", "returning")
    found = json_value(writer.write(node.this), _path_text(node.args["path"]))
    kind = node.args.get("returning")
    return cast(found, target(kind)) if kind else found


def _path_text(path: exp.Expr) -> str:
    """A parsed JSON path as text again; refuses all but keys and indices."""
    if isinstance(path, exp.Literal):
        return str(path.this)
    if not isinstance(path, exp.JSONPath):
        raise QueryRefused("the path of JSON_VALUE has to be a string literal")
    out = ["$"]
    for part in path.expressions[1:]:
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            if '"' in part.this:
                raise QueryRefused("a quote in a JSON path is not supported")
            out.append(f'."{part.this}"')
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, int):
            out.append(f"[{part.this}]")
        else:
            raise QueryRefused("a JSON path may hold keys and indices only")
    return "".join(out)


def _json_object(writer: ExpressionWriter, node: exp.JSONObject) -> str:
    only(node, "expressions")
    pairs = ", ".join(
        f"{writer.write(pair.this)}, {writer.write(pair.expression)}" for pair in node.expressions
    )
    return f"json_object({pairs})"


def _tuple(writer: ExpressionWriter, node: exp.Tuple) -> str:
    return f"({', '.join(writer.write(part) for part in node.expressions)})"


def _exists(writer: ExpressionWriter, node: exp.Exists) -> str:
    return f"EXISTS {writer.subquery(node.this)}"


_HANDLERS: dict[type[exp.Expr], Callable[[ExpressionWriter, Any], str]] = {
    exp.Column: lambda writer, node: writer.column(node),
    exp.Literal: _literal,
    exp.UnicodeString: _unicode,
    exp.Boolean: lambda writer, node: "TRUE" if node.this else "FALSE",
    exp.Null: lambda writer, node: "NULL",
    exp.Paren: lambda writer, node: f"({writer.write(node.this)})",
    exp.And: _junction,
    exp.Or: _junction,
    exp.Not: lambda writer, node: f"(NOT {writer.write(node.this)})",
    exp.Neg: lambda writer, node: f"(- {writer.write(node.this)})",
    exp.DPipe: _concatenation,
    exp.In: _in,
    exp.Like: _like,
    exp.Escape: _escape,
    exp.Is: _is,
    exp.Between: _between,
    exp.Case: _case,
    exp.Cast: _cast,
    exp.Floor: _floor,
    exp.Ceil: _ceil,
    exp.Extract: _extract,
    exp.StrPosition: _position,
    exp.Substring: _substring,
    exp.Trim: _trim,
    exp.Interval: _interval,
    exp.Array: _array,
    exp.Bracket: lambda writer, node: writer.bracket(node),
    exp.Dot: lambda writer, node: writer.dot(node),
    exp.JSONValue: _json_value,
    exp.JSONObject: _json_object,
    exp.Tuple: _tuple,
    exp.Exists: _exists,
    exp.Subquery: lambda writer, node: writer.subquery(node),
    exp.Anonymous: lambda writer, node: writer.call(node),
    exp.Filter: lambda writer, node: writer.filtered(node),
    exp.Window: lambda writer, node: writer.window(node),
    exp.CurrentTimestamp: lambda writer, node: NOW,
    exp.CurrentDate: lambda writer, node: "current_date",
}
