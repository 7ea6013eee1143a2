"""When rows become a batch, against a list of chunks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ingest.entries import ChunkRecord
from gateway.ingest.policy import BatchLimits, BatchPolicy, Range

LIMITS = BatchLimits(rows_max=10, bytes_max=100, age_s=5.0)


def chunk(number: int, *, queue: int = 1, rows: int = 1, size_bytes: int = 1) -> ChunkRecord:
    return ChunkRecord(id=number, queue=queue, rows=rows, size_bytes=size_bytes, arrival_ms=0)


def policy(*chunks: ChunkRecord, now: float = 0.0) -> BatchPolicy:
    made = BatchPolicy(LIMITS)
    for each in chunks:
        made.add(each, now)
    return made


def test_nothing_is_due_where_nothing_waits() -> None:
    assert policy().due(1e9) == []
    assert policy().due_at() is None
    assert policy().rows == 0


def test_a_queue_is_due_by_its_age() -> None:
    waiting = policy(chunk(1), now=100.0)
    assert waiting.due_at() == 105.0
    assert waiting.due(104.9) == []
    assert waiting.due(105.0) == [1]


def test_a_queue_is_due_at_once_by_its_rows_or_its_bytes() -> None:
    assert policy(chunk(1, rows=9)).due(0.0) == []
    assert policy(chunk(1, rows=9), chunk(2)).due(0.0) == [1]
    assert policy(chunk(1, size_bytes=99)).due(0.0) == []
    assert policy(chunk(1, size_bytes=99), chunk(2)).due(0.0) == [1]


def test_the_queue_that_waits_longest_comes_first() -> None:
    waiting = BatchPolicy(LIMITS)
    waiting.add(chunk(1, queue=3), 2.0)
    waiting.add(chunk(2, queue=1, rows=10), 4.0)
    waiting.add(chunk(3, queue=2), 1.0)
    assert waiting.due(50.0) == [2, 3, 1]
    assert waiting.due(4.0) == [1]


def test_a_chunk_over_the_limits_is_a_batch_of_its_own() -> None:
    waiting = policy(chunk(1, rows=50, size_bytes=500), chunk(2))
    assert waiting.take(1) == Range(queue=1, first_chunk=1, last_chunk=1, rows=50, size_bytes=500)
    assert waiting.take(1) == Range(queue=1, first_chunk=2, last_chunk=2, rows=1, size_bytes=1)
    assert waiting.due_at() is None


def test_a_batch_takes_what_fits_and_leaves_the_rest_its_age() -> None:
    waiting = BatchPolicy(LIMITS)
    for number in range(1, 5):
        waiting.add(chunk(number, rows=4), float(number))
    assert waiting.take(1).last_chunk == 2
    assert waiting.rows == 8
    assert waiting.due_at() == 8.0


def test_who_hurries_waits_for_nothing() -> None:
    waiting = policy(chunk(1), now=100.0)
    waiting.hurry()
    assert waiting.due(100.0) == [1]
    waiting.take(1)
    waiting.add(chunk(2), 101.0)
    assert waiting.due_at() == 101.0


@dataclass
class Waiting:
    chunks: list[tuple[ChunkRecord, float]] = field(default_factory=list)

    def total(self, of: Callable[[ChunkRecord], int]) -> int:
        return sum(of(each) for each, _ in self.chunks)


class Policies(RuleBasedStateMachine):
    """Model: a list of chunks for each queue; what is taken is checked off against it."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = BatchPolicy(LIMITS)
        self.now = 0.0
        self.last = 0
        self.model: dict[int, Waiting] = {}

    @rule(queue=st.integers(1, 3), rows=st.integers(1, 12), size_bytes=st.integers(1, 120))
    def add(self, queue: int, rows: int, size_bytes: int) -> None:
        self.last += 1
        added = chunk(self.last, queue=queue, rows=rows, size_bytes=size_bytes)
        self.policy.add(added, self.now)
        self.model.setdefault(queue, Waiting()).chunks.append((added, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        due = self.policy.due(self.now)
        queue = data.draw(st.sampled_from(due or sorted(self.model)))
        taken = self.policy.take(queue)
        waiting = self.model[queue].chunks
        ids = [each.id for each, _ in waiting]
        count = ids.index(taken.last_chunk) + 1
        part = [each for each, _ in waiting[:count]]
        assert (taken.queue, taken.first_chunk) == (queue, ids[0])
        assert taken.rows == sum(each.rows for each in part)
        assert taken.size_bytes == sum(each.size_bytes for each in part)
        within = taken.rows <= LIMITS.rows_max and taken.size_bytes <= LIMITS.bytes_max
        assert within or count == 1
        if count < len(waiting):
            more = waiting[count][0]
            assert (
                taken.rows + more.rows > LIMITS.rows_max
                or taken.size_bytes + more.size_bytes > LIMITS.bytes_max
            )
        del waiting[:count]
        if not waiting:
            del self.model[queue]

    @invariant()
    def due_is_what_is_full_or_old_and_oldest_first(self) -> None:
        expected = sorted(
            (waiting.chunks[0][1], queue)
            for queue, waiting in self.model.items()
            if waiting.total(lambda each: each.rows) >= LIMITS.rows_max
            or waiting.total(lambda each: each.size_bytes) >= LIMITS.bytes_max
            or self.now - waiting.chunks[0][1] >= LIMITS.age_s
        )
        assert self.policy.due(self.now) == [queue for _, queue in expected]
        assert self.policy.rows == sum(
            waiting.total(lambda each: each.rows) for waiting in self.model.values()
        )
        oldest = [waiting.chunks[0][1] for waiting in self.model.values()]
        assert self.policy.due_at() == (min(oldest) + LIMITS.age_s if oldest else None)


TestPolicies = Policies.TestCase
TestPolicies.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)
