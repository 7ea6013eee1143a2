"""Type text and names both ways, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    MAX_TYPE_DEPTH,
    STRING,
    TIME,
    TIMESTAMP,
    Base,
    Column,
    NameTextError,
    SqlType,
    TypeTextError,
    array_of,
    fold,
    map_of,
    parse_type,
    quote,
    schema_text,
)

PLAIN = [STRING, INTEGER, BIGINT, DOUBLE, BOOLEAN, BYTES, TIMESTAMP, DATE, TIME]
names = st.text(min_size=1, max_size=6)


@st.composite
def decimals(draw: st.DrawFn) -> SqlType:
    precision = draw(st.integers(1, 38))
    return SqlType(Base.DECIMAL, precision=precision, scale=draw(st.integers(0, precision)))


def structs(inner: st.SearchStrategy[SqlType]) -> st.SearchStrategy[SqlType]:
    fields = st.lists(st.builds(Column, names, inner), max_size=3, unique_by=lambda f: f.name)
    return fields.map(lambda found: SqlType(Base.STRUCT, fields=tuple(found)))


types = st.recursive(
    st.one_of(st.sampled_from(PLAIN), decimals()),
    lambda inner: st.one_of(inner.map(array_of), inner.map(map_of), structs(inner)),
    max_leaves=6,
)


@settings(deadline=None)
@given(types)
def test_the_text_of_a_type_reads_back_as_the_type(kind: SqlType) -> None:
    assert parse_type(str(kind)) == kind


@settings(deadline=None)
@given(names)
def test_a_quoted_name_reads_back_as_the_name(name: str) -> None:
    assert fold(quote(name)) == name


def test_the_keywords_are_ksqldb_s_thirteen() -> None:
    assert set(Base) == {
        "STRING", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "DECIMAL", "BYTES", "TIMESTAMP",
        "DATE", "TIME", "ARRAY", "MAP", "STRUCT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("string", STRING),
        (" VarChar ", STRING),
        ("VARCHAR(255)", STRING),
        ("int", INTEGER),
        ("BigInt", BIGINT),
        ("DECIMAL(4)", SqlType(Base.DECIMAL, precision=4)),
        ("dec(4,2)", SqlType(Base.DECIMAL, precision=4, scale=2)),
        ("ARRAY < INT >", array_of(INTEGER)),
        ("map<string,array<double>>", map_of(array_of(DOUBLE))),
        ("STRUCT<>", SqlType(Base.STRUCT)),
        (
            'struct<a INT, `b c` STRING, "d""e" DATE>',
            SqlType(
                Base.STRUCT,
                fields=(Column("A", INTEGER), Column("b c", STRING), Column('d"e', DATE)),
            ),
        ),
        ("STRUCT<INTEGER INTEGER>", SqlType(Base.STRUCT, fields=(Column("INTEGER", INTEGER),))),
    ],
)
def test_type_text_is_read_as_ksqldb_reads_it(text: str, kind: SqlType) -> None:
    assert parse_type(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "LONG", "FLOAT", "`STRING`", "STRING STRING", "STRING,", ">", "ARRAY", "ARRAY<>",
        "ARRAY<INT", "ARRAY<INT>>", "ARRAY(INT)", "DECIMAL", "DECIMAL(0)", "DECIMAL(2,3)",
        "DECIMAL(-1)", "DECIMAL(1", "DECIMAL(4,2", "DECIMAL(٤)", "DECIMAL(999999)", "VARCHAR(x)",
        "MAP<STRING>", "MAP<INT, STRING>", "MAP<STRING STRING>", "STRUCT", "STRUCT<INT>",
        "STRUCT<a INT b INT>", "STRUCT<a INT,>", "STRUCT<`a INT>", "STRUCT<`` INT>",
        "STRUCT<a`b INT>", "STRUCT<< INT>", "STRUCT<, INT>", "STRUCT<( INT>", 'STRUCT<"a"b INT>',
        "INT(3)", "BOOLEAN<STRING>",
    ],
)  # fmt: skip
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(TypeTextError):
        parse_type(text)


def test_a_struct_with_two_fields_of_one_name_is_refused() -> None:
    with pytest.raises(TypeTextError):
        parse_type("STRUCT<a INT, A INT>")


def test_nesting_has_a_limit_that_spares_the_stack() -> None:
    deep = "ARRAY<" * MAX_TYPE_DEPTH + "INT" + ">" * MAX_TYPE_DEPTH
    assert str(parse_type(deep)).startswith("ARRAY<ARRAY<")
    for depth in (MAX_TYPE_DEPTH + 1, 100_000):
        with pytest.raises(TypeTextError, match="nested deeper"):
            parse_type("ARRAY<" * depth)


words = st.sampled_from(
    ["STRUCT", "ARRAY", "MAP", "DECIMAL", "INT", "STRING", "VARCHAR", "<", ">", "(", ")", ",",
     "`", '"', "``", "a", "`b`", '"c"', "7", " "],
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(max_size=20), st.lists(words, max_size=14).map(" ".join)))
def test_any_text_is_a_type_or_is_refused_as_one(text: str) -> None:
    try:
        kind = parse_type(text)
    except TypeTextError:
        return
    assert parse_type(str(kind)) == kind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("abc", "ABC"),
        ("ABC", "ABC"),
        ("`abc`", "abc"),
        ('"abc"', "abc"),
        ("`a``b`", "a`b"),
        ('"a""b"', 'a"b'),
        ('`a"b`', 'a"b'),
        ("````", "`"),
        ("", ""),
    ],
)
def test_names_fold_as_in_ksqldb(text: str, name: str) -> None:
    assert fold(text) == name


@pytest.mark.parametrize(
    "text", ["`", "``", '"', '""', "`a", "a`", "a`b", "`a`b`", "`a``", "```", '`a"', '"a"b"']
)
def test_quotes_that_do_not_balance_are_refused(text: str) -> None:
    with pytest.raises(NameTextError):
        fold(text)


def test_a_schema_is_written_as_in_a_v1_json_header() -> None:
    columns = (Column("A", INTEGER, key=True), Column("b`c", DOUBLE), Column("C", array_of(STRING)))
    assert schema_text(columns) == "`A` INTEGER KEY, `b``c` DOUBLE, `C` ARRAY<STRING>"
