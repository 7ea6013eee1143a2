"""A warehouse that does what a test tells it, and those who listen to the ingest room.

The scripted warehouse stands beside the real ones, not in their place: it makes the failures that
a real one cannot be made to have at a chosen moment. It is a dict of tasks and a dict of published
rows; a `Plan` says what becomes of a submission, and `outages` how many calls go unanswered.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.seams import (
    ReceiptSink,
    Result,
    Submission,
    SubmissionRefused,
    Submitted,
    TaskFailure,
    TaskState,
    WarehouseQuery,
    WarehouseUnreachable,
)
from protocol.errors import RowRejected
from protocol.types import Column

POISON = b'"poison"'
"""A row that holds these bytes fails its task with a data error at its line."""

NAMELESS = b'"nameless"'
"""A row that holds these bytes fails its task with a data error, and nobody says which it was."""

DEADLINE_S = 15.0


class Changes:
    """Lets a test wait for a condition: whoever changes something tells."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._event.set()

    async def until(self, holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Return once ``holds()`` is true; TimeoutError after the deadline."""
        async with asyncio.timeout(deadline_s):
            while not holds():
                self._event.clear()
                await self._event.wait()


class RecordingSink(ReceiptSink):
    """A stream that remembers what it hears, and refuses to hear it twice."""

    def __init__(self, changes: Changes) -> None:
        self.spooled_bytes = 0
        self.settled_rows: set[int] = set()
        self.failures: dict[int, RowRejected] = {}
        self.ended_at: int | None = None
        """the row from which on nothing is promised"""
        self.stop: RowRejected | None = None
        """why no more rows are taken"""
        self.on_spooled: Callable[[], None] = lambda: None
        self.on_settled: Callable[[], None] = lambda: None
        self._changes = changes

    def spooled(self, credit_bytes: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.spooled_bytes += credit_bytes
        self.on_spooled()
        self._changes.tell()

    def settled(self, first_seq: int, end_seq: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        rows = set(range(first_seq, end_seq))
        assert rows, "an empty range was settled"
        assert not rows & self.settled_rows, "rows were settled twice"
        self.settled_rows |= rows
        self.on_settled()
        self._changes.tell()

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        assert seq not in self.settled_rows, "a row failed that was settled"
        self.failures.setdefault(seq, rejected)
        self._changes.tell()

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.ended_at = seq if self.ended_at is None else min(seq, self.ended_at)
        self.failures.setdefault(seq, rejected)
        self._changes.tell()

    def stopped(self, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.stop = rejected
        self._changes.tell()

    @property
    def acked(self) -> set[int]:
        """Rows that a ledger would ack: settled, and below the lowest failure."""
        lowest = min(self.failures, default=None)
        return {seq for seq in self.settled_rows if lowest is None or seq < lowest}


class Reply(Enum):
    """What becomes of the answer to a submission."""

    SENT = auto()
    LOST_BEFORE = auto()
    """the submission never arrives"""
    LOST_AFTER = auto()
    """it arrives, and its answer does not"""
    LATE = auto()
    """the answer is lost, and the submission arrives only after some further calls"""
    REFUSED = auto()


class Outcome(Enum):
    """What becomes of a task."""

    SUCCESS = auto()
    FAILED = auto()
    FAILED_AFTER_PUBLISHING = auto()
    FAILED_HALF_WAY = auto()
    DATA_ERROR_SOMEWHERE = auto()
    """the rows are at fault, and nobody says which"""


@dataclass(frozen=True)
class Plan:
    """The life of one submission. ``hidden_asks``: the task is unknown for so many looks."""

    reply: Reply = Reply.SENT
    outcome: Outcome = Outcome.SUCCESS
    hidden_asks: int = 0
    running_asks: int = 1


@dataclass
class Task:
    """A task of the scripted warehouse."""

    submission: Submission
    plan: Plan
    lines: list[bytes]
    state: TaskState = TaskState.RUNNING
    failure: TaskFailure | None = None
    hidden_asks: int = 0
    running_asks: int = 0


@dataclass
class ScriptedWarehouse:
    """Implements the part of `gateway.seams.Warehouse` that the ingest room meets."""

    changes: Changes
    slots: int = 8
    plans: list[Plan] = field(default_factory=list)
    """for the submissions in their order; those beyond succeed"""
    outages: int = 0
    is_queryable: bool = True
    name: str = "scripted"
    queryable_at_commit: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    published: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    submitted_at: list[float] = field(default_factory=list)
    released: set[str] = field(default_factory=set)
    most_running: int = 0
    _watched: set[str] = field(default_factory=set)
    _late: list[tuple[int, Submission, Plan, list[bytes]]] = field(default_factory=list)

    async def open(self) -> None:
        """See `gateway.seams.Warehouse`."""

    async def close(self) -> None:
        """See `gateway.seams.Warehouse`."""

    # going down

    async def submit(self, submission: Submission) -> Submitted:
        """See `gateway.seams.Warehouse`."""
        self._called("submit", submission.task_id)
        self.submitted_at.append(asyncio.get_running_loop().time())
        if submission.task_id in self.tasks:
            return Submitted.EXISTS
        plan = self.plans.pop(0) if self.plans else Plan()
        if plan.reply is Reply.REFUSED:
            raise SubmissionRefused("INSERT is not allowed here")
        raw = await asyncio.to_thread(lambda: b"".join(submission.content.read()))
        assert len(raw) == submission.content.size_bytes
        lines = raw.split(b"\n")[:-1]
        assert len(lines) == submission.rows
        if plan.reply is Reply.LOST_BEFORE:
            raise WarehouseUnreachable("the submission was lost")
        if plan.reply is Reply.LATE:
            self._late.append((3, submission, plan, lines))
            raise WarehouseUnreachable("the submission still travels")
        self._arrive(submission, plan, lines)
        if plan.reply is Reply.LOST_AFTER:
            raise WarehouseUnreachable("the answer was lost")
        return Submitted.ACCEPTED

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """See `gateway.seams.Warehouse`. Time passes for a task each time it is looked at."""
        self._called("statuses", ",".join(sorted(task_ids)))
        self._watched.update(task_ids)
        found = {}
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is None:
                continue
            if task.hidden_asks:
                task.hidden_asks -= 1
                continue
            found[task_id] = task.state
            if task.state is TaskState.RUNNING:
                self._go_on(task)
        return found

    async def failure(self, task_id: str) -> TaskFailure:
        """See `gateway.seams.Warehouse`."""
        self._called("failure", task_id)
        found = self.tasks[task_id].failure
        assert found is not None, "asked why a task failed that did not"
        return found

    async def count(self, datasource: str, batch_id: str) -> int:
        """See `gateway.seams.Warehouse`."""
        self._called("count", batch_id)
        return len(self.published.get((datasource, batch_id), []))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """See `gateway.seams.Warehouse`."""
        self._called("queryable", batch_id)
        assert len(self.published.get((datasource, batch_id), [])) == rows
        return self.is_queryable

    async def free_batches(self) -> int:
        """See `gateway.seams.Warehouse`."""
        self._called("free_batches", "")
        self._let_the_unwatched_go_on()
        return max(0, self.slots - self.running)

    async def release(self, task_id: str) -> None:
        """See `gateway.seams.Warehouse`."""
        self.released.add(task_id)
        self._called("release", task_id)

    # coming up: nobody in the ingest room asks

    async def datasources(self) -> list[str]:
        """See `gateway.seams.Warehouse`."""
        raise NotImplementedError

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """See `gateway.seams.Warehouse`."""
        raise NotImplementedError

    async def query(self, query: WarehouseQuery) -> Result:
        """See `gateway.seams.Warehouse`."""
        raise NotImplementedError

    # what tests look at

    @property
    def running(self) -> int:
        """Tasks that run now."""
        return sum(task.state is TaskState.RUNNING for task in self.tasks.values())

    @property
    def rows(self) -> list[bytes]:
        """Every published row, sorted."""
        return sorted(line for lines in self.published.values() for line in lines)

    @property
    def submissions(self) -> list[str]:
        """Task ids in the order they were submitted under."""
        return [task_id for call, task_id in self.calls if call == "submit"]

    # inside

    def _called(self, call: str, about: str) -> None:
        self.calls.append((call, about))
        self._let_the_late_arrive()
        self.changes.tell()
        if self.outages:
            self.outages -= 1
            raise WarehouseUnreachable("nobody answers")

    def _let_the_unwatched_go_on(self) -> None:
        """Time passes for tasks too that nobody knows of: else they would keep their slots."""
        for task_id, task in self.tasks.items():
            if task.state is TaskState.RUNNING and task_id not in self._watched:
                self._go_on(task)
        self._watched.clear()

    def _let_the_late_arrive(self) -> None:
        waiting, self._late = self._late, []
        for calls, submission, plan, lines in waiting:
            if calls > 1:
                self._late.append((calls - 1, submission, plan, lines))
            elif submission.task_id not in self.tasks:
                self._arrive(submission, plan, lines)

    def _arrive(self, submission: Submission, plan: Plan, lines: list[bytes]) -> None:
        others = [
            task.submission.task_id
            for task in self.tasks.values()
            if task.submission.batch_id == submission.batch_id and task.state is TaskState.RUNNING
        ]
        assert not others, f"{submission.task_id} beside {others}: two live attempts of one batch"
        task = self.tasks[submission.task_id] = Task(submission, plan, lines)
        task.hidden_asks, task.running_asks = plan.hidden_asks, plan.running_asks
        self.most_running = max(self.most_running, self.running)

    def _go_on(self, task: Task) -> None:
        task.running_asks -= 1
        if task.running_asks > 0:
            return
        outcome = task.plan.outcome
        poisoned = [at for at, line in enumerate(task.lines, 1) if POISON in line]
        if poisoned and outcome is Outcome.SUCCESS:
            text = f"Unable to parse row (Line: {poisoned[0]})"
            self._fail(
                task, TaskFailure(code="BadRow", message=text, line=poisoned[0], data_error=True)
            )
        elif outcome is Outcome.SUCCESS and any(NAMELESS in line for line in task.lines):
            self._fail(task, TaskFailure(code="BadRow", message="some row", data_error=True))
        elif outcome is Outcome.SUCCESS:
            self._publish(task, task.lines)
            task.state = TaskState.SUCCESS
        elif outcome is Outcome.DATA_ERROR_SOMEWHERE:
            self._fail(task, TaskFailure(code="BadRow", message="some row", data_error=True))
        else:
            if outcome is Outcome.FAILED_AFTER_PUBLISHING:
                self._publish(task, task.lines)
            if outcome is Outcome.FAILED_HALF_WAY:
                self._publish(task, task.lines[:1])
            self._fail(task, TaskFailure(code="WorkerLost", message="the worker went away"))

    def _publish(self, task: Task, lines: list[bytes]) -> None:
        place = (task.submission.spec.datasource, task.submission.batch_id)
        self.published.setdefault(place, []).extend(lines)

    @staticmethod
    def _fail(task: Task, failure: TaskFailure) -> None:
        task.state, task.failure = TaskState.FAILED, failure
