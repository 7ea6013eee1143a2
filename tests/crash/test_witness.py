"""The witness itself: a campaign is worth what its judge would notice."""

import random
from collections import Counter

import pytest

from tests.crash.plan import (
    DRUID_ROLES,
    Broken,
    Cut,
    Kill,
    RoleDown,
    druid_plan,
    embedded_plan,
    kills_of,
)
from tests.crash.report import Report
from tests.crash.witness import Fate, Ledger, Verdict, judge

BAD = 3


def ledger_of(rows: int, *, acked: int, duplicates: bool = False) -> Ledger:
    """Rows ``[0, rows)`` sent, those below ``acked`` acked; row `BAD` is refused, not acked."""
    ledger = Ledger("p", lambda offset: offset == BAD)
    ledger.sent(0, rows)
    for offset in range(acked):
        if offset == BAD:
            ledger.refused(offset, "no number")
        else:
            ledger.acked(offset, duplicate=duplicates)
    return ledger


def judged(ledger: Ledger, *stored: int) -> Verdict:
    return judge([ledger], {"p": Counter(stored)})


def test_rows_that_are_all_where_they_should_be_are_clean() -> None:
    ledger = ledger_of(6, acked=6)
    verdict = judged(ledger, 0, 1, 2, 4, 5)
    assert verdict.clean
    assert (verdict.sent, verdict.acked, verdict.refused) == (6, 5, 1)
    assert ledger.violations == []


def test_an_acked_row_that_is_absent_is_lost() -> None:
    verdict = judged(ledger_of(6, acked=6), 0, 1, 4, 5)
    assert not verdict.clean
    assert (verdict.lost.count, verdict.lost.sample) == (1, ["p/2"])


def test_a_row_known_by_its_duplicate_ack_alone_is_lost_as_well() -> None:
    assert judged(ledger_of(2, acked=2, duplicates=True), 0).lost.sample == ["p/1"]


def test_each_row_too_many_is_a_duplicate() -> None:
    verdict = judged(ledger_of(3, acked=3), 0, 1, 1, 1, 2)
    assert (verdict.duplicated.count, verdict.duplicated.sample) == (2, ["p/1"])
    assert not verdict.clean


def test_a_refused_row_and_one_that_was_never_sent_may_not_be_there() -> None:
    verdict = judged(ledger_of(5, acked=5), 0, 1, 2, BAD, 4, 99)
    assert verdict.strange.sample == ["p/3", "p/99"]
    assert judge([], {"who": Counter([7])}).strange.sample == ["who/7"]


def test_a_row_without_a_verdict_is_not_clean_even_if_it_is_there() -> None:
    verdict = judged(ledger_of(3, acked=2), 0, 1, 2)
    assert verdict.unsettled.sample == ["p/2"]
    assert not verdict.clean


@pytest.mark.parametrize(
    ("stands_at", "expected"),
    [(3, "stands at 3, but 4 was promised"), (7, "stands at 7, but 6 rows were sent")],
)
def test_a_channel_neither_goes_back_nor_ahead_of_its_rows(stands_at: int, expected: str) -> None:
    ledger = ledger_of(6, acked=4)
    ledger.stands_at(4)
    ledger.stands_at(6)
    assert ledger.violations == []
    ledger = ledger_of(6, acked=4)
    ledger.stands_at(stands_at)
    assert expected in ledger.violations[0]


def test_a_second_plain_ack_tells_of_a_row_stored_twice() -> None:
    ledger = ledger_of(2, acked=2)
    ledger.acked(1, duplicate=True)
    assert ledger.violations == []
    ledger.acked(1, duplicate=False)
    assert "row 1 was acked before, and now is no duplicate" in ledger.violations[0]


def test_the_ack_of_a_fenced_stream_may_come_after_that_of_its_successor() -> None:
    ledger = ledger_of(1, acked=1, duplicates=True)
    ledger.acked(0, duplicate=False)
    assert ledger.violations == []
    assert ledger.fate(0) is Fate.ACKED


def test_a_bad_row_may_not_be_acked_nor_a_good_one_refused() -> None:
    ledger = Ledger("p", lambda offset: offset == BAD)
    ledger.sent(0, 5)
    ledger.acked(BAD, duplicate=False)
    ledger.refused(2, "why")
    assert "row 3 is bad, and was acked" in ledger.violations[0]
    assert "row 2 is good, and was refused: why" in ledger.violations[1]


def test_a_report_is_clean_only_with_a_verdict_and_nothing_else_wrong() -> None:
    assert not Report().clean, "nothing was looked at"
    assert Report(verdict=Verdict()).clean
    assert not Report(verdict=Verdict(), stuck=["batch"]).clean
    assert not Report(verdict=Verdict(), violations=["text"]).clean
    assert not Report(verdict=Verdict(), outside=judged(ledger_of(1, acked=1))).clean


# ── plans ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kills", [6, 40])
def test_a_plan_for_druid_has_its_kills_every_role_and_every_cut(kills: int) -> None:
    steps = druid_plan(kills, random.Random(kills), startup_s=1.0)
    assert kills_of(steps) == kills
    assert {step.role for step in steps if isinstance(step, RoleDown)} == set(DRUID_ROLES)
    assert {step.cut for step in steps if isinstance(step, Broken)} == set(Cut)
    both = [step for step in steps if not isinstance(step, Kill) and step.kill is not None]
    assert both, "no kill falls into another fault"


def test_a_seed_draws_the_same_plan_again() -> None:
    plans = [embedded_plan(30, random.Random(7), startup_s=1.0) for _ in range(2)]
    assert plans[0] == plans[1]
    assert kills_of(plans[0]) == 30
