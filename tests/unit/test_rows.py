"""Rows: what is accepted, in which words the rest is refused; the fast path is no dialect."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.rows import Checked, Field, RowChecker, RowSchema
from protocol.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Column,
    SqlType,
    array_of,
    map_of,
    parse_type,
)

LIMIT = 1000
NOW = 1_700_000_000_000


def schema(*columns: Column, time: str | None = None, stamp: str | None = None) -> RowSchema:
    fields = tuple(
        Field(column=column, stored_as=column.name, is_time=column.name == time)
        for column in columns
    )
    return RowSchema(fields=fields, stamp_as=stamp)


def check(kind: SqlType, text: str) -> Checked:
    """One row ``{"C": text}`` of a schema with one column."""
    checker = RowChecker(schema(Column("C", kind)), row_limit_bytes=LIMIT)
    return checker.check(b'{"C":' + text.encode() + b"}\n", NOW)


def refusal(kind: SqlType, text: str) -> str:
    checked = check(kind, text)
    assert checked.count == 0
    assert checked.rejected is not None
    return checked.rejected.message


DECIMAL_4_2 = parse_type("DECIMAL(4,2)")
DECIMAL_20_3 = parse_type("DECIMAL(20,3)")
POINT = parse_type("STRUCT<X INTEGER, Y ARRAY<STRING>>")


@pytest.mark.parametrize(
    ("kind", "text", "stored"),
    [
        (BOOLEAN, "true", "true"),
        (INTEGER, "-2147483648", "-2147483648"),
        (BIGINT, "9223372036854775807", "9223372036854775807"),
        (DOUBLE, "1", "1"),
        (DOUBLE, "1.5e3", "1.5e3"),
        (STRING, '"a\\nb"', '"a\\nb"'),
        (STRING, "null", "null"),
        (DATE, '"2020-05-26"', '"2020-05-26"'),
        (DATE, '"2020-05"', '"2020-05-01"'),
        (TIME, '"01:34"', '"01:34:00"'),
        (TIMESTAMP, '"1970-01-01T00:00:01Z"', "1000"),
        (TIMESTAMP, '"1970-01-01T01:00:01.5+0100"', "1500"),
        (BYTES, '"AP_-"', '"AP/+"'),
        (BYTES, '"AQI"', '"AQI="'),
        (DECIMAL_4_2, '"1.505"', "1.51"),
        (DECIMAL_4_2, "7", "7.0"),
        (DECIMAL_20_3, '"12345678901234567.8905"', '"12345678901234567.891"'),
        (array_of(BIGINT), "[1,null,3]", "[1,null,3]"),
        (map_of(STRING), '{"k":"v","K":null}', '{"k":"v","K":null}'),
        (POINT, '{"x":1,"z":2}', '{"X":1,"Y":null}'),
    ],
)
def test_values_that_fit_are_stored(kind: SqlType, text: str, stored: str) -> None:
    checked = check(kind, text)
    assert checked.rejected is None
    assert orjson.loads(checked.raw) == {"C": orjson.loads(stored)}


JAVA = "Can't coerce a field of type class "


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (BOOLEAN, '"true"', JAVA + "java.lang.String into type BOOLEAN"),
        (BOOLEAN, "1", JAVA + "java.lang.Integer into type BOOLEAN"),
        (INTEGER, "2147483648", JAVA + "java.lang.Long into type INTEGER"),
        (INTEGER, "1.0", JAVA + "java.lang.Double into type INTEGER"),
        (BIGINT, '"1"', JAVA + "java.lang.String into type BIGINT"),
        (BIGINT, "1.0", JAVA + "java.lang.Double into type BIGINT"),
        (BIGINT, "9223372036854775808", "Integer of more than 64 bits"),
        (DOUBLE, '"1"', JAVA + "java.lang.String into type DOUBLE"),
        (STRING, "1", JAVA + "java.lang.Integer into type STRING"),
        (STRING, "{}", JAVA + "io.vertx.core.json.JsonObject into type STRING"),
        (STRING, "[]", JAVA + "io.vertx.core.json.JsonArray into type STRING"),
        (STRING, '"a\\u0000b"', "U+0000 cannot be stored"),
        (map_of(STRING), '{"a":"\\u0000"}', "U+0000 cannot be stored"),
        (TIMESTAMP, "1", JAVA + "java.lang.Integer into type TIMESTAMP"),
        (TIMESTAMP, '"2013-02-30"', "not a timestamp: '2013-02-30'"),
        (DATE, '"2013-02-30"', "not a date"),
        (BYTES, '"?"', "'?' is not base64"),
        (DECIMAL_4_2, "1234", JAVA + "java.lang.Integer into type DECIMAL(4, 2)"),
        (DECIMAL_4_2, "true", JAVA + "java.lang.Boolean into type DECIMAL(4, 2)"),
        (DECIMAL_4_2, '"x"', "'x' is not a DECIMAL(4, 2)"),
        (array_of(BIGINT), '["1"]', JAVA + "java.lang.String into type BIGINT"),
        (POINT, '"x"', JAVA + "java.lang.String into type STRUCT<`X` INTEGER, `Y` ARRAY<STRING>>"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_ksqldb_s_words(
    kind: SqlType, text: str, message: str
) -> None:
    found = refusal(kind, text)
    assert found.startswith(message)
    assert "`C`" in found


@pytest.mark.parametrize(
    "line",
    [b"", b"   ", b"null", b"[]", b"1", b'"x"', b"{", b'{"C":1}x', b'{"C":01}', b'{"C":"\xff"}',
     b'{"C":NaN}', b'{"C":1}{"C":2}', b'{"C":1} {"C":2}', b"[" * 5000],
)  # fmt: skip
def test_what_is_not_one_object_to_a_line_is_invalid_json(line: bytes) -> None:
    checker = RowChecker(schema(Column("C", BIGINT)), row_limit_bytes=10_000)
    checked = checker.check(b'{"C":7}\n' + line + b"\n", NOW)
    assert (checked.raw, checked.count) == (b'{"C":7}\n', 1)
    assert checked.rejected is not None
    assert checked.rejected.message == "Invalid JSON in inserts stream"


def test_a_row_cut_in_two_beside_a_glued_pair_does_not_pass_by_its_count() -> None:
    checker = RowChecker(schema(Column("M", map_of(STRING))), row_limit_bytes=LIMIT)
    for block in (b'{"M":{}}{"M":{}}\n\n', b'{"M":\n{}}{"M":{}}\n', b'\n{"M":{}} {"M":{}}\n'):
        checked = checker.check(block, NOW)
        assert checked.rejected is not None
        assert checked.count <= 1


def test_names_fold_as_in_ksqldb() -> None:
    checker = RowChecker(schema(Column("A", BIGINT), Column("b", BIGINT)), row_limit_bytes=LIMIT)
    row = b'{"a":1,"`b`":2,"\\"zzz\\"":3,"unknown":4}\n'
    assert orjson.loads(checker.check(row, NOW).raw) == {"A": 1, "b": 2}


def test_two_names_that_fold_to_one_are_refused() -> None:
    checker = RowChecker(schema(Column("A", BIGINT)), row_limit_bytes=LIMIT)
    rejected = checker.check(b'{"a":1,"A":2}\n', NOW).rejected
    assert rejected is not None
    assert rejected.message == "Found duplicate column / struct field name: A"


def test_a_broken_quote_in_a_name_is_refused() -> None:
    checker = RowChecker(schema(Column("A", BIGINT)), row_limit_bytes=LIMIT)
    rejected = checker.check(b'{"`A":1}\n', NOW).rejected
    assert rejected is not None
    assert rejected.message.startswith("Invalid column / struct field name. Name: `A. Reason: ")


def test_names_of_a_discovered_datasource_match_in_any_case() -> None:
    fields = (Field(column=Column("depTime", BIGINT), stored_as="depTime"),)
    checker = RowChecker(RowSchema(fields=fields, folds=False), row_limit_bytes=LIMIT)
    assert checker.check(b'{"DEPTIME":1}\n', NOW).raw == b'{"depTime":1}\n'


def test_a_missing_key_column_is_named() -> None:
    checker = RowChecker(schema(Column("K", STRING, key=True)), row_limit_bytes=LIMIT)
    for row in (b"{}\n", b'{"K":null}\n'):
        rejected = checker.check(row, NOW).rejected
        assert rejected is not None
        assert rejected.message == "Key field must be specified: K"


@pytest.mark.parametrize("kind", [BIGINT, TIMESTAMP, STRING])
def test_a_row_without_a_time_is_refused(kind: SqlType) -> None:
    checker = RowChecker(schema(Column("T", kind), time="T"), row_limit_bytes=LIMIT)
    for row in (b"{}\n", b'{"T":null}\n'):
        rejected = checker.check(row, NOW).rejected
        assert rejected is not None
        assert rejected.message.startswith("Time column `T` must not be null")


@pytest.mark.parametrize(
    ("kind", "text", "stored"),
    [
        (BIGINT, "1000", 1000),
        (TIMESTAMP, '"2013-01-01T10:00:00Z"', "2013-01-01T10:00:00Z"),
        (TIMESTAMP, '"2013-01-01T10:00"', "2013-01-01T10:00:00.000Z"),
        (STRING, '"2013-01-01T10:00:00+05:30"', "2013-01-01T10:00:00+05:30"),
        (STRING, '"2013-01"', "2013-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_in_its_canonical_form(
    kind: SqlType, text: str, stored: int | str
) -> None:
    checker = RowChecker(schema(Column("T", kind), time="T"), row_limit_bytes=LIMIT)
    checked = checker.check(b'{"T":%s}\n' % text.encode(), NOW)
    assert orjson.loads(checked.raw) == {"T": stored}


@pytest.mark.parametrize("row", [b'{"A":1}', b'{ "A":1}', b'{"a":1}', b"{}"])
def test_a_row_without_a_time_column_is_stamped_with_its_arrival(row: bytes) -> None:
    checker = RowChecker(schema(Column("A", BIGINT), stamp="__t"), row_limit_bytes=LIMIT)
    stored = orjson.loads(checker.check(row + b"\n", NOW).raw)
    assert stored["__t"] == NOW
    assert stored.get("A") == (None if row == b"{}" else 1)


def test_a_row_over_the_limit_is_refused_and_the_one_before_it_kept() -> None:
    checker = RowChecker(schema(Column("S", STRING)), row_limit_bytes=50)
    checked = checker.check(b'{"S":"x"}\n{"S":"' + b"y" * 60 + b'"}\n', NOW)
    assert checked.count == 1
    assert checked.rejected is not None
    assert checked.rejected.message.startswith("Row is larger than the limit of 50 bytes")


def test_rows_spelt_as_the_catalogue_spells_them_pass_as_the_bytes_they_are() -> None:
    checker = RowChecker(
        schema(Column("A", BIGINT), Column("S", STRING), Column("D", DOUBLE)), row_limit_bytes=LIMIT
    )
    block = b'{"A":1,"S":"\xc3\xa9\\u00e9","D":1e5}\n{ "S" : null }\n{"D":1,"A":2}\n'
    assert checker.check(block, NOW) == Checked(block, 3)


EVERY = schema(
    Column("K", STRING, key=True),
    Column("I", INTEGER),
    Column("L", BIGINT),
    Column("D", DOUBLE),
    Column("S", STRING),
    Column("B", BOOLEAN),
    Column("A", array_of(STRING)),
    Column("M", map_of(BIGINT)),
    Column("T", TIMESTAMP),
    time="T",
)

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["2013-01-01T10:00:00Z", "2013-01-01 10:00:00", "2013", "\x00"]),
    st.lists(st.one_of(st.none(), st.text(max_size=2), st.integers()), max_size=2),
    st.dictionaries(st.text(max_size=2), st.one_of(st.none(), st.integers()), max_size=2),
)
rows = st.dictionaries(st.sampled_from([*"KILDSBAMTkilt", "X", "`K`"]), values, max_size=9)


@given(st.lists(rows, min_size=1, max_size=4))
def test_the_fast_path_accepts_nothing_that_the_slow_path_refuses(
    drawn: list[dict[str, Any]],
) -> None:
    block = "".join(json.dumps(row) + "\n" for row in drawn).encode()
    checker = RowChecker(EVERY, row_limit_bytes=LIMIT)
    fast = checker._fast(block, NOW)
    slow = next(checker._slow(block, NOW))
    if fast is None:
        return
    assert slow.rejected is None
    assert fast.count == slow.count == len(drawn)
    for quick, exact in zip(fast.raw.splitlines(), slow.raw.splitlines(), strict=True):
        one, other = orjson.loads(quick), orjson.loads(exact)
        assert {name for name, value in one.items() if value is not None} == {
            name for name, value in other.items() if value is not None
        }
        for name in set(one) - {"T"}:
            assert one[name] == other.get(name)


@st.composite
def mixed_lines(draw: st.DrawFn) -> list[bytes]:
    """Good and bad rows, more than a piece of them."""
    kinds = st.sampled_from([b'{"C":%d}', b'{ "c" : %d }', b'{"C":"%d"}', b"", b"{", b"x" * 70])
    runs = draw(st.lists(st.tuples(kinds, st.integers(1, 400)), min_size=1, max_size=8))
    return [kind % seq if b"%" in kind else kind for kind, count in runs for seq in range(count)]


@given(mixed_lines())
def test_all_rows_of_a_block_get_the_verdict_that_they_get_alone(lines: list[bytes]) -> None:
    checker = RowChecker(schema(Column("C", BIGINT)), row_limit_bytes=60)
    block = b"".join(line + b"\n" for line in lines)
    found: list[tuple[int | None, str | None, bytes]] = []
    segments = list(checker.check_all(block, NOW))
    for checked in segments:
        stored = checked.raw.splitlines()
        assert len(stored) == checked.count
        found += [(orjson.loads(line)["C"], None, b"") for line in stored]
        if checked.rejected is not None:
            found.append((None, checked.rejected.message, checked.refused))
    assert all(checked.rejected is not None for checked in segments[:-1])
    alone: list[tuple[int | None, str | None, bytes]] = []
    for line in lines:
        checked = checker.check(line + b"\n", NOW)
        if checked.rejected is None:
            alone.append((orjson.loads(checked.raw)["C"], None, b""))
        else:
            alone.append((None, checked.rejected.message, line[:60]))
    assert found == alone


def test_what_is_not_taken_of_a_block_is_not_checked() -> None:
    checker = RowChecker(schema(Column("C", BIGINT)), row_limit_bytes=LIMIT)
    looked_at: list[bytes] = []
    row = checker._row

    def counted(line: bytes, arrival_ms: int) -> bytes:
        looked_at.append(line)
        return row(line, arrival_ms)

    checker._row = counted  # type: ignore[method-assign]
    segments = checker.check_all(b"x\n" * 10_000, NOW)
    assert [next(segments).count for _ in range(3)] == [0, 0, 0]
    assert len(looked_at) == 3


def test_a_refusal_keeps_no_frames_alive() -> None:
    checker = RowChecker(schema(Column("C", BIGINT)), row_limit_bytes=LIMIT)
    (checked,) = checker.check_all(b'{"C":"x"}\n', NOW)
    assert checked.rejected is not None
    assert checked.rejected.__traceback__ is None
    assert checked.rejected.__context__ is None


def test_rows_far_from_a_bad_one_stay_the_bytes_that_were_sent() -> None:
    """Where the slow path had them all, they would be written anew, without the spaces."""
    checker = RowChecker(schema(Column("C", BIGINT)), row_limit_bytes=100_000)
    before, after = b'{ "C" : 1 }\n' * 1000, b'{ "C" : 2 }\n' * 1000
    first, last = checker.check_all(before + b"x\n" + after, NOW)
    assert (first.count, last.count, first.refused) == (1000, 1000, b"x")
    assert first.raw.startswith(before[:4000])
    assert last.raw.endswith(after[-4000:])


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4))
def test_any_bytes_are_rows_or_a_refusal(lines: list[bytes]) -> None:
    block = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    checked = RowChecker(EVERY, row_limit_bytes=LIMIT).check(block, NOW)
    assert checked.count == len(lines) or checked.rejected is not None
