"""CREATE STREAM → Source: the checks, the properties, the spelling of the datasource."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.definition import (
    datasource_of,
    define_source,
    discovered_source,
    names_of,
    time_column_of,
)
from gateway.seams import ARRIVAL_FIELD, AckLevel, Source, TimeEncoding
from protocol.errors import BadStatement
from protocol.statements import CreateSource, parse_statements
from protocol.types import BIGINT, INTEGER, STRING, Column


def create(text: str) -> CreateSource:
    (statement,) = parse_statements(text)
    assert isinstance(statement, CreateSource)
    return statement


def define(text: str, existing: tuple[Column, ...] | None = None) -> Source:
    return define_source(create(text), existing)


def test_defaults_are_the_streams_name_the_arrival_and_a_day() -> None:
    text = "CREATE STREAM orders (id BIGINT KEY, note STRING);"
    source = define(text)
    assert source.spec.datasource == "ORDERS"
    assert source.spec.time_column == ARRIVAL_FIELD
    assert source.spec.time_encoding is TimeEncoding.MILLIS
    assert source.spec.partitioned_by == "DAY"
    assert source.spec.clustered_by == ()
    assert source.spec.columns == source.columns
    assert source.ack is None
    assert source.declared
    assert source.statement == text
    assert time_column_of(source) is None


def test_every_property_is_echoed_and_ours_take_effect() -> None:
    source = define(
        "CREATE STREAM s (ts BIGINT, a STRING, `b,c` STRING) WITH (kafka_topic='t', "
        "datasource='ds', timestamp='ts', partitioned_by='hour', clustered_by='`b,c`, A', "
        "ack='SPOOLED', value_format='AVRO', partitions=4, whatever='x');"
    )
    assert source.spec.datasource == "ds"
    assert source.spec.time_column == "TS"
    assert source.spec.time_encoding is TimeEncoding.MILLIS
    assert source.spec.partitioned_by == "HOUR"
    assert source.spec.clustered_by == ("b,c", "A")
    assert source.ack is AckLevel.SPOOLED
    assert source.properties["WHATEVER"] == "x"
    assert source.properties["PARTITIONS"] == "4"
    assert datasource_of(create("CREATE STREAM s (a INT) WITH (kafka_topic='t');")) == "t"


@pytest.mark.parametrize(
    ("type_", "encoding"),
    [
        ("BIGINT", TimeEncoding.MILLIS),
        ("TIMESTAMP", TimeEncoding.ISO),
        ("STRING", TimeEncoding.ISO),
    ],
)
def test_the_time_is_millis_or_iso_by_its_type(type_: str, encoding: TimeEncoding) -> None:
    source = define(f"CREATE STREAM s (`at` {type_}) WITH (timestamp='`at`');")
    assert source.spec.time_encoding is encoding
    assert time_column_of(source) == "at"


@pytest.mark.parametrize(
    ("given_text", "meant"),
    [("DAY", "DAY"), ("all  time", "ALL"), ("PT1H", "HOUR"), ("p1d", "DAY"), ("pt15m", "PT15M")],
)
def test_granularities_are_druids_keywords_or_periods(given_text: str, meant: str) -> None:
    source = define(f"CREATE STREAM s (a INT) WITH (partitioned_by='{given_text}');")
    assert source.spec.partitioned_by == meant


def test_columns_are_spelt_as_the_datasource_spells_them() -> None:
    existing = (
        Column("__time", BIGINT),
        Column("_batch", STRING),
        Column("origin", STRING),
        Column("Dest", STRING),
        Column("DEST", STRING),
        Column("Two", STRING),
        Column("tWO", STRING),
    )
    source = define(
        "CREATE STREAM s (Origin STRING KEY, dest STRING, two INT, fresh INT) "
        "WITH (clustered_by='origin,fresh');",
        existing,
    )
    assert [column.name for column in source.columns] == ["ORIGIN", "DEST", "TWO", "FRESH"]
    assert source.spec.columns == (
        Column("origin", STRING, key=True),
        Column("DEST", STRING),
        Column("TWO", INTEGER),
        Column("FRESH", INTEGER),
    )
    assert source.spec.clustered_by == ("origin", "FRESH")


def test_the_time_column_keeps_its_declared_name() -> None:
    text = "CREATE STREAM s (ts BIGINT, a INT) WITH (timestamp='TS');"
    source = define(text, (Column("__time", BIGINT), Column("ts", BIGINT)))
    assert source.spec.time_column == source.spec.columns[0].name == "TS"
    assert names_of(source).time_column == "TS"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("CREATE STREAM s WITH (kafka_topic='t');", "`S` has no columns"),
        ("CREATE STREAM s (a INT, A STRING);", "Column 'A' is declared twice"),
        ("CREATE STREAM s (a INT, `a` STRING);", "'A' and 'a' differ in case only"),
        ("CREATE STREAM s (rowtime BIGINT);", "'ROWTIME' is reserved"),
        ("CREATE STREAM s (`__time` BIGINT);", "'__time' is reserved"),
        ("CREATE STREAM s (_batch STRING);", "'_BATCH' is reserved"),
        ("CREATE STREAM s (`__arrival` STRING);", "'__arrival' is reserved"),
        ("CREATE STREAM s (`__seq` BIGINT);", "'__seq' is reserved"),
        ("CREATE STREAM s (`\x00` INT);", "'\\x00' cannot name a column"),
        (f"CREATE STREAM {'s' * 300} (a INT);", "cannot name a stream"),
        ("CREATE STREAM s (a INT) WITH (datasource='a/b');", "may not begin with '.' or hold '/'"),
        ("CREATE STREAM s (a INT) WITH (datasource='.a');", "may not begin with '.' or hold '/'"),
        ("CREATE STREAM s (a INT) WITH (timestamp='b');", "column 'B', which is not declared"),
        ("CREATE STREAM s (a INT) WITH (timestamp='a');", "it is INTEGER, and has to be BIGINT"),
        ("CREATE STREAM s (a INT) WITH (timestamp='`a');", "Property TIMESTAMP: unbalanced quotes"),
        (
            "CREATE STREAM s (a BIGINT) WITH (timestamp='a', timestamp_format='yyyy');",
            "names a STRING column",
        ),
        ("CREATE STREAM s (a STRING) WITH (timestamp_format='yyyy');", "needs a TIMESTAMP"),
        (
            "CREATE STREAM s (a STRING) WITH (timestamp='a', timestamp_format='yyyy-ww');",
            "'ww' is not supported in timestamp format",
        ),
        (
            "CREATE STREAM s (a STRING) WITH (timestamp='a', timestamp_format='yyyy ''T');",
            "unbalanced quote",
        ),
        ("CREATE STREAM s (a INT) WITH (partitioned_by='fortnight');", "'fortnight', and has to"),
        ("CREATE STREAM s (a INT) WITH (clustered_by='b');", "column 'B', which is not declared"),
        ("CREATE STREAM s (a INT) WITH (clustered_by='a,a');", "names column 'A' twice"),
        ("CREATE STREAM s (a INT) WITH (clustered_by='a,');", "is no list of columns"),
        ("CREATE STREAM s (a INT) WITH (clustered_by='a a');", "is no list of columns"),
        ("CREATE STREAM s (a INT) WITH (clustered_by='a;');", "is no list of columns"),
        (
            "CREATE STREAM s (a BIGINT) WITH (timestamp='a', clustered_by='a');",
            "in the order of their time anyway",
        ),
        ("CREATE STREAM s (a INT) WITH (ack='maybe');", "spooled, committed, queryable"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(BadStatement) as caught:
        define(text)
    assert problem in caught.value.message
    assert caught.value.code == 40001
    assert caught.value.statement == text


def test_a_time_format_is_kept_as_it_was_written() -> None:
    pattern = "yyyy-MM-dd''T''HH:mm:ss.SSSX"
    source = define(
        f"CREATE STREAM s (a STRING) WITH (timestamp='a', timestamp_format='{pattern}');"
    )
    assert source.time_format == "yyyy-MM-dd'T'HH:mm:ss.SSSX"


def test_a_datasource_without_a_time_column_takes_the_arrival() -> None:
    source = discovered_source("d", (Column("a", STRING), Column("__seq", BIGINT)))
    assert source.columns == (Column("a", STRING),)
    assert source.spec.time_column == ARRIVAL_FIELD


NAMES = st.lists(
    st.sampled_from(["a", "A", "b", "B", "ab", "aB", "__time", "_batch", "ts"]), unique=True
)


@given(declared=NAMES, existing=NAMES)
def test_declared_and_stored_columns_go_together(declared: list[str], existing: list[str]) -> None:
    unique = {name.casefold(): name for name in declared if not name.startswith("_")}
    columns = ", ".join(f"`{name}` STRING" for name in unique.values()) or "x INT"
    source = define(f"CREATE STREAM s ({columns});", tuple(Column(n, STRING) for n in existing))
    stored = [column.name for column in source.spec.columns]
    assert [column.type for column in source.columns] == [
        column.type for column in source.spec.columns
    ]
    assert len({name.casefold() for name in stored}) == len(stored)
    for column, name in zip(source.columns, stored, strict=True):
        assert name.casefold() == column.name.casefold()
        assert name == column.name or name in existing
