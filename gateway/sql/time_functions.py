"""Functions on time, as Druid's SQL reference defines them ("Date and time functions").

A timestamp is DuckDB's TIMESTAMP without a zone and means UTC. A function that takes a time zone
goes to local time, works there, and comes back.
"""

from collections.abc import Callable

from gateway.seams import QueryRefused
from gateway.sql.calls import Call, Function, once, scalar
from gateway.sql.names import literal
from gateway.sql.periods import FIELDS, UNITS, floored, interval, strftime_pattern, unit

NOW = "CAST(current_timestamp AS TIMESTAMP)"


def _zoned(zone: str | None, time: str, work: Callable[[str], str]) -> str:
    """``work`` on ``time`` in the zone's local time; the result is a time and comes back."""
    if zone is None:
        return work(time)
    text = literal(zone)
    local = f"timezone({text}, timezone('UTC', {time}))"
    return f"timezone('UTC', timezone({text}, {work(local)}))"


def _local(zone: str | None, time: str) -> str:
    """``time`` in the zone's local time, for results that are no times."""
    return time if zone is None else f"timezone({literal(zone)}, timezone('UTC', {time}))"


def _zone(call: Call, index: int) -> str | None:
    return call.string(index) if len(call) > index else None


def _time_floor(call: Call) -> str:
    if len(call) > 2 and call.nodes[2].key != "null":
        raise QueryRefused("TIME_FLOOR with an origin is not supported")
    return _zoned(_zone(call, 3), call[0], lambda t: floored(t, call.string(1)))


def _time_ceil(call: Call) -> str:
    if len(call) > 2 and call.nodes[2].key != "null":
        raise QueryRefused("TIME_CEIL with an origin is not supported")
    period = call.string(1)
    return _zoned(_zone(call, 3), call[0], lambda t: _ceiling(t, floored(t, period), period))


def _ceiling(time: str, floor: str, period: str) -> str:
    return f"(CASE WHEN {floor} = {time} THEN {time} ELSE {floor} + {interval(period)} END)"


def _time_shift(call: Call) -> str:
    step = interval(call.string(1))
    return _zoned(_zone(call, 3), call[0], lambda t: f"({t} + {step} * ({call[2]}))")


def extracted(time: str, field: str, what: str) -> str:
    """A part of a time as a whole number."""
    name = unit(field, FIELDS, what)
    return f"CAST(floor(extract({name} FROM {time})) AS BIGINT)"


def _time_extract(call: Call) -> str:
    return extracted(_local(_zone(call, 2), call[0]), call.string(1), "TIME_EXTRACT")


def _time_parse(call: Call) -> str:
    zone = _zone(call, 2)
    if len(call) < 2 or call.nodes[1].key == "null":
        parsed = f"CAST(TRY_CAST({call[0]} AS TIMESTAMPTZ) AS TIMESTAMP)"
    else:
        parsed = f"try_strptime({call[0]}, {literal(strftime_pattern(call.string(1)))})"
    return parsed if zone is None else f"timezone('UTC', timezone({literal(zone)}, {parsed}))"


def _time_format(call: Call) -> str:
    pattern = call.string(1, "yyyy-MM-dd'T'HH:mm:ss.SSSZZ")
    if len(call) < 2:
        pattern = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"
    return f"strftime({_local(_zone(call, 2), call[0])}, {literal(strftime_pattern(pattern))})"


def _time_in_interval(call: Call) -> str:
    text = call.string(1)
    start, slash, end = text.partition("/")
    if not slash:
        raise QueryRefused(f"'{text}' is not an ISO 8601 interval")
    first = f"CAST({literal(start)} AS TIMESTAMP)"
    after = (
        f"{first} + {interval(end)}"
        if end.startswith("P")
        else f"CAST({literal(end)} AS TIMESTAMP)"
    )
    return once(call[0], lambda t: f"({t} >= {first} AND {t} < {after})")


def floor_to(time: str, name: str) -> str:
    """``FLOOR(time TO unit)``."""
    return f"date_trunc('{unit(name, UNITS, 'FLOOR')}', {time})"


def ceil_to(time: str, name: str) -> str:
    """``CEIL(time TO unit)``."""
    step = unit(name, UNITS, "CEIL")
    return once(
        time,
        lambda t: (
            f"(CASE WHEN date_trunc('{step}', {t}) = {t} THEN {t} "
            f"ELSE date_trunc('{step}', {t}) + INTERVAL '1 {step}' END)"
        ),
    )


def _timestamp_add(call: Call) -> str:
    step = unit(call.word(0), UNITS, call.name)
    return f"({call[2]} + INTERVAL '1 {step}' * CAST({call[1]} AS BIGINT))"


def _timestamp_diff(call: Call) -> str:
    step = unit(call.word(0), UNITS, call.name)
    return f"date_sub('{step}', {call[1]}, {call[2]})"


TIMES: dict[str, Function] = {
    "TIME_FLOOR": scalar(2, 4, _time_floor),
    "TIME_CEIL": scalar(2, 4, _time_ceil),
    "TIME_SHIFT": scalar(3, 4, _time_shift),
    "TIME_EXTRACT": scalar(2, 3, _time_extract),
    "TIME_PARSE": scalar(1, 3, _time_parse),
    "TIME_FORMAT": scalar(1, 3, _time_format),
    "TIME_IN_INTERVAL": scalar(2, 2, _time_in_interval),
    "DATE_TRUNC": scalar(2, 2, lambda c: floor_to(c[1], c.string(0))),
    "MILLIS_TO_TIMESTAMP": scalar(1, 1, lambda c: f"make_timestamp_ms({c[0]})"),
    "TIMESTAMP_TO_MILLIS": scalar(1, 1, lambda c: f"epoch_ms({c[0]})"),
    "TIMESTAMPADD": scalar(3, 3, _timestamp_add),
    "TIMESTAMPDIFF": scalar(3, 3, _timestamp_diff),
}
