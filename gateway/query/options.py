"""What a request's properties ask of its pull query: engine, timeout, Druid's query context.

Pure. ``headrace.engine`` is ``native`` (default) or ``task``; ``headrace.query.timeout_ms`` ends
the query after so long, 0 is never; ``druid.<key>`` reaches Druid's query context for the keys of
`CONTEXT` (Druid's ``querying/query-context``, ``querying/sql-query-context`` and
``multi-stage-query/reference``). Keys that could make an answer shorter without a word
(``sqlOuterLimit``, ``bySegment``, ``uncoveredIntervalsLimit``) and those that the gateway lives by
(``sqlQueryId``, ``sqlStringifyArrays``, ``maxNumTasks``) are not among them. Values may be JSON's
or their texts, as ksqlDB's clients send both. All other properties are none of a pull query's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.seams import QueryEngine
from protocol.errors import BadRequest

ENGINE = "headrace.engine"
TIMEOUT = "headrace.query.timeout_ms"
PREFIX = "druid."

_TIMEOUT_KEY = "timeout"
_MILLIS_MAX = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """``timeout_ms``: None where the request says nothing; 0: no limit."""

    engine: QueryEngine = QueryEngine.NATIVE
    timeout_ms: int | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


def pull_options(properties: Mapping[str, Any]) -> PullOptions:
    """Read them. Raises `BadRequest` (40000) for a key or a value that is not known."""
    context: dict[str, Any] = {}
    for name, value in properties.items():
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX)
            if key not in CONTEXT:
                raise BadRequest(
                    f"Property '{name[:200]}' is not known. Of Druid's query context these can be "
                    f"set: {', '.join(PREFIX + known for known in sorted(CONTEXT))}"
                )
            context[key] = CONTEXT[key](name, value)
    timeout_ms = context.pop(_TIMEOUT_KEY, None)
    if TIMEOUT in properties:
        timeout_ms = _whole(0, _MILLIS_MAX)(TIMEOUT, properties[TIMEOUT])
    engine = _engine(properties.get(ENGINE, QueryEngine.NATIVE))
    return PullOptions(engine=engine, timeout_ms=timeout_ms, context=context)


def _engine(value: Any) -> QueryEngine:
    return QueryEngine(_one_of(*QueryEngine)(ENGINE, value))


# ── kinds of values: (property's name, value) → value for Druid ──────────────────────────────

Read = Callable[[str, Any], Any]


def _whole(lowest: int, highest: int) -> Read:
    def read(name: str, value: Any) -> int:
        number = _number(value)
        if number is None or not lowest <= number <= highest:
            raise _wrong(name, value, f"a whole number from {lowest} to {highest}")
        return number

    return read


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(name: str, value: Any) -> bool:
    text = value.lower() if isinstance(value, str) else value
    if text in (True, "true"):
        return True
    if text in (False, "false"):
        return False
    raise _wrong(name, value, "true or false")


def _one_of(*allowed: str) -> Read:
    by_lower = {word.lower(): str(word) for word in allowed}

    def read(name: str, value: Any) -> str:
        text = str(value).lower()
        if text not in by_lower:
            raise _wrong(name, value, f"one of {', '.join(by_lower.values())}")
        return by_lower[text]

    return read


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _wrong(name, value, "a text of at most 200 characters")
    return value


def _wrong(name: str, value: Any, wanted: str) -> BadRequest:
    shown = f"'{value[:100]}'" if isinstance(value, str) else f"of type {type(value).__name__}"
    return BadRequest(f"Property '{name}' must be {wanted}: the value {shown} is not")


_INT = _whole(1, 2**31 - 1)
_LONG = _whole(1, 2**63 - 1)

CONTEXT: Mapping[str, Read] = {
    _TIMEOUT_KEY: _whole(0, _MILLIS_MAX),
    "priority": _whole(-(2**31), 2**31 - 1),
    "lane": _text,
    "sqlTimeZone": _text,
    "useCache": _flag,
    "populateCache": _flag,
    "useResultLevelCache": _flag,
    "populateResultLevelCache": _flag,
    "vectorize": _one_of("true", "false", "force"),
    "useApproximateCountDistinct": _flag,
    "useGroupingSetForExactDistinct": _flag,
    "useApproximateTopN": _flag,
    "enableTimeBoundaryPlanning": _flag,
    "maxSubqueryRows": _INT,
    "maxSubqueryBytes": _LONG,
    "maxScatterGatherBytes": _LONG,
    "maxQueuedBytes": _LONG,
    "maxRowsQueuedForOrdering": _INT,
    "maxOnDiskStorage": _LONG,
    "sqlJoinAlgorithm": _one_of("broadcast", "sortMerge"),
    "durableShuffleStorage": _flag,
}
"""Keys of Druid's query context that a request may set, each with its kind of value."""


def is_context_property(name: str) -> bool:
    """Whether a property of that name sets a key of the query context."""
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) in CONTEXT
