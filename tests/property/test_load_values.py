"""CSV text as values: nothing is bent, and the company that a text is in changes nothing."""

import math
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.commands.load.values import converter
from protocol.types import Base, SqlType

LONG = SqlType(Base.BIGINT)
DOUBLE = SqlType(Base.DOUBLE)
BOOLEAN = SqlType(Base.BOOLEAN)
STRING = SqlType(Base.STRING)
ARRAY = SqlType(Base.ARRAY, element=STRING)
KINDS = [LONG, SqlType(Base.INTEGER), DOUBLE, BOOLEAN, STRING, ARRAY, SqlType(Base.DECIMAL)]

ARABIC_ONE = "\u0661"
ODD_NUMBERS = ["1", "-1", "+7", "1_0", "1e5", "1e999", "0x1", "nan", "inf", "-0", "007", "1.", ".5"]
LARGE = ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "9" * 20]
WORDS = ["", " ", "true", "TRUE", "False", "yes", "null", "NULL", "[]", '["a"]', "{}"]
odd = st.sampled_from([*ODD_NUMBERS, *LARGE, *WORDS, "1\n2", "1\n", ARABIC_ONE, "½", "1 "])
texts = odd | st.integers().map(str) | st.floats().map(repr) | st.text(max_size=4)
nulls = st.sampled_from([None, "", "NULL", "1"])


@given(st.sampled_from(KINDS), nulls, st.lists(texts, min_size=1, max_size=6))
@example(LONG, None, ["1\n2", "3"])
@example(LONG, "1", ["1", "1_0"])
@example(LONG, "1", ["1", "2"])
@example(DOUBLE, None, ["1.7e308", "1.7e308"])
def test_a_text_is_read_as_it_is_alone_whatever_stands_beside_it(
    kind: SqlType, null: str | None, column: Sequence[str]
) -> None:
    convert = converter(kind, null)
    alone = [convert((text,))[0] for text in column]
    together = list(convert(column))
    assert [typed(value) for value in together] == [typed(value) for value in alone]


def typed(value: Any) -> tuple[type, str]:
    return type(value), repr(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_whole_number_of_64_bits_keeps_every_digit(number: int) -> None:
    assert converter(LONG, None)([str(number)]) == [number]


@given(st.integers(2**63) | st.integers(max_value=-(2**63) - 1))
def test_a_larger_one_stays_the_text_that_it_is(number: int) -> None:
    assert converter(LONG, None)([str(number)]) == [str(number)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back(number: float) -> None:
    (read,) = converter(DOUBLE, None)([repr(number)])
    assert (read, math.copysign(1, read)) == (number, math.copysign(1, number))


@given(texts)
def test_what_goes_out_is_always_json(text: str) -> None:
    for kind in KINDS:
        values = list(converter(kind, None)([text]))
        assert orjson.loads(orjson.dumps(values)) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_text_is_null_but_for_strings_unless_it_is_said_otherwise(kind: SqlType) -> None:
    expected = "" if kind.base is Base.STRING else None
    assert list(converter(kind, None)([""])) == [expected]
    assert list(converter(kind, "-")(["", "-"])) == ["", None]


@pytest.mark.parametrize("text", ["1_0", " 1", "1 ", "1\n", ARABIC_ONE, "0x1", "1.5", "", "--1"])
def test_what_python_takes_for_a_number_and_sql_does_not_stays_a_text(text: str) -> None:
    assert converter(LONG, "no null")([text]) == [text]
    assert converter(LONG, "no null")(["1", text, "2"]) == [1, text, 2]
