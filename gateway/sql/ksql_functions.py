"""Scalar functions of a push query: Druid's, and ksqlDB's where they differ or have other names.

Source: ksqlDB's function reference ("Scalar functions").
"""

from collections.abc import Mapping

from gateway.sql.aggregates import AGGREGATES
from gateway.sql.calls import Call, Function, once, renamed, scalar
from gateway.sql.casts import cast
from gateway.sql.names import literal
from gateway.sql.periods import strftime_pattern
from gateway.sql.text_functions import ARRAYS, NUMBERS, TEXT, json_value
from gateway.sql.time_functions import TIMES

KSQL_AGGREGATES = frozenset(AGGREGATES) | {
    "COLLECT_LIST",
    "COLLECT_SET",
    "COUNT_DISTINCT",
    "CORRELATION",
    "EARLIEST_BY_OFFSET",
    "LATEST_BY_OFFSET",
    "HISTOGRAM",
    "TOPK",
    "TOPKDISTINCT",
    "STDDEV_SAMPLE",
}
"""Names that a push query refuses as aggregates."""


def _concat(call: Call) -> str:
    """ksqlDB reads a null part as an empty string."""
    return f"concat({call.all()})"


def _text_of_time(time: str, call: Call, pattern_at: int) -> str:
    return f"strftime({time}, {literal(strftime_pattern(call.string(pattern_at)))})"


def _round(call: Call) -> str:
    """Without a number of places the result is a whole number, halves rounded up."""
    if len(call) == 1:
        return once(call[0], lambda value: f"CAST(floor({value} + 0.5) AS BIGINT)")
    return f"round({call.all()})"


def _parse_time(call: Call) -> str:
    return f"try_strptime({call[0]}, {literal(strftime_pattern(call.string(1)))})"


_OWN: dict[str, Function] = {
    "UCASE": renamed("upper", 1),
    "LCASE": renamed("lower", 1),
    "LEN": renamed("length", 1),
    "IFNULL": renamed("coalesce", 2),
    "INSTR": renamed("strpos", 2),
    "CONCAT": scalar(1, None, _concat),
    "CONCAT_WS": renamed("concat_ws", 2, None),
    "INITCAP": scalar(
        1,
        1,
        lambda c: (
            f"array_to_string(list_transform(string_split({c[0]}, ' '), "
            f"lambda w: upper(w[1:1]) || lower(w[2:])), ' ')"
        ),
    ),
    "SPLIT": renamed("string_split", 2),
    "CEIL": renamed("ceil", 1),
    "FLOOR": renamed("floor", 1),
    "ROUND": scalar(1, 2, _round),
    "CBRT": renamed("cbrt", 1),
    "LOG": renamed("ln", 1),
    "ARRAY_LENGTH": renamed("len", 1),
    "ARRAY_CONTAINS": renamed("list_contains", 2),
    "ARRAY_JOIN": renamed("array_to_string", 2),
    "ARRAY_MAX": renamed("list_max", 1),
    "ARRAY_MIN": renamed("list_min", 1),
    "ARRAY_SORT": renamed("list_sort", 1),
    "ARRAY_DISTINCT": renamed("list_distinct", 1),
    "EXTRACTJSONFIELD": scalar(
        2, 2, lambda c: json_value(f"TRY_CAST({c[0]} AS JSON)", c.string(1))
    ),
    "FORMAT_TIMESTAMP": scalar(2, 2, lambda c: _text_of_time(c[0], c, 1)),
    "FORMAT_DATE": scalar(2, 2, lambda c: _text_of_time(c[0], c, 1)),
    "TIMESTAMPTOSTRING": scalar(2, 2, lambda c: _text_of_time(f"make_timestamp_ms({c[0]})", c, 1)),
    "PARSE_TIMESTAMP": scalar(2, 2, _parse_time),
    "STRINGTOTIMESTAMP": scalar(2, 2, lambda c: f"epoch_ms({_parse_time(c)})"),
    "FROM_UNIXTIME": scalar(1, 1, lambda c: f"make_timestamp_ms({c[0]})"),
    "UNIX_TIMESTAMP": scalar(
        0, 1, lambda c: f"epoch_ms({c[0] if len(c) else 'CAST(current_timestamp AS TIMESTAMP)'})"
    ),
    "TO_BIGINT": scalar(1, 1, lambda c: cast(c[0], "BIGINT")),
}

KSQL_FUNCTIONS: Mapping[str, Function] = {**TEXT, **NUMBERS, **TIMES, **ARRAYS, **_OWN}
