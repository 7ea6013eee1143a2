"""Aggregates and window functions of Druid's SQL reference."""

from sqlglot import exp

from gateway.seams import QueryRefused
from gateway.sql.calls import Call, Function, aggregate, window
from gateway.sql.names import identifier

_TIME = identifier("__time")


def _count(call: Call) -> str:
    if len(call) == 0 or isinstance(call.nodes[0], exp.Star):
        if call.distinct:
            raise QueryRefused("COUNT(DISTINCT *) is not supported")
        return f"count(*){call.suffix}"
    return call.aggregated("count", call[0])


def _average(call: Call) -> str:
    """Druid's AVG of whole numbers is a whole number, so it is a sum divided by a count."""
    total = call.aggregated("sum", call[0])
    return f"({total} / nullif({call.aggregated('count', call[0])}, 0))"


def _by_time(function: str) -> Function:
    """EARLIEST and LATEST go by ``__time``; the second argument bounds bytes and is ignored."""
    return aggregate(1, 2, lambda call: call.aggregated(function, call[0], _TIME))


def _by(function: str) -> Function:
    return aggregate(2, 3, lambda call: call.aggregated(function, call[0], call[1]))


def _plain(name: str) -> Function:
    return aggregate(1, 1, lambda call: call.aggregated(name, call[0]))


def _distinct(call: Call) -> str:
    """Exact where Druid estimates: an estimate may always be exact."""
    return f"count(DISTINCT {call[0]}){call.suffix}"


def _joined(call: Call) -> str:
    separator = call[1] if len(call) > 1 else "''"
    return call.aggregated("string_agg", f"CAST({call[0]} AS VARCHAR)", separator)


AGGREGATES: dict[str, Function] = {
    "COUNT": aggregate(0, 1, _count),
    "SUM": _plain("sum"),
    "MIN": _plain("min"),
    "MAX": _plain("max"),
    "AVG": aggregate(1, 1, _average),
    "STDDEV": _plain("stddev_samp"),
    "STDDEV_SAMP": _plain("stddev_samp"),
    "STDDEV_POP": _plain("stddev_pop"),
    "VARIANCE": _plain("var_samp"),
    "VAR_SAMP": _plain("var_samp"),
    "VAR_POP": _plain("var_pop"),
    "BIT_AND": _plain("bit_and"),
    "BIT_OR": _plain("bit_or"),
    "BIT_XOR": _plain("bit_xor"),
    "ANY_VALUE": aggregate(1, 2, lambda call: call.aggregated("any_value", call[0])),
    "EARLIEST": _by_time("arg_min"),
    "LATEST": _by_time("arg_max"),
    "EARLIEST_BY": _by("arg_min"),
    "LATEST_BY": _by("arg_max"),
    "APPROX_COUNT_DISTINCT": aggregate(1, 1, _distinct),
    "APPROX_COUNT_DISTINCT_BUILTIN": aggregate(1, 1, _distinct),
    "ARRAY_AGG": aggregate(1, 2, lambda call: call.aggregated("array_agg", call[0])),
    "STRING_AGG": aggregate(2, 3, _joined),
    "LISTAGG": aggregate(1, 3, _joined),
    "GROUPING": aggregate(1, None, lambda call: f"grouping({call.all()})"),
}

WINDOWS: dict[str, Function] = {
    "ROW_NUMBER": window(0, 0, lambda call: f"row_number(){call.suffix}"),
    "RANK": window(0, 0, lambda call: f"rank(){call.suffix}"),
    "DENSE_RANK": window(0, 0, lambda call: f"dense_rank(){call.suffix}"),
    "PERCENT_RANK": window(0, 0, lambda call: f"percent_rank(){call.suffix}"),
    "CUME_DIST": window(0, 0, lambda call: f"cume_dist(){call.suffix}"),
    "NTILE": window(1, 1, lambda call: f"ntile({call[0]}){call.suffix}"),
    "LAG": window(1, 3, lambda call: f"lag({call.all()}){call.suffix}"),
    "LEAD": window(1, 3, lambda call: f"lead({call.all()}){call.suffix}"),
    "FIRST_VALUE": window(1, 1, lambda call: f"first_value({call[0]}){call.suffix}"),
    "LAST_VALUE": window(1, 1, lambda call: f"last_value({call[0]}){call.suffix}"),
}
