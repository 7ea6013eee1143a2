"""The client's resend ledger against a server's memory: any losses, any cuts, every row once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.client.errors import AnswerBroken, ChannelTaken, RowRefused
from gateway.client.ledger import BLOCK_COST_BYTES, ResendLedger, blocks_of
from gateway.client.place import QueryPlace
from gateway.client.wire import AckBatch

LIMIT_BYTES = 3 * BLOCK_COST_BYTES + 120


class Sessions(RuleBasedStateMachine):
    """A ledger, and a channel that keeps rows by their offset as the gateway does."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ResendLedger(LIMIT_BYTES)
        self.base = 0
        self.stored: list[bytes] = []
        """rows of the channel from ``base`` on"""
        self.verdicts: list[int] = []
        self.written: list[bytes] = []
        self.session: list[bytes] | None = None
        """rows that this session was given"""
        self.first = self.kept = self.told = 0

    @precondition(lambda self: self.session is None)
    @rule(moved=st.integers(0, 5))
    def begin(self, moved: int) -> None:
        if not self.stored and not self.ledger.sent:
            self.base += moved  # Others wrote before this insert did.
        offset = self.ledger.next_offset
        stands_at = self.base + len(self.stored)
        self.ledger.begin(stands_at)
        self.first = (stands_at if offset is None else offset) - self.base
        assert self.first == len(self.verdicts)
        self.session, self.kept, self.told = [], 0, 0

    @rule(count=st.integers(1, 4), size=st.integers(1, 40))
    def take(self, count: int, size: int) -> None:
        rows = [b"%d:" % (len(self.written) + at) + b"x" * size + b"\n" for at in range(count)]
        if self.ledger.has_room(sum(map(len, rows))):
            self.ledger.take(b"".join(rows), count)
            self.written += rows
        else:
            assert self.ledger.held_bytes > 0

    @precondition(lambda self: self.session is not None)
    @rule()
    def send(self) -> None:
        assert self.session is not None
        if (block := self.ledger.next_block()) is not None:
            self.session += block.splitlines(keepends=True)

    @precondition(lambda self: self.session is not None)
    @rule(count=st.integers(1, 9))
    def reach_the_disk(self, count: int) -> None:
        """The gateway takes rows: those that it has not are stored."""
        assert self.session is not None
        for row in self.session[self.kept : self.kept + count]:
            if self.first + self.kept == len(self.stored):
                self.stored.append(row)
            assert self.stored[self.first + self.kept] == row, "a row sent again is the same row"
            self.kept += 1

    @precondition(lambda self: self.session is not None and self.told < self.kept)
    @rule(count=st.integers(1, 9), refuses=st.booleans())
    def ack(self, count: int, refuses: bool) -> None:
        last = min(self.told + count, self.kept) - 1
        refused = (RowRefused(last, "bad", 40000),) if refuses else ()
        told = self.ledger.tell(AckBatch(self.told, last, refused=refused))
        self.verdicts += range(told.first_seq, told.last_seq + 1)
        assert [one.seq for one in told.refused] == ([told.last_seq] if refuses else [])
        self.told = last + 1

    @precondition(lambda self: self.session is not None)
    @rule()
    def lose(self) -> None:
        self.session = None

    @invariant()
    def verdicts_are_dense_and_rows_are_stored_once_in_order(self) -> None:
        assert self.verdicts == list(range(len(self.verdicts)))
        assert self.stored == self.written[: len(self.stored)]
        assert len(self.verdicts) <= len(self.stored)

    @invariant()
    def it_holds_the_rows_without_a_verdict_and_no_more_than_its_limit(self) -> None:
        held = sum(map(len, self.written[len(self.verdicts) :]))
        one_alone = 4 * 50 + BLOCK_COST_BYTES
        assert held <= self.ledger.held_bytes <= max(LIMIT_BYTES, one_alone)
        if len(self.verdicts) == len(self.written):
            assert self.ledger.held_bytes == 0

    def teardown(self) -> None:
        """One session that is not lost brings all to its end."""
        if self.session is None:
            self.begin(0)
        assert self.session is not None
        while (block := self.ledger.next_block()) is not None:
            self.session += block.splitlines(keepends=True)
        assert self.session == self.written[self.first :]
        self.reach_the_disk(len(self.session))
        if self.told < self.kept:
            self.ack(len(self.session), refuses=False)
        assert self.stored == self.written
        assert len(self.verdicts) == len(self.written)
        assert self.ledger.held_bytes == 0


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


def test_a_channel_that_moved_on_by_itself_is_another_clients() -> None:
    ledger = ResendLedger(LIMIT_BYTES, offset=10)
    ledger.begin(12)
    ledger.take(b"a\nb\nc\n", 3)
    ledger.next_block()
    ledger.begin(13)
    with pytest.raises(ChannelTaken, match="another client"):
        ledger.begin(14)


def test_a_channel_that_lost_what_it_had_acked_is_named() -> None:
    ledger = ResendLedger(LIMIT_BYTES)
    ledger.begin(5)
    ledger.take(b"a\nb\n", 2)
    ledger.next_block()
    ledger.tell(AckBatch(0, 1))
    with pytest.raises(AnswerBroken, match="data folder"):
        ledger.begin(6)


@given(st.lists(st.integers(0, 90_000), max_size=12))
def test_large_items_are_cut_between_rows(sizes: list[int]) -> None:
    lines = b"".join(b"x" * size + b"\n" for size in sizes)
    blocks = list(blocks_of(lines))
    assert b"".join(block for block, _ in blocks) == lines
    assert all(block.count(b"\n") == count for block, count in blocks)
    assert sum(count for _, count in blocks) == len(sizes)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.booleans()), max_size=30))
def test_over_any_losses_a_push_query_hands_out_every_row_once(
    sessions: list[tuple[int, int, bool]],
) -> None:
    """Each session: rows, a token, more rows, perhaps another token, then the loss."""
    place, seen = QueryPlace(), list[int]()
    at_token: dict[str | None, int] = {None: 0}
    for before, behind, again in [*sessions, (20, 0, True)]:
        place.begin()
        at = at_token[place.token]
        for count, tells in ((before, True), (behind, again)):
            for row in range(at, at + count):
                if place.row():
                    seen.append(row)
            at += count
            if tells:
                place.at(str(at))
                at_token[str(at)] = at
    assert seen == list(range(len(seen)))
    assert place.rows == len(seen)
