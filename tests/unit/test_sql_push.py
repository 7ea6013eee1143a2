"""Push queries: ksqlDB's names and encoding, refusals by name, and evaluation over batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.seams import (
    ARRIVAL_FIELD,
    InsertSpec,
    QueryBroken,
    QueryRefused,
    Source,
    SourceKind,
    TimeEncoding,
)
from gateway.sql import PushEvaluator, compile_push
from protocol.types import BIGINT, STRING, TIMESTAMP, Column, parse_type

COLUMNS = tuple(
    Column(name, parse_type(kind))
    for name, kind in {
        "TS": "TIMESTAMP",
        "NAME": "STRING",
        "N": "BIGINT",
        "I": "INTEGER",
        "D": "DOUBLE",
        "B": "BOOLEAN",
        "PRICE": "DECIMAL(4, 2)",
        "EXACT": "DECIMAL(30, 11)",
        "TAGS": "ARRAY<STRING>",
        "SIZES": "ARRAY<DOUBLE>",
        "COUNTS": "MAP<STRING, BIGINT>",
        "S": "STRUCT<F1 INTEGER, F2 STRING, T TIMESTAMP, Q DECIMAL(4, 2)>",
        "DAY": "DATE",
        "AT": "TIME",
        "RAW": "BYTES",
        "SEEN": "TIMESTAMP",
        "`lower`": "STRING",
    }.items()
    for name in [name.strip("`")]
)
SOURCE = Source(
    name="ORDERS",
    kind=SourceKind.STREAM,
    columns=COLUMNS,
    spec=InsertSpec(datasource="orders", columns=COLUMNS, time_column="TS"),
)
FULL = (
    rb'{"TS":1700000000123,"NAME":"x\"\u00e9\u2028/\u0001","N":9223372036854775807,"I":5,"D":1,'
    rb'"B":true,"PRICE":10.5,"EXACT":12345678901234567.12345678901,"TAGS":["a",null],'
    rb'"SIZES":[1,2.5,null],"COUNTS":{"k":1},"S":{"F1":1,"T":"2020-01-01T00:00:00.001","Q":1.5},'
    rb'"DAY":"2013-01-01","AT":"10:00","RAW":"-_8=","SEEN":1577836800500,"lower":"l"}' + b"\n"
)
EMPTY = b'{"TS":0}\n'


@pytest.fixture(scope="module")
def evaluator() -> Iterator[PushEvaluator]:
    with PushEvaluator() as opened:
        yield opened


def answer(
    evaluator: PushEvaluator, select: str, raw: bytes, source: Source = SOURCE
) -> list[list[Any]]:
    lines = evaluator.evaluate(compile_push(select, source), raw)
    assert lines.raw.count(b"\n") == lines.count
    return [orjson.loads(line) for line in lines.raw.split(b"\n")[:-1]]


def test_a_star_gives_the_declared_columns_with_their_types_as_ksqldb_writes_them(
    evaluator: PushEvaluator,
) -> None:
    push = compile_push("SELECT * FROM ORDERS", SOURCE)
    assert [(column.name, column.type) for column in push.columns] == [
        (column.name, column.type) for column in COLUMNS
    ]
    lines = evaluator.evaluate(push, FULL + EMPTY)
    first, second = lines.raw.decode().split("\n")[:2]
    assert first == (
        '["2023-11-14T22:13:20.123","x\\"é\u2028/\\u0001",9223372036854775807,5,1.0,true,10.50,'
        '12345678901234567.12345678901,["a",null],[1.0,2.5,null],{"k":1},'
        '{"F1":1,"F2":null,"T":1577836800001,"Q":1.5},"2013-01-01","10:00","+/8=",'
        '"2020-01-01T00:00:00.500","l"]'
    )
    assert second == '["1970-01-01T00:00:00.000"' + ",null" * (len(COLUMNS) - 1) + "]"


@pytest.mark.parametrize(
    ("items", "names", "values"),
    [
        ("NAME, n AS foo", ["NAME", "FOO"], ['x"é\u2028/\x01', 2**63 - 1]),
        ("I AS `foo`, orders.i", ["foo", "I"], [5, 5]),
        ("S->F1, orders.s->f1, s->T", ["F1", "F1_1", "T"], [1, 1, "2020-01-01T00:00:00.001"]),
        ("ROWTIME", ["ROWTIME"], [1700000000123]),
        ("I + 1, I / 2, D / 2", ["KSQL_COL_0", "KSQL_COL_1", "KSQL_COL_2"], [6, 2, 0.5]),
        ("I, I", ["I", "I_1"], [5, 5]),
        ("`lower`", ["lower"], ["l"]),
        ('"lower" AS x', ["X"], ["l"]),
        ("TAGS[1], TAGS[-2], COUNTS['k'], COUNTS['z']", None, ["a", "a", 1, None]),
        ("UCASE('é'), LCASE('A'), LEN('abc'), IFNULL(NULL, 'n')", None, ["É", "a", 3, "n"]),
        ("INSTR('abc', 'c'), SUBSTRING('abc', 2, 1), TRIM(' a ')", None, [3, "b", "a"]),
        ("CONCAT('a', NULL, 'b'), 'a' || NULL", None, ["ab", None]),
        ("CAST(D AS BIGINT), CAST(I AS STRING), CAST('1.9' AS INT)", None, [1, "5", 1]),
        ("PRICE + 1, ROUND(D), ROUND(PRICE, 1)", None, [11.5, 1, 10.5]),
        ("1.5, 1E3, -I, NOT B, NULL", None, [1.5, 1000.0, -5, False, None]),
        ("CASE WHEN B THEN 'yes' ELSE 'no' END", None, ["yes"]),
        ("TIMESTAMPTOSTRING(ROWTIME, 'yyyy-MM-dd HH:mm')", None, ["2023-11-14 22:13"]),
        ("EXTRACTJSONFIELD('{\"a\":{\"b\":5}}', '$.a.b')", None, ["5"]),
        ("N + 1, 1 / 0", None, [None, None]),
        ("ARRAY_CONTAINS(TAGS, 'a'), ARRAY_LENGTH(TAGS)", None, [True, 2]),
    ],
)
def test_projections_have_ksqldbs_names_and_values(
    evaluator: PushEvaluator, items: str, names: list[str] | None, values: list[Any]
) -> None:
    select = f"SELECT {items} FROM ORDERS"
    assert answer(evaluator, select, FULL) == [values]
    if names is not None:
        assert [column.name for column in compile_push(select, SOURCE).columns] == names


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        ("N > 5", True),
        ("N > 5 AND NAME IS NULL", False),
        ("name LIKE 'x%' AND i IN (4, 5)", True),
        ("NOT B", False),
        ("B", True),
        ("D = NULL", False),
        ("ROWTIME BETWEEN 1700000000123 AND 1700000000124", True),
        ("TS >= '2023-11-14T22:13:20.123'", True),
        ("S->F1 = 1", True),
        ("PRICE = 10.50", True),
        ("N + N > 0", False),
    ],
)
def test_a_condition_lets_rows_pass(evaluator: PushEvaluator, condition: str, passes: bool) -> None:
    found = answer(evaluator, f"SELECT I FROM ORDERS WHERE {condition}", FULL + EMPTY)
    assert found == ([[5]] if passes else [])


@pytest.mark.parametrize(
    ("select", "named"),
    [
        ("SELECT COUNT(*) FROM ORDERS", "the aggregate COUNT"),
        ("SELECT LATEST_BY_OFFSET(N) FROM ORDERS", "the aggregate LATEST_BY_OFFSET"),
        ("SELECT N FROM ORDERS GROUP BY N", "GROUP BY"),
        ("SELECT N FROM ORDERS HAVING N > 1", "HAVING"),
        ("SELECT DISTINCT N FROM ORDERS", "DISTINCT"),
        ("SELECT N FROM ORDERS ORDER BY N", "ORDER BY"),
        ("SELECT N FROM ORDERS JOIN O2 ON ORDERS.N = O2.N", "JOIN"),
        ("SELECT N FROM ORDERS, O2", "JOIN"),
        ("SELECT N FROM (SELECT N FROM ORDERS) x", "a subquery"),
        ("SELECT (SELECT 1) FROM ORDERS", "a subquery"),
        ("SELECT N FROM ORDERS WHERE N IN (SELECT 1)", "a subquery"),
        ("SELECT N FROM ORDERS WHERE EXISTS (SELECT 1)", "a subquery"),
        ("SELECT ROW_NUMBER() OVER (ORDER BY N) FROM ORDERS", "a window function"),
        ("SELECT N FROM ORDERS UNION ALL SELECT N FROM ORDERS", "UNION"),
        ("SELECT N FROM ORDERS WINDOW TUMBLING (SIZE 1 HOUR) GROUP BY N", "WINDOW TUMBLING"),
        ("SELECT N FROM ORDERS PARTITION BY N", "PARTITION BY"),
        ("WITH x AS (SELECT 1) SELECT N FROM ORDERS", "WITH"),
        ("SELECT N FROM ORDERS LIMIT 1 OFFSET 1", "OFFSET"),
        ("SELECT EXPLODE(TAGS) FROM ORDERS", "the table function EXPLODE"),
        ("SELECT NO_SUCH(N) FROM ORDERS", "NO_SUCH"),
        ("SELECT read_text('/etc/passwd') FROM ORDERS", "READ_TEXT"),
        ("SELECT NOPE FROM ORDERS", "Column 'NOPE' cannot be resolved."),
        ("SELECT lower FROM ORDERS", "Column 'LOWER' cannot be resolved."),
        ("SELECT `n` FROM ORDERS", "Column 'n' cannot be resolved."),
        ("SELECT S->NOPE FROM ORDERS", "'NOPE' is not a field"),
        ("SELECT ORDERS.N FROM ORDERS o", "Column 'ORDERS' cannot be resolved."),
        ("SELECT N FROM ORDERS WHERE NAME > 5 + B", "argument types"),
        ("SELECT N FROM", "syntax error"),
        ("SELECT N", "FROM"),
        ("DROP STREAM ORDERS", "SELECT"),
        ("SELECT N FROM ORDERS LIMIT N", "LIMIT"),
    ],
)
def test_what_cannot_be_streamed_is_refused_by_name(select: str, named: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        compile_push(select, SOURCE)
    assert named in str(refused.value)


def test_a_limit_is_told_and_does_not_cut_the_evaluation(evaluator: PushEvaluator) -> None:
    push = compile_push("SELECT I FROM ORDERS LIMIT 1", SOURCE)
    assert push.limit == 1
    assert evaluator.evaluate(push, FULL + FULL).count == 2
    assert compile_push("SELECT I FROM ORDERS", SOURCE).limit is None


def test_equal_queries_share_a_key_and_others_do_not() -> None:
    keys = [
        compile_push(select, SOURCE).key
        for select in (
            "SELECT I AS A FROM ORDERS WHERE N>5",
            "select  i  FROM orders o where o.n > 5 LIMIT 3",
            "SELECT I FROM ORDERS WHERE N > 6",
        )
    ]
    assert keys[0] == keys[1] != keys[2]


def test_an_undeclared_source_is_read_by_its_own_names_and_forgives_case(
    evaluator: PushEvaluator,
) -> None:
    columns = (
        Column("__time", TIMESTAMP),
        Column("Origin", STRING),
        Column("x", BIGINT),
        Column("X", BIGINT),
    )
    spec = InsertSpec(
        datasource="flights",
        columns=columns,
        time_column="__time",
        time_encoding=TimeEncoding.ISO,
    )
    flights = Source(
        name="flights", kind=SourceKind.STREAM, columns=columns, spec=spec, declared=False
    )
    raw = (
        b'{"__time":"2013-01-01T10:00:00.123Z","Origin":"EWR","x":1,"X":2}\n'
        b'{"__time":"2013-01-01T12:00:00+02:00","Origin":"JFK","x":3}\n'
    )
    found = answer(evaluator, "SELECT __time, origin, x, X, ROWTIME FROM flights", raw, flights)
    assert found == [
        ["2013-01-01T10:00:00.123", "EWR", 1, 2, 1357034400123],
        ["2013-01-01T10:00:00.000", "JFK", 3, None, 1357034400000],
    ]
    assert answer(evaluator, "SELECT * FROM flights LIMIT 1", raw, flights)[0][1:] == ["EWR", 1, 2]


def test_without_a_time_column_the_arrival_is_the_row_time(evaluator: PushEvaluator) -> None:
    columns = (Column("N", BIGINT),)
    stored = (Column("n", BIGINT),)
    source = Source(
        name="A",
        kind=SourceKind.STREAM,
        columns=columns,
        spec=InsertSpec(datasource="a", columns=stored),
    )
    raw = orjson.dumps({ARRIVAL_FIELD: 1000, "n": 7}) + b"\n"
    assert answer(evaluator, "SELECT N, ROWTIME FROM A", raw, source) == [[7, 1000]]
    assert answer(evaluator, "SELECT 'constant' FROM A", raw, source) == [["constant"]]


def test_a_text_time_is_shown_in_its_own_pattern(evaluator: PushEvaluator) -> None:
    columns = (Column("WHEN_", STRING),)
    source = Source(
        name="A",
        kind=SourceKind.STREAM,
        columns=columns,
        spec=InsertSpec(
            datasource="a",
            columns=columns,
            time_column="WHEN_",
            time_encoding=TimeEncoding.ISO,
        ),
        time_format="dd/MM/yyyy HH:mm",
    )
    raw = b'{"WHEN_":"2013-01-31T10:05:00.000Z"}\n'
    assert answer(evaluator, "SELECT * FROM A", raw, source) == [["31/01/2013 10:05"]]


def test_the_last_of_equal_keys_counts(evaluator: PushEvaluator) -> None:
    assert answer(evaluator, "SELECT N FROM ORDERS", b'{"TS":1,"N":1,"N":2}\n' + EMPTY) == [
        [2],
        [None],
    ]


def test_rows_keep_their_order_in_a_large_batch(evaluator: PushEvaluator) -> None:
    raw = b"".join(b'{"TS":%d,"N":%d}\n' % (n, n) for n in range(20_000))
    found = answer(evaluator, "SELECT N FROM ORDERS WHERE N / 2 * 2 = N", raw)
    assert found == [[n] for n in range(0, 20_000, 2)]


def test_bytes_that_are_no_rows_break_the_query_and_not_the_evaluator(
    evaluator: PushEvaluator,
) -> None:
    push = compile_push("SELECT N FROM ORDERS", SOURCE)
    with pytest.raises(QueryBroken, match="line 2"):
        evaluator.evaluate(push, EMPTY + b'{"TS":\n')
    assert evaluator.evaluate(push, b'{"TS":1,"N":3}\n').raw == b"[3]\n"
    assert evaluator.evaluate(push, b"").count == 0


JSON_STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "TS": st.integers(0, 10**13),
                "NAME": st.none() | JSON_STRINGS,
                "N": st.none() | st.integers(-(2**63), 2**63 - 1),
                "D": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "B": st.none() | st.booleans(),
                "TAGS": st.none() | st.lists(st.none() | JSON_STRINGS, max_size=3),
                "COUNTS": st.none()
                | st.dictionaries(JSON_STRINGS, st.integers(0, 2**40), max_size=3),
            }
        ),
        max_size=8,
    )
)
def test_plain_columns_come_out_as_they_went_in(
    evaluator: PushEvaluator, rows: list[dict[str, Any]]
) -> None:
    names = ("NAME", "N", "D", "B", "TAGS", "COUNTS")
    raw = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    found = answer(evaluator, f"SELECT {', '.join(names)} FROM ORDERS", raw)
    assert found == [[row[name] for name in names] for row in rows]


def test_the_evaluators_folder_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows [1]*"
    evaluator = PushEvaluator(folder)
    assert answer(evaluator, "SELECT I FROM ORDERS", FULL) == [[5]]
    evaluator.close()
    assert not folder.exists()
