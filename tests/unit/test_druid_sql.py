"""The SQL for Druid: quoting that no text escapes from, and the insert's shape."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import InsertSpec, TimeEncoding
from gateway.warehouse.druid.sql import (
    Dialect,
    UnspeakableSql,
    count_sql,
    granularity,
    http_source,
    identifier,
    inline_source,
    insert_sql,
    literal,
)
from protocol.types import Column, parse_type

OLD = Dialect.of("27.0.0")
NEW = Dialect.of("31.0.2")

_EVIL = st.sampled_from(
    ["'", '"', "''", '"";', "\\", "\\'", "--", "/*", "U&'", "\n", "é", "😀", "`"]
)
_TEXT = st.lists(
    st.one_of(_EVIL, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    max_size=8,
).map("".join)

_TOKEN = re.compile(r"""U&'(?:[^']|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|[^'"\s]+|\s+""")


def tokens(sql: str) -> list[str]:
    """Lexemes of a statement, as SQL's lexical rules cut them; nothing may be left over."""
    found = _TOKEN.findall(sql)
    assert "".join(found) == sql
    return [token for token in found if not token.isspace()]


def meaning(token: str) -> str:
    """What a quoted lexeme stands for."""
    if token.startswith("U&'"):
        inner = token[3:-1].replace("''", "'")
        units = re.sub(r"\\([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), inner)
        return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
    sign = token[0]
    return token[1:-1].replace(sign + sign, sign)


@given(_TEXT)
def test_a_literal_is_one_lexeme_and_means_its_text(text: str) -> None:
    (token,) = tokens(literal(text))
    assert meaning(token) == text
    assert token.isascii()


@given(_TEXT.filter(bool))
def test_an_identifier_is_one_lexeme_and_means_its_name(name: str) -> None:
    (token,) = tokens(identifier(name))
    assert token.startswith('"')
    assert meaning(token) == name


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x\udfff"])
def test_what_sql_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(UnspeakableSql):
        literal(text)
    with pytest.raises(UnspeakableSql):
        identifier(text)


@pytest.mark.parametrize("name", ["a,b", "a\nb", "a\rb"])
def test_a_column_name_that_breaks_a_segment_is_refused(name: str) -> None:
    spec = InsertSpec(datasource="t", columns=(Column(name, parse_type("STRING")),))
    with pytest.raises(UnspeakableSql):
        insert_sql(spec, "b", "{}", OLD)


def test_an_empty_name_is_refused_and_an_empty_text_is_not() -> None:
    with pytest.raises(UnspeakableSql):
        identifier("")
    assert literal("") == "''"


_STORABLE = _TEXT.map(lambda text: re.sub("[,\n\r]", "", text)).filter(bool)


@given(_TEXT.filter(bool), _TEXT, _STORABLE, _TEXT)
def test_evil_names_and_rows_stay_where_they_are_put(
    datasource: str, batch: str, column: str, data: str
) -> None:
    spec = InsertSpec(datasource=datasource, columns=(Column(column, parse_type("STRING")),))
    found = tokens(insert_sql(spec, batch, inline_source(data), OLD))
    words = [token for token in found if token[0] not in "'\"" and not token.startswith("U&'")]
    quoted = [meaning(token) for token in found if token[0] in "'\"" or token.startswith("U&'")]
    assert " ".join(words) == (
        "INSERT INTO SELECT MILLIS_TO_TIMESTAMP( ) AS , AS , AS FROM TABLE(EXTERN( , , )) "
        "PARTITIONED BY DAY"
    )
    assert quoted[:7] == [datasource, "__arrival", "__time", column, column, batch, "_batch"]
    assert json.loads(quoted[7]) == {"type": "inline", "data": data}


def _parts(sql: str) -> list[Any]:
    """The three JSON arguments of EXTERN."""
    extern = sql[sql.index("EXTERN(") :]
    return [json.loads(meaning(token)) for token in tokens(extern) if token[0] == "'"][:3]


def _one(type_text: str, dialect: Dialect) -> tuple[str, str]:
    """How a column of this type is read and what is stored of it."""
    spec = InsertSpec(datasource="t", columns=(Column("c", parse_type(type_text)),))
    sql = insert_sql(spec, "b", http_source("http://gateway/batches/x"), dialect)
    (expression,) = re.findall(r'AS "__time", (.*) AS "c", \'b\' AS "_batch"', sql)
    return _parts(sql)[2][1]["type"], expression


@pytest.mark.parametrize(
    ("type_text", "old", "new"),
    [
        ("STRING", "string", "string"),
        ("INTEGER", "long", "long"),
        ("BIGINT", "long", "long"),
        ("DOUBLE", "double", "double"),
        ("DECIMAL(15, 2)", "double", "double"),
        ("DECIMAL(16, 2)", "string", "string"),
        ("DATE", "string", "string"),
        ("TIME", "string", "string"),
        ("BYTES", "string", "string"),
        ("ARRAY<STRING>", "ARRAY<STRING>", "ARRAY<STRING>"),
        ("ARRAY<BIGINT>", "COMPLEX<json>", "ARRAY<LONG>"),
        ("ARRAY<DOUBLE>", "COMPLEX<json>", "ARRAY<DOUBLE>"),
        ("ARRAY<BOOLEAN>", "COMPLEX<json>", "COMPLEX<json>"),
        ("ARRAY<ARRAY<STRING>>", "COMPLEX<json>", "COMPLEX<json>"),
        ("MAP<STRING, BIGINT>", "COMPLEX<json>", "COMPLEX<json>"),
        ("STRUCT<A BIGINT>", "COMPLEX<json>", "COMPLEX<json>"),
    ],
)
def test_a_type_is_read_as_the_version_can_store_it(type_text: str, old: str, new: str) -> None:
    assert _one(type_text, OLD) == (old, '"c"')
    assert _one(type_text, NEW) == (new, '"c"')


def test_a_boolean_is_read_as_text_and_stored_as_a_number() -> None:
    cases = "CASE \"c\" WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
    assert _one("BOOLEAN", OLD) == ("string", cases)


def test_a_timestamp_is_stored_as_milliseconds_however_it_is_written() -> None:
    read, stored = _one("TIMESTAMP", OLD)
    assert read == "string"
    assert 'TIMESTAMP_TO_MILLIS(TIME_PARSE("c"))' in stored
    assert 'CAST("c" AS BIGINT)' in stored


def _timed(column: str, encoding: TimeEncoding) -> str:
    spec = InsertSpec(
        datasource="t",
        columns=(Column(column, parse_type("TIMESTAMP")), Column("k", parse_type("STRING"))),
        time_column=column,
        time_encoding=encoding,
    )
    return insert_sql(spec, "b", inline_source(""), NEW)


def test_the_time_column_becomes_the_time_and_is_not_stored_twice() -> None:
    sql = _timed("at", TimeEncoding.MILLIS)
    assert 'SELECT MILLIS_TO_TIMESTAMP("at") AS "__time", "k" AS "k"' in sql
    assert [field["type"] for field in _parts(sql)[2]] == ["long", "string"]
    sql = _timed("at", TimeEncoding.ISO)
    assert 'SELECT TIME_PARSE("at") AS "__time", "k" AS "k"' in sql
    assert [field["type"] for field in _parts(sql)[2]] == ["string", "string"]


@pytest.mark.parametrize(
    ("encoding", "read", "function"),
    [
        (TimeEncoding.ISO, "string", "TIME_PARSE"),
        (TimeEncoding.MILLIS, "long", "MILLIS_TO_TIMESTAMP"),
    ],
)
def test_a_time_named_like_druids_own_is_read_under_another_name(
    encoding: TimeEncoding, read: str, function: str
) -> None:
    sql = _timed("__time", encoding)
    _, format_, signature = _parts(sql)
    assert f'{function}("__given_time") AS "__time"' in sql
    assert signature[0] == {"name": "__given_time", "type": read}
    assert format_["flattenSpec"]["fields"] == [
        {"type": "root", "name": "__given_time", "expr": "__time"}
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("hour", "HOUR"),
        ("ALL", "ALL"),
        (" all  time ", "ALL TIME"),
        ("PT1H", "TIME_FLOOR(\"__time\", 'PT1H')"),
        ("'P1W'", "TIME_FLOOR(\"__time\", 'P1W')"),
    ],
)
def test_a_granularity_is_one_of_druids_words(text: str, written: str) -> None:
    assert granularity(text) == written


@given(st.text().filter(lambda t: not re.fullmatch(r"[A-Za-z0-9' \t\n]*", t)))
def test_no_other_text_gets_behind_partitioned_by(text: str) -> None:
    with pytest.raises(UnspeakableSql):
        granularity(text)


def test_clustering_names_are_quoted_in_their_order() -> None:
    spec = InsertSpec(datasource="t", columns=(), clustered_by=("b", 'a"'))
    assert insert_sql(spec, "x", "{}", OLD).endswith('CLUSTERED BY "b", "a"""')


def test_a_count_asks_for_one_batch() -> None:
    assert count_sql("t", "o'b") == ('SELECT COUNT(*) AS "n" FROM "t" WHERE "_batch" = \'o\'\'b\'')


@pytest.mark.parametrize(
    ("version", "mode"),
    [("26.0.0", "mvd"), ("27.0.0", "mvd"), ("28.0.1", "array"), ("36.0.0-SNAPSHOT", "array"),
     ("none", "array")],
)  # fmt: skip
def test_the_array_mode_is_always_said(version: str, mode: str) -> None:
    assert Dialect.of(version).array_ingest_mode == mode
