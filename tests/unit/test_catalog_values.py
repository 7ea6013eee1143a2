"""INSERT INTO … VALUES: rows that the checker of /inserts-stream takes, or a reason."""

from typing import Any

import orjson
import pytest

from gateway.catalog.definition import define_source, discovered_source
from gateway.catalog.values import rows_of
from gateway.seams import Source
from protocol.errors import BadStatement
from protocol.rows import Field, RowChecker, RowSchema
from protocol.statements import CreateSource, InsertValues, parse_statements
from protocol.timestamps import compile_pattern
from protocol.types import BIGINT, STRING, TIMESTAMP, Column


def stream(columns: str, properties: str = "", existing: tuple[Column, ...] = ()) -> Source:
    having = f" WITH ({properties})" if properties else ""
    (statement,) = parse_statements(f"CREATE STREAM s ({columns}){having};")
    assert isinstance(statement, CreateSource)
    return define_source(statement, existing)


def rows(source: Source, text: str) -> list[dict[str, Any]]:
    (statement,) = parse_statements(text)
    assert isinstance(statement, InsertValues)
    return rows_of(statement, source)


def refused(source: Source, text: str) -> str:
    with pytest.raises(BadStatement) as caught:
        rows(source, text)
    assert caught.value.code == 40001
    assert caught.value.statement == text
    return caught.value.message


def test_values_stand_for_the_columns_in_their_order() -> None:
    assert rows(stream("a INT, b STRING"), "INSERT INTO s VALUES (1, 'x'), (2, NULL);") == [
        {"A": 1, "B": "x"},
        {"A": 2, "B": None},
    ]


def test_a_list_of_columns_orders_the_values_and_leaves_the_others_null() -> None:
    source = stream("a INT, `b` STRING, c DOUBLE")
    assert rows(source, "INSERT INTO s (`b`, A) VALUES ('x', 1);") == [
        {"A": 1, "b": "x", "C": None}
    ]


def test_names_are_spelt_as_the_datasource_spells_them() -> None:
    source = stream("price INT", "kafka_topic='t'", (Column("Price", BIGINT),))
    assert rows(source, "INSERT INTO s (PRICE) VALUES (1);") == [{"Price": 1}]


def test_numbers_of_more_than_64_bits_can_be_written_as_json() -> None:
    source = stream("a DOUBLE, b DECIMAL(30, 0), c ARRAY<DOUBLE>")
    text = f"INSERT INTO s VALUES ({10**20}, {10**20}, ARRAY[{10**20}]);"
    (row,) = rows(source, text)
    assert orjson.loads(orjson.dumps(row)) == {"A": 1e20, "B": str(10**20), "C": [1e20]}


def test_a_discovered_datasource_takes_names_in_any_case() -> None:
    source = discovered_source("ds", (Column("__time", TIMESTAMP), Column("origin", STRING)))
    text = "INSERT INTO ds (__TIME, Origin) VALUES ('2020-01-01', 'x');"
    assert rows(source, text) == [{"__time": "2020-01-01", "origin": "x"}]
    assert "Column `Origin` does not exist" in refused(
        source, "INSERT INTO ds (`Origin`) VALUES ('x');"
    )


def test_every_row_that_leaves_passes_the_checker_of_inserts() -> None:
    source = stream(
        "k STRING KEY, t STRING, d DECIMAL(20, 4), e DOUBLE, f BOOLEAN, g BYTES, h TIMESTAMP, "
        "i DATE, j TIME, l ARRAY<DECIMAL(4, 2)>, m MAP<STRING, INT>, n STRUCT<x INT, `y` STRING>",
        "timestamp='t', timestamp_format='dd.MM.yyyy'",
    )
    (row,) = rows(
        source,
        "INSERT INTO s VALUES ('k', '24.12.2020', 1234567890123456.7891, 1.5, TRUE, 'AAE_', "
        "'2020-01-01T00:00:00', '2020-05-26', '01:34', ARRAY[1.25, NULL], MAP('a' := 1), "
        "STRUCT(X := 1, `y` := 'z'));",
    )
    fields = tuple(
        Field(
            column=column,
            stored_as=stored.name,
            is_time=stored.name == "T",
            read_time=compile_pattern("dd.MM.yyyy") if stored.name == "T" else None,
        )
        for column, stored in zip(source.columns, source.spec.columns, strict=True)
    )
    checker = RowChecker(RowSchema(fields=fields), row_limit_bytes=1_000_000)
    checked = checker.check(orjson.dumps(row) + b"\n", 0)
    assert checked.rejected is None
    kept = orjson.loads(checked.raw)
    assert kept["D"] == "1234567890123456.7891"
    assert kept["N"] == {"X": 1, "y": "z"}
    assert kept["L"] == [1.25, None]
    assert kept["T"] == "2020-12-24T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("INSERT INTO s VALUES ('k');", "Expected Columns: [K, N, T]. Got 1 values."),
        ("INSERT INTO s (k, t) VALUES ('k', 1, 2);", "Expected Columns: [K, T]. Got 3 values."),
        ("INSERT INTO s (k, K) VALUES ('k', 'k');", "Column `K` is named twice."),
        ("INSERT INTO s (k, nope) VALUES ('k', 1);", "Column `NOPE` does not exist."),
        (
            "INSERT INTO s VALUES ('k', 'x', 1);",
            "Can't coerce a field of type class java.lang.String into type INTEGER (column `N`).",
        ),
        ("INSERT INTO s VALUES ('k', 1.5, 1);", "java.lang.Double into type INTEGER"),
        ("INSERT INTO s VALUES ('k', 3000000000, 1);", "java.lang.Long into type INTEGER"),
        ("INSERT INTO s VALUES ('k', 1e999, 1);", "into type INTEGER"),
        ("INSERT INTO s VALUES ('k', ARRAY[1], 1);", "into type INTEGER"),
        ("INSERT INTO s VALUES ('k', MAP('a' := 1), 1);", "Can't coerce a MAP into type INTEGER"),
        ("INSERT INTO s VALUES ('k', STRUCT(a := 1), 1);", "Can't coerce a STRUCT into type"),
        ("INSERT INTO s VALUES (NULL, 1, 1);", "Key field must be specified: K"),
        ("INSERT INTO s (n, t) VALUES (1, 1);", "Key field must be specified: K"),
        ("INSERT INTO s VALUES ('k', 1, NULL);", "Time column `T` must not be null"),
        ("INSERT INTO s VALUES ('k', 1, 999999999999999);", "outside the years"),
        ("INSERT INTO s VALUES ('\x00', 1, 1);", "U+0000 cannot be stored"),
        ("INSERT INTO s (k, ROWTIME) VALUES ('k', 1);", "is its column `T`"),
        ("INSERT INTO s (k, ROWOFFSET) VALUES ('k', 1);", "ROWOFFSET cannot be given"),
    ],
)
def test_what_does_not_fit_is_named_with_its_column(text: str, problem: str) -> None:
    source = stream("k STRING KEY, n INT, t BIGINT", "timestamp='t'")
    message = refused(source, text)
    assert message.startswith("Failed to insert values into `S`. ")
    assert problem in message


def test_rowtime_of_a_stream_without_a_time_says_how_to_declare_one() -> None:
    message = refused(stream("a INT"), "INSERT INTO s (ROWTIME, a) VALUES (1, 2);")
    assert "timestamp='COLUMN'" in message


def test_a_field_that_is_not_there_is_named() -> None:
    message = refused(stream("a STRUCT<b INT>"), "INSERT INTO s VALUES (STRUCT(c := 1));")
    assert "There is no field `C` in STRUCT<`B` INTEGER>" in message
