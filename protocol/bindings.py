"""What a query's sources offer: the columns that can be named, and how each is written.

Owns the values between `scopes` (where a name stands) and `names` (what it becomes).
"""

from dataclasses import dataclass, field

TIME_COLUMN = "__time"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredNames:
    """What is declared of a stream: ``columns`` as declared, ``stored`` as its datasource spells
    them, in the same order; ``time_column`` is the declared name of ``__time``, if one is."""

    name: str
    datasource: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    time_column: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The declared column that a column of the result is, unchanged."""

    source: str
    column: str


def druid_quoted(name: str) -> str:
    """A name in double quotes, as Druid SQL quotes identifiers."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a SELECT gives out; ``name`` is None where the text does not say it."""

    name: str | None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """How a resolvable column is written, and under which name it goes out."""

    text: str
    name: str
    stored: str
    origin: Origin | None


@dataclass(slots=True)
class Binding:
    """A source of a SELECT with its names.

    ``columns`` are the resolvable ones by name; ``stars``: all of them in order, None if unknown.
    ``qualifier`` is what its columns are qualified with in the text, ``writes`` how that is
    written for the warehouse.
    """

    qualifier: str | None
    writes: str
    declared: DeclaredNames | None = None
    columns: dict[str, ColumnRef] = field(default_factory=dict)
    stars: list[Output] | None = None


@dataclass(slots=True)
class Scope:
    """What the words of one SELECT can name.

    ``aliases`` maps the folded alias of each item to its text, ``joined_on`` has the columns of
    JOIN … USING: those are one, though two sources have them.
    """

    bindings: list[Binding]
    aliases: dict[str, str]
    joined_on: set[str]
    qualifiers: dict[str, Binding] = field(init=False)

    def __post_init__(self) -> None:
        self.qualifiers = {}
        for binding in self.bindings:
            if binding.qualifier is not None:
                self.qualifiers.setdefault(binding.qualifier, binding)


def declare(binding: Binding, declared: DeclaredNames) -> None:
    binding.declared = declared
    binding.stars = []
    for name, spelling in zip(declared.columns, declared.stored, strict=True):
        stored = TIME_COLUMN if name == declared.time_column else spelling
        origin = Origin(declared.name, name)
        binding.columns[name] = ColumnRef(druid_quoted(stored), name, stored, origin)
        binding.stars.append(Output(name, origin))


def expanded(binding: Binding, prefix: str) -> str:
    """``*`` as the declared columns, each under its declared name."""
    return ", ".join(
        f"{prefix}{ref.text}" + (f" AS {druid_quoted(ref.name)}" if ref.stored != ref.name else "")
        for ref in binding.columns.values()
    )
