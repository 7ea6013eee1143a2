"""What one principal uses at once, against its limits."""

import gc

import pytest

from gateway.access.settings import Limit
from gateway.access.usage import RETRY_S, Usages
from gateway.seams import Use
from protocol.errors import TooManyRequests


def test_one_stream_too_many_is_refused_with_when_to_come_again() -> None:
    usage = Usages((Limit(streams_max=1),)).of("alice")
    with usage.one_more(Use.INSERT_STREAM):
        with pytest.raises(TooManyRequests) as refused, usage.one_more(Use.INSERT_STREAM):
            pass
        assert refused.value.retry_after_s == RETRY_S
        assert refused.value.message.startswith("`alice` may have 1 of these open at once")
        with usage.one_more(Use.PUSH_QUERY):
            assert usage.using(Use.PUSH_QUERY) == 1
    with usage.one_more(Use.INSERT_STREAM):
        assert usage.using(Use.INSERT_STREAM) == 1
    assert usage.using(Use.INSERT_STREAM) == usage.using(Use.PUSH_QUERY) == 0


def test_the_first_limit_that_fits_holds() -> None:
    usages = Usages((Limit(principal="edge-*", streams_max=5), Limit(streams_max=1)))
    assert usages.of("edge-1").limit.streams_max == 5
    assert usages.of("alice").limit.streams_max == 1
    assert Usages((Limit(principal="bob"),)).of("alice").limit.streams_max is None


def test_rows_over_the_rate_are_counted_and_make_a_pause() -> None:
    usage = Usages((Limit(rows_per_s=100),)).of("alice")
    assert usage.took(100, 10**9, now=0.0) == 0.0
    assert usage.took(50, 0, now=0.0) == 0.5
    assert usage.took(0, 0, now=0.25) == 0.25
    assert usage.took(0, 0, now=10.0) == 0.0
    assert usage.took(300, 0, now=10.0) == 2.0


def test_of_rows_and_bytes_the_longer_pause_holds() -> None:
    usage = Usages((Limit(rows_per_s=10, bytes_per_s=1000),)).of("alice")
    assert usage.took(10, 3000, now=0.0) == 2.0
    assert usage.took(50, 0, now=0.0) == 5.0


def test_without_limits_nothing_pauses() -> None:
    assert Usages().of("alice").took(10**9, 10**12, now=0.0) == 0.0


def test_all_of_a_principal_share_one_bucket_and_nobody_else_does() -> None:
    usages = Usages((Limit(rows_per_s=100),))
    first, second, other = usages.of("alice"), usages.of("alice"), usages.of("bob")
    assert first.took(100, 0, now=0.0) == 0.0
    assert second.took(100, 0, now=0.0) == 1.0
    assert other.took(100, 0, now=0.0) == 0.0


def test_other_limits_hold_at_once_for_what_is_open_and_end_nothing() -> None:
    usages = Usages()
    usage = usages.of("alice")
    with usage.one_more(Use.INSERT_STREAM), usage.one_more(Use.INSERT_STREAM):
        usages.set_limits((Limit(streams_max=1, rows_per_s=10),))
        assert usage.using(Use.INSERT_STREAM) == 2
        with pytest.raises(TooManyRequests), usage.one_more(Use.INSERT_STREAM):
            pass
        assert usage.took(30, 0, now=0.0) == 2.0
        usages.set_limits(())
        assert usage.took(30, 0, now=0.0) == 0.0


def test_a_bounded_number_of_idle_principals_is_kept_and_every_busy_one() -> None:
    usages = Usages((Limit(streams_max=1),), idle_max=3)
    busy = usages.of("alice")
    with busy.one_more(Use.INSERT_STREAM):
        for number in range(100):
            usages.of(f"guest-{number}")
        gc.collect()
        assert len(usages) == 4
        assert usages.of("alice") is busy
        with pytest.raises(TooManyRequests), usages.of("alice").one_more(Use.INSERT_STREAM):
            pass
