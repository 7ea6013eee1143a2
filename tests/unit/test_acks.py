"""The ledger: what leaves, in which order, and what never does."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from protocol.acks import AckLedger
from protocol.errors import RowRejected


def drain(ledger: AckLedger, rows_max: int = 1000) -> list[int]:
    first, end = ledger.emit(rows_max)
    return list(range(first, end))


def test_ranges_settled_out_of_order_leave_in_order() -> None:
    ledger = AckLedger()
    ledger.settle(3, 5)
    assert drain(ledger) == []
    ledger.settle(0, 2)
    assert drain(ledger) == [0, 1]
    ledger.settle(2, 3)
    assert drain(ledger) == [2, 3, 4]


def test_a_turn_takes_no_more_than_it_asks_for() -> None:
    ledger = AckLedger()
    ledger.settle(0, 10)
    assert drain(ledger, 4) == [0, 1, 2, 3]
    assert ledger.ready == 6


def test_the_lowest_failed_row_wins() -> None:
    ledger = AckLedger()
    ledger.fail(5, RowRejected("later"))
    ledger.fail(2, RowRejected("first"))
    ledger.fail(3, RowRejected("between"))
    assert ledger.failed is not None
    assert ledger.failed[0] == 2


def test_a_row_whose_ack_has_left_cannot_fail() -> None:
    ledger = AckLedger()
    ledger.settle(0, 3)
    drain(ledger)
    ledger.fail(1, RowRejected("too late"))
    assert ledger.failed is None


@st.composite
def settlings(draw: st.DrawFn) -> tuple[list[tuple[int, int]], set[int]]:
    cuts = sorted(draw(st.sets(st.integers(1, 60), max_size=12)) | {0, 61})
    ranges = list(itertools.pairwise(cuts))
    failing = draw(st.sets(st.integers(0, 60), max_size=3))
    return draw(st.permutations(ranges)), failing


@given(settlings(), st.integers(1, 20), st.data())
def test_it_agrees_with_a_set(
    drawn: tuple[list[tuple[int, int]], set[int]], turn: int, data: st.DataObject
) -> None:
    """Model: a set of settled rows and a set of failed ones."""
    ranges, failing = drawn
    ledger, settled, failed, left = AckLedger(), set[int](), set[int](), list[int]()
    fail_at = {data.draw(st.integers(0, len(ranges))): seq for seq in failing}
    for step, (first, end) in enumerate(ranges):
        if step in fail_at and fail_at[step] >= len(left):
            ledger.fail(fail_at[step], RowRejected("x"))
            failed.add(fail_at[step])
        ledger.settle(first, end)
        settled |= set(range(first, end))
        left += drain(ledger, turn)
        assert left == list(range(len(left)))
        assert set(left) <= settled
        assert not failed or len(left) <= min(failed)
    while taken := drain(ledger, turn):
        left += taken
    expected = 0
    while expected in settled and expected not in failed:
        expected += 1
    assert len(left) == expected
    assert ledger.failure_is_next == (bool(failed) and expected == min(failed))
