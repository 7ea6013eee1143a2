"""The ledger: what leaves, in which order, and what never does."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.acks import AckLedger, Verdicts
from protocol.errors import RowRejected

X = RowRejected("x")


def ledger_of(taken: int) -> AckLedger:
    ledger = AckLedger()
    ledger.taken = taken
    return ledger


def drain(ledger: AckLedger, rows_max: int = 1000) -> list[int]:
    first, end, rejected = ledger.emit(rows_max)
    assert rejected is None
    return list(range(first, end))


def test_ranges_settled_out_of_order_leave_in_order() -> None:
    ledger = ledger_of(5)
    ledger.settle(3, 5)
    assert drain(ledger) == []
    ledger.settle(0, 2)
    assert drain(ledger) == [0, 1]
    ledger.settle(2, 3)
    assert drain(ledger) == [2, 3, 4]


def test_a_turn_takes_no_more_than_it_asks_for() -> None:
    ledger = ledger_of(10)
    ledger.settle(0, 10)
    assert drain(ledger, 4) == [0, 1, 2, 3]
    assert ledger.ready == 6


def test_the_lowest_end_wins() -> None:
    ledger = ledger_of(9)
    ledger.break_off(5, RowRejected("later"))
    ledger.break_off(2, RowRejected("first"))
    ledger.break_off(3, RowRejected("between"))
    assert ledger.end is not None
    assert (ledger.end[0], ledger.end[1].message) == (2, "first")


def test_a_row_whose_ack_has_left_can_neither_fail_nor_be_the_end() -> None:
    ledger = ledger_of(3)
    ledger.settle(0, 3)
    drain(ledger)
    ledger.fail(1, X)
    ledger.break_off(1, X)
    assert (ledger.end, ledger.errors) == (None, 0)


def test_what_is_settled_before_it_comes_leaves_once_it_has_come() -> None:
    ledger = AckLedger()
    ledger.settle(0, 3)
    assert drain(ledger) == []
    ledger.taken = 2
    assert drain(ledger) == [0, 1]
    ledger.taken = 4
    assert drain(ledger) == [2]
    assert ledger.decided == 3


def test_an_error_stands_in_its_place_whether_its_range_settles_around_it_or_over_it() -> None:
    around, over = ledger_of(4), ledger_of(4)
    for ledger in (around, over):
        ledger.fail(1, X)
    around.settle(2, 4)
    around.settle(0, 1)
    over.settle(0, 4)
    for ledger in (around, over):
        assert [ledger.emit(9) for _ in range(4)] == [
            Verdicts(0, 1), Verdicts(1, 2, X), Verdicts(2, 4), Verdicts(4, 4),
        ]  # fmt: skip


def test_a_row_may_fail_once_it_is_settled_as_long_as_its_ack_has_not_left() -> None:
    ledger = ledger_of(3)
    ledger.settle(0, 3)
    ledger.fail(2, X)
    assert drain(ledger) == [0, 1]
    assert ledger.emit(9) == Verdicts(2, 3, X)


def test_a_range_of_failed_rows_may_settle_after_the_rows_behind_it() -> None:
    ledger = ledger_of(3)
    ledger.settle(1, 3)
    ledger.fail(0, X)
    ledger.settle(0, 1)
    assert ledger.emit(9) == Verdicts(0, 1, X)
    assert drain(ledger) == [1, 2]


def test_a_row_is_not_settled_twice() -> None:
    ledger = ledger_of(3)
    ledger.settle(0, 2)
    with pytest.raises(AssertionError):
        ledger.settle(1, 3)


@st.composite
def settlings(draw: st.DrawFn) -> tuple[list[tuple[int, int]], set[int], set[int]]:
    cuts = sorted(draw(st.sets(st.integers(1, 60), max_size=12)) | {0, 61})
    ranges = list(itertools.pairwise(cuts))
    rows = st.sets(st.integers(0, 60), max_size=3)
    return draw(st.permutations(ranges)), draw(rows), draw(rows)


@settings(deadline=None, max_examples=400)
@given(settlings(), st.integers(1, 20), st.data())
def test_it_agrees_with_a_set(
    drawn: tuple[list[tuple[int, int]], set[int], set[int]], turn: int, data: st.DataObject
) -> None:
    """Model: sets of settled rows, of failed ones and of ends."""
    ranges, failing, ending = drawn
    ledger, settled, left = AckLedger(), set[int](), list[int]()
    errors, ends, refused = set[int](), set[int](), list[int]()
    steps = st.integers(0, len(ranges))
    fail_at = [(data.draw(steps), seq) for seq in failing]
    end_at = [(data.draw(steps), seq) for seq in ending]

    def take() -> bool:
        first, end, rejected = ledger.emit(turn)
        assert end <= ledger.taken
        assert rejected is None or end == first + 1
        left.extend(range(first, end))
        if rejected is not None:
            refused.append(first)
        return end > first

    for step, (first, end) in enumerate(ranges):
        ledger.taken = data.draw(st.integers(ledger.taken, 61))
        for _, seq in (at for at in fail_at if at[0] == step):
            ledger.fail(seq, X)
            errors |= {seq} - set(left)
        for _, seq in (at for at in end_at if at[0] == step):
            ledger.break_off(seq, X)
            ends |= {seq} - set(left)
        ledger.settle(first, end)
        settled |= set(range(first, end))
        take()
        assert left == list(range(len(left)))
        assert set(left) <= settled | errors
        assert not ends or len(left) <= min(ends)
    ledger.taken = 61
    while take():
        pass
    expected = 0
    while expected in settled | errors and expected not in ends:
        expected += 1
    assert left == list(range(expected))
    assert refused == sorted(errors & set(left))
    assert ledger.end_is_next == (bool(ends) and expected == min(ends))
