"""Function calls: what a table of functions holds, and what it is given.

A `Function` turns a `Call` into DuckDB text. A call whose name is in no table is refused by name:
nothing of a user's text reaches DuckDB as a function name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from sqlglot import exp

from gateway.seams import QueryRefused

INLINE_CHARS = 160
"""An argument up to this length may be repeated in the text; a longer one is bound once."""


class FunctionKind(Enum):
    """Where a function may stand."""

    SCALAR = auto()
    AGGREGATE = auto()
    WINDOW = auto()
    """only with OVER"""


class Writes(Protocol):
    """What a call needs of the writer that meets it."""

    def write(self, node: exp.Expr) -> str:
        """DuckDB text of an expression."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its arguments as trees, and as text by index.

    ``suffix`` is what follows an aggregate: a FILTER and an OVER clause, or nothing.
    ``distinct`` and ``order`` belong to an aggregate's argument list.
    """

    name: str
    nodes: tuple[exp.Expr, ...]
    writer: Writes
    suffix: str = ""
    distinct: bool = False
    order: str = ""

    def __getitem__(self, index: int) -> str:
        return self.writer.write(self.nodes[index])

    def __len__(self) -> int:
        return len(self.nodes)

    def all(self) -> str:
        """Every argument, between commas."""
        return ", ".join(self.writer.write(node) for node in self.nodes)

    def string(self, index: int, default: str | None = None) -> str:
        """An argument that has to be a string literal, as its value."""
        if index >= len(self.nodes) and default is not None:
            return default
        node = self.nodes[index]
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        raise QueryRefused(f"argument {index + 1} of {self.name} has to be a string literal")

    def word(self, index: int) -> str:
        """An argument that is a bare keyword, such as the unit of TIMESTAMPADD."""
        node = self.nodes[index]
        if isinstance(node, exp.Column) and len(node.parts) == 1 and not node.this.quoted:
            return str(node.name)
        if isinstance(node, exp.Var):
            return str(node.name)
        raise QueryRefused(f"argument {index + 1} of {self.name} has to be a unit such as DAY")

    def aggregated(self, function: str, *arguments: str) -> str:
        """An aggregate of DuckDB with this call's DISTINCT, ORDER BY, FILTER and OVER."""
        distinct = "DISTINCT " if self.distinct else ""
        return f"{function}({distinct}{', '.join(arguments)}{self.order}){self.suffix}"


Build = Callable[[Call], str]


@dataclass(frozen=True, slots=True)
class Function:
    """How many arguments a function takes, and how it is written. ``most`` None: any number."""

    least: int
    most: int | None
    build: Build
    kind: FunctionKind = FunctionKind.SCALAR

    def write(self, call: Call) -> str:
        """Check the number of arguments, then build."""
        if len(call) < self.least or (self.most is not None and len(call) > self.most):
            raise QueryRefused(f"{call.name} takes {self._arity()}, not {len(call)}")
        return self.build(call)

    def _arity(self) -> str:
        if self.most is None:
            return f"at least {self.least} arguments"
        if self.most == self.least:
            return f"{self.least} argument{'' if self.least == 1 else 's'}"
        return f"{self.least} to {self.most} arguments"


Functions = Mapping[str, Function]


def scalar(least: int, most: int | None, build: Build) -> Function:
    """A function of one row."""
    return Function(least, most, build)


def renamed(name: str, least: int, most: int | None = -1) -> Function:
    """A function that DuckDB has under ``name`` with the same arguments (fixed number: one)."""
    return Function(least, least if most == -1 else most, lambda call: f"{name}({call.all()})")


def aggregate(least: int, most: int | None, build: Build) -> Function:
    """A function of a group of rows."""
    return Function(least, most, build, FunctionKind.AGGREGATE)


def window(least: int, most: int | None, build: Build) -> Function:
    """A function that needs OVER."""
    return Function(least, most, build, FunctionKind.WINDOW)


def once(value: str, body: Callable[[str], str]) -> str:
    """``body`` of ``value``, which it repeats: written inline if short, else bound once.

    Without the binding a nest of such functions would grow as a power of its depth.
    """
    if len(value) <= INLINE_CHARS:
        return body(f"({value})")
    return f"list_transform([{value}], lambda v: {body('v')})[1]"
