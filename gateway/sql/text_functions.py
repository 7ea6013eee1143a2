"""Scalar functions on text, numbers, arrays and JSON, as Druid's SQL reference defines them."""

from gateway.seams import QueryRefused
from gateway.sql.calls import Call, Function, once, renamed, scalar
from gateway.sql.names import literal


def _concat(call: Call) -> str:
    """Null as soon as one part is null."""
    return "(" + " || ".join(f"CAST({call[i]} AS VARCHAR)" for i in range(len(call))) + ")"


def _padded(function: str, call: Call) -> str:
    letters = call[2] if len(call) > 2 else "' '"
    return f"{function}({call[0]}, CAST({call[1]} AS INTEGER), {letters})"


def _regexp_extract(call: Call) -> str:
    """The whole match or a group; null, where DuckDB would give '', if nothing matches."""
    pattern = call[1]
    group = call[2] if len(call) > 2 else "0"
    return once(
        call[0],
        lambda text: (
            f"(CASE WHEN regexp_matches({text}, {pattern}) "
            f"THEN regexp_extract({text}, {pattern}, {group}) END)"
        ),
    )


def _truncate(call: Call) -> str:
    if len(call) == 1:
        return f"trunc({call[0]})"
    return f"(trunc(({call[0]}) * pow(10, {call[1]})) / pow(10, {call[1]}))"


def _json_path(path: str) -> str:
    """A JSONPath of Druid (``$.a[0]['b c']``) as DuckDB reads it."""
    if not path.startswith("$"):
        raise QueryRefused(f"'{path}' is not a JSON path: it has to begin with '$'")
    return literal(path.replace("['", '."').replace("']", '"'))


def json_value(document: str, path: str) -> str:
    """The scalar at a path as text; null for an object, an array or nothing."""
    return f"json_extract_string(json_value({document}, {_json_path(path)}), '$')"


def _array_contains(call: Call) -> str:
    """Druid takes an element or an array of which all must be there."""
    return (
        f"(CASE WHEN typeof({call[1]}) LIKE '%[]' "
        f"THEN list_has_all({call[0]}, CASE WHEN typeof({call[1]}) LIKE '%[]' "
        f"THEN {call[1]} END) END)"
        if call.nodes[1].key == "array"
        else f"list_contains({call[0]}, {call[1]})"
    )


def _array_element(offset: int) -> Function:
    """Druid gives null outside the array; DuckDB counts negative indices from its end."""
    return scalar(
        2,
        2,
        lambda call: once(
            call[1],
            lambda at: f"(CASE WHEN {at} >= {1 - offset} THEN ({call[0]})[{at} + {offset}] END)",
        ),
    )


TEXT: dict[str, Function] = {
    "CONCAT": scalar(1, None, _concat),
    "TEXTCAT": scalar(2, 2, _concat),
    "LOWER": renamed("lower", 1),
    "UPPER": renamed("upper", 1),
    "LENGTH": renamed("length", 1),
    "CHAR_LENGTH": renamed("length", 1),
    "CHARACTER_LENGTH": renamed("length", 1),
    "STRLEN": renamed("length", 1),
    "SUBSTR": renamed("substring", 2, 3),
    "LEFT": renamed("left", 2),
    "RIGHT": renamed("right", 2),
    "REPLACE": renamed("replace", 3),
    "REVERSE": renamed("reverse", 1),
    "REPEAT": renamed("repeat", 2),
    "STRPOS": renamed("strpos", 2),
    "LTRIM": renamed("ltrim", 1, 2),
    "RTRIM": renamed("rtrim", 1, 2),
    "BTRIM": renamed("trim", 1, 2),
    "LPAD": scalar(2, 3, lambda c: _padded("lpad", c)),
    "RPAD": scalar(2, 3, lambda c: _padded("rpad", c)),
    "CONTAINS_STRING": renamed("contains", 2),
    "ICONTAINS_STRING": scalar(2, 2, lambda c: f"contains(lower({c[0]}), lower({c[1]}))"),
    "REGEXP_LIKE": renamed("regexp_matches", 2),
    "REGEXP_EXTRACT": scalar(2, 3, _regexp_extract),
    "REGEXP_REPLACE": scalar(3, 3, lambda c: f"regexp_replace({c[0]}, {c[1]}, {c[2]}, 'g')"),
    "PARSE_LONG": scalar(1, 1, lambda c: f"TRY_CAST({c[0]} AS BIGINT)"),
    "DECODE_BASE64_UTF8": scalar(1, 1, lambda c: f"decode(from_base64({c[0]}))"),
}

