"""Names and literals: what goes into DuckDB comes back, and nothing of it is read as SQL."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import QueryRefused
from gateway.sql.names import decode, encode, identifier, literal
from gateway.sql.periods import floored, interval, strftime_pattern

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = TEXT.filter(lambda name: name and "\0" not in name)


@given(TEXT)
def test_a_name_comes_back_from_its_encoding(name: str) -> None:
    assert decode(encode(name)) == name


@given(TEXT, TEXT)
def test_two_names_stay_two_where_case_is_ignored(one: str, other: str) -> None:
    assert (encode(one).lower() == encode(other).lower()) == (encode(one) == encode(other))
    assert (encode(one) == encode(other)) == (one == other)


@pytest.mark.parametrize("name", ["Ab", "aB", "AB", "^a", "^^A", "ab"])
def test_names_that_differ_by_case_alone_are_distinct_columns(name: str) -> None:
    with duckdb.connect() as connection:
        others = [other for other in ("ab", "Ab", "aB", "AB", "^a", "^^A") if other != name]
        columns = ", ".join(f"{at} AS {identifier(n)}" for at, n in enumerate([name, *others]))
        row = connection.execute(f"SELECT {identifier(name)} FROM (SELECT {columns})").fetchone()
        assert row == (0,)


def test_any_text_survives_as_a_literal_and_any_name_as_an_identifier() -> None:
    with duckdb.connect() as connection:

        @given(TEXT, NAME)
        def survives(text: str, name: str) -> None:
            cursor = connection.execute(f"SELECT {literal(text)} AS {identifier(name)}")
            assert decode(cursor.description[0][0]) == name
            assert cursor.fetchone() == (text,)

        survives()


@pytest.mark.parametrize("period", ["", "P", "PT", "1D", "P1X", "P-1D", "P0D", "P1D'; DROP"])
def test_text_that_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(QueryRefused):
        interval(period)


@pytest.mark.parametrize(
    ("period", "floor"),
    [
        ("P1Y", "2013-01-01 00:00:00"),
        ("P3M", "2013-04-01 00:00:00"),
        ("P1M", "2013-05-01 00:00:00"),
        ("P1W", "2013-05-13 00:00:00"),
        ("P1D", "2013-05-15 00:00:00"),
        ("PT6H", "2013-05-15 12:00:00"),
        ("PT1H", "2013-05-15 13:00:00"),
        ("PT15M", "2013-05-15 13:45:00"),
        ("PT1S", "2013-05-15 13:47:12"),
    ],
)
def test_times_are_floored_to_periods(period: str, floor: str) -> None:
    with duckdb.connect() as connection:
        text = floored("TIMESTAMP '2013-05-15 13:47:12.5'", period)
        assert connection.execute(f"SELECT CAST({text} AS VARCHAR)").fetchone() == (floor,)


def test_a_floor_to_several_weeks_is_refused() -> None:
    with pytest.raises(QueryRefused, match="P2W"):
        floored("__time", "P2W")


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "%Y-%m-%dT%H:%M:%S.%gZ"),
        ("dd MMM yy 'o''clock' %", "%d %b %y o'clock %%"),
        ("", ""),
    ],
)
def test_time_patterns_are_translated(pattern: str, written: str) -> None:
    assert strftime_pattern(pattern) == written


@pytest.mark.parametrize("pattern", ["yyyy-QQ", "yyyy 'open", "wwww"])
def test_time_patterns_outside_the_table_are_refused(pattern: str) -> None:
    with pytest.raises(QueryRefused):
        strftime_pattern(pattern)
