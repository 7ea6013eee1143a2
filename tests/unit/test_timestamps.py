"""Timestamp, date and time text: what ksqlDB's clients write, and one canonical form of it."""

import contextlib
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.timestamps import (
    MILLIS_MAX,
    MILLIS_MIN,
    PatternError,
    compile_pattern,
    parse_date,
    parse_time,
    parse_timestamp,
    to_iso,
    to_millis,
)

UTC = datetime.UTC
MOMENT = 1357034400123
"""2013-01-01T10:00:00.123Z"""


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01 00:00:01.5", 1500),
        ("1970-01-01T00:00:01,5", 1500),
        ("1970-01-01T00:00:00.1239999", 123),
        ("1970-01-01T01:00:01.5+0100", 1500),
        ("1970-01-01T01:30:00+01:30", 0),
        ("1970-01-01T00:00:00-01", 3_600_000),
        ("1970-01-01T23:59", 86_340_000),
        ("1970-1-2T3", 97_200_000),
        ("2013-01-01T10:00:00.123Z", MOMENT),
        ("2013-01-01T10:00:00.123 +0000", MOMENT),
        ("2013", 1356998400000),
        ("2013-05", 1367366400000),
        ("2013-05-26", 1369526400000),
        ("2013-05-26Z", 1369526400000),
        ("0001-01-01T00:00:00Z", MILLIS_MIN),
        ("9999-12-31T23:59:59.999Z", MILLIS_MAX),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2012-02-29", 1330473600000),
    ],
)
def test_timestamps_are_read_as_ksqldb_reads_them(text: str, millis: int) -> None:
    assert parse_timestamp(text) == millis


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "13", "0000", "2013-13", "2013-00", "2013-02-30", "2013-02-29", "2013-01-01T24:00",
        "2013-01-01T10:60", "2013-01-01T10:00:60", "2013-01-01T", "T10:00", "2013-01-01T10:00:00.",
        "2013-01-01T10:00:00.1234567890", "2013-01-01T10:00:00+99:99", "2013-01-01T10:00:00z",
        "2013-01-01T10:00:00 UTC", "2013-01-01T10:00:00Z\n", "+2013-01-01", "2013-01-01x",
        "1357034400123",
    ],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a timestamp: '"):
        parse_timestamp(text)


@settings(deadline=None)
@given(st.integers(MILLIS_MIN, MILLIS_MAX))
def test_a_moment_s_iso_text_reads_back_as_the_moment(millis: int) -> None:
    text = to_iso(millis)
    assert len(text) == 24
    assert parse_timestamp(text) == millis


@settings(deadline=None)
@given(
    st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1)),  # noqa: DTZ001
    st.integers(-23 * 60, 23 * 60),
)
def test_a_zone_shifts_a_moment_and_what_is_below_a_millisecond_is_cut(
    naive: datetime.datetime, minutes: int
) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    moment = naive.replace(tzinfo=zone)
    cut = moment.replace(microsecond=naive.microsecond // 1000 * 1000)
    assert to_millis(moment) == to_millis(cut) == parse_timestamp(moment.isoformat())
    assert to_millis(moment) == to_millis(moment.astimezone(UTC))


@pytest.mark.parametrize(
    ("text", "iso"),
    [("2020", "2020-01-01"), ("2020-05", "2020-05-01"), ("2020-5-6", "2020-05-06")],
)
def test_dates_are_filled_up(text: str, iso: str) -> None:
    assert parse_date(text) == iso


@pytest.mark.parametrize("text", ["", "20", "2013-02-30", "2020-01-01T00", "2020-01-01Z", "0000"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a date: '"):
        parse_date(text)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("01:34", "01:34:00"),
        ("1:2:3", "01:02:03"),
        ("01:34:20.123", "01:34:20.123"),
        ("01:34:20.1", "01:34:20.100"),
        ("01:34:20.1239", "01:34:20.123"),
        ("01:34:20.000", "01:34:20"),
    ],
)
def test_times_of_day_are_filled_up(text: str, iso: str) -> None:
    assert parse_time(text) == iso


@pytest.mark.parametrize("text", ["", "01", "24:00", "01:60", "01:00:60", "01:00Z", "T01:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time of day: '"):
        parse_time(text)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="0123456789-:.,TZ +x٣", max_size=30))
def test_any_text_is_read_or_refused_with_a_value_error(text: str) -> None:
    for read in (parse_timestamp, parse_date, parse_time):
        with contextlib.suppress(ValueError):
            assert read(text) is not None


@pytest.mark.parametrize(
    ("pattern", "text", "millis"),
    [
        ("yyyy-MM-dd HH:mm:ss", "2013-01-01 10:00:00", 1357034400000),
        ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2013-01-01T10:00:00.123", MOMENT),
        ("uuuuMMddHHmmss", "20130101100000", 1357034400000),
        ("dd/MM/yyyy", "01/01/2013", 1356998400000),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2013-01-01T10:00:00Z", 1357034400000),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2013-01-01T11:00:00+01", 1357034400000),
        ("yyyy-MM-dd'T'HH:mm:ssXX", "2013-01-01T11:30:00+0130", 1357034400000),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2013-01-01T11:30:00+01:30", 1357034400000),
        ("yyyy-MM-dd'T'HH:mm:ssZ", "2013-01-01T09:00:00-0100", 1357034400000),
        ("yyyy 'o''clock' HH ''''", "2013 o'clock 10 '", 1357034400000),
        ("100%yyyy'%d'", "100%2013%d", 1356998400000),
    ],
)
def test_patterns_read_what_java_writes_by_them(pattern: str, text: str, millis: int) -> None:
    assert compile_pattern(pattern)(text) == millis


@pytest.mark.parametrize(
    "pattern", ["yy", "YYYY-MM-dd", "hh:mm a", "yyyy-MMM-dd", "EEE", "SSSSSS", "VV", "yyyy'T", "'"]
)
def test_a_pattern_outside_the_subset_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", ["yyyy yyyy", "yyyy uuuu", "HH:HH", "yyyy X Z"])
def test_a_pattern_that_asks_for_one_thing_twice_is_refused_when_it_is_declared(
    pattern: str,
) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@pytest.mark.parametrize("text", ["", "2013", "2013-02-30", "2013-01-01x", "x", "20130101"])
def test_text_that_does_not_fit_its_pattern_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        compile_pattern("yyyy-MM-dd")(text)


pieces = st.sampled_from(
    ["yyyy", "uuuu", "MM", "dd", "HH", "mm", "ss", "SSS", "X", "XX", "XXX", "Z", "-", ":", " ",
     ".", "%", "''", "'T'", "'", "q", "(", "[", "\\"],
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.lists(pieces, max_size=6).map("".join), st.text(max_size=12))
def test_any_pattern_is_refused_or_gives_a_reader_that_refuses(pattern: str, text: str) -> None:
    try:
        read = compile_pattern(pattern)
    except PatternError:
        return
    with contextlib.suppress(ValueError, OverflowError):
        assert isinstance(read(text), int)