NUMBERS: dict[str, Function] = {
    "ABS": renamed("abs", 1),
    "ROUND": renamed("round", 1, 2),
    "TRUNC": scalar(1, 2, _truncate),
    "TRUNCATE": scalar(1, 2, _truncate),
    "CEILING": renamed("ceil", 1),
    "MOD": scalar(2, 2, lambda c: f"(({c[0]}) % ({c[1]}))"),
    "DIV": scalar(2, 2, lambda c: f"(({c[0]}) // ({c[1]}))"),
    "POWER": renamed("pow", 2),
    "POW": renamed("pow", 2),
    "SQRT": renamed("sqrt", 1),
    "LN": renamed("ln", 1),
    "LOG10": renamed("log10", 1),
    "EXP": renamed("exp", 1),
    "SIGN": renamed("sign", 1),
    "PI": renamed("pi", 0),
    "SIN": renamed("sin", 1),
    "COS": renamed("cos", 1),
    "TAN": renamed("tan", 1),
    "ASIN": renamed("asin", 1),
    "ACOS": renamed("acos", 1),
    "ATAN": renamed("atan", 1),
    "ATAN2": renamed("atan2", 2),
    "COT": renamed("cot", 1),
    "DEGREES": renamed("degrees", 1),
    "RADIANS": renamed("radians", 1),
    "SAFE_DIVIDE": scalar(2, 2, lambda c: f"(({c[0]}) / nullif({c[1]}, 0))"),
    "BITWISE_AND": scalar(2, 2, lambda c: f"(({c[0]}) & ({c[1]}))"),
    "BITWISE_OR": scalar(2, 2, lambda c: f"(({c[0]}) | ({c[1]}))"),
    "BITWISE_XOR": renamed("xor", 2),
    "BITWISE_COMPLEMENT": scalar(1, 1, lambda c: f"(~({c[0]}))"),
    "BITWISE_SHIFT_LEFT": scalar(2, 2, lambda c: f"(({c[0]}) << ({c[1]}))"),
    "BITWISE_SHIFT_RIGHT": scalar(2, 2, lambda c: f"(({c[0]}) >> ({c[1]}))"),
    "GREATEST": renamed("greatest", 1, None),
    "LEAST": renamed("least", 1, None),
    "COALESCE": renamed("coalesce", 1, None),
    "NVL": renamed("coalesce", 2),
    "NULLIF": renamed("nullif", 2),
}

DOCUMENTS: dict[str, Function] = {
    "JSON_QUERY": scalar(2, 2, lambda c: f"json_extract({c[0]}, {_json_path(c.string(1))})"),
    "JSON_KEYS": scalar(2, 2, lambda c: f"json_keys({c[0]}, {_json_path(c.string(1))})"),
    "PARSE_JSON": scalar(1, 1, lambda c: f"CAST({c[0]} AS JSON)"),
    "TRY_PARSE_JSON": scalar(1, 1, lambda c: f"TRY_CAST({c[0]} AS JSON)"),
    "TO_JSON_STRING": scalar(1, 1, lambda c: f"CAST(to_json({c[0]}) AS VARCHAR)"),
}

ARRAYS: dict[str, Function] = {
    "ARRAY_LENGTH": renamed("len", 1),
    "ARRAY_OFFSET": _array_element(1),
    "ARRAY_ORDINAL": _array_element(0),
    "ARRAY_CONTAINS": scalar(2, 2, _array_contains),
    "ARRAY_OVERLAP": renamed("list_has_any", 2),
    "ARRAY_CONCAT": renamed("list_concat", 2),
    "ARRAY_APPEND": renamed("list_append", 2),
    "ARRAY_PREPEND": renamed("list_prepend", 2),
    "ARRAY_SLICE": scalar(
        2, 3, lambda c: f"({c[0]})[({c[1]}) + 1:{c[2] if len(c) > 2 else f'len({c[0]})'}]"
    ),
    "ARRAY_TO_STRING": renamed("array_to_string", 2),
    "STRING_TO_ARRAY": renamed("string_split", 2),
}
