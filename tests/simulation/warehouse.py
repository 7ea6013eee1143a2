"""A warehouse on virtual time which fails as the dice say, and outlives the gateway.

Owns tasks, what they published, and the network towards them: a call's request and reply travel on
their own, so what was sent arrives although the sender has crashed. Implements the part of
`gateway.seams.Warehouse` that the ingest room meets. It is honest: a task publishes all rows or
none, and one that FAILED never publishes afterwards.

Laws that it holds the gateway to, at every step:
1. Never two live tasks that carry the same row: of one batch, or of the parts of one.
2. Never a row in a new task before each older task that carried it is over, and can be known to be.
3. A task id always carries the same bytes; a row is published once.
4. What is kept for a task is not given away while the task runs.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.seams import (
    Result,
    Submission,
    Submitted,
    TaskFailure,
    TaskState,
    WarehouseQuery,
    WarehouseUnreachable,
)
from protocol.types import Column
from tests.simulation.chronicle import Chronicle
from tests.simulation.loop import Dice
from tests.simulation.rows import POISON, QUIET, Warehoused, row_id

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseFaults:
    """Probabilities, per call or per task; ``outages``: (start, end, calls that go unanswered)."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    failed: float = 0.0
    failed_after_publishing: float = 0.0
    hidden: float = 0.0
    outages: tuple[tuple[float, float, frozenset[str]], ...] = ()
    late_s: float = 60.0
    busy: bool = False
    """others run tasks too"""
    queryable_at_commit: bool = False


CALLS = ("submit", "statuses", "failure", "count", "queryable", "free_batches", "release")


@dataclass
class Task:
    """A task that the warehouse knows. ``visible_s``: from when on it admits to it."""

    id: str
    batch_id: str
    lines: list[bytes]
    visible_s: float
    state: TaskState = TaskState.RUNNING
    published: bool = False
    failure: TaskFailure | None = None


@dataclass
class FaultyWarehouse:
    """See the module."""

    dice: Dice
    chronicle: Chronicle
    faults: WarehouseFaults
    slots: int
    task_s: float
    holds: Warehoused
    name: str = "simulated"
    tasks: dict[str, Task] = field(default_factory=dict)
    submitted: dict[str, Submission] = field(default_factory=dict)
    """what came first under each task id"""
    travelling: dict[str, int] = field(default_factory=dict)
    """submissions that were sent and have not arrived, by task id"""
    queryable_at_commit: bool = False
    is_shared: bool = False
    """others run tasks too, at some time: then the room that was told may be gone since"""
    is_strict: bool = True
    _bytes: dict[str, bytes] = field(default_factory=dict)
    _carriers: dict[int, list[str]] = field(default_factory=dict)
    """row id → task ids that it was submitted under, in order"""
    _counts: dict[str, int] = field(default_factory=dict)
    _loaded: dict[str, int] = field(default_factory=dict)
    _others: int = 0
    _unforeseen: set[str] = field(default_factory=set)
    """tasks whose submission nobody could still count with"""

    def heal(self) -> None:
        """No faults from now on; what still travels arrives."""
        self.faults = WarehouseFaults()
        self._others = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing runs or travels."""
        return not self.travelling and not self._running()

    def __post_init__(self) -> None:
        self.is_shared = self.faults.busy
        self.queryable_at_commit = self.faults.queryable_at_commit

    async def open(self) -> None:
        """See `gateway.seams.Warehouse`."""

    async def close(self) -> None:
        """See `gateway.seams.Warehouse`."""

    # ── the calls ──

    async def submit(self, submission: Submission) -> Submitted:
        """See `gateway.seams.Warehouse`."""
        task_id, batch_id = submission.task_id, submission.batch_id
        raw = await asyncio.to_thread(lambda: b"".join(submission.content.read()))
        lines = raw.splitlines(keepends=True)
        self._check_submission(submission, raw, lines)
        self._meet_outage("submit", task_id)
        draw, faults = self.dice.random(), self.faults
        if draw < faults.lost_before:
            await self._lost(f"submit {task_id}: lost before")
        self.travelling[task_id] = self.travelling.get(task_id, 0) + 1
        late = draw < faults.lost_before + faults.late
        if self.dice.chance(faults.twice):
            self.travelling[task_id] += 1
            self._later(faults.late_s, lambda: self._arrive(task_id, batch_id, lines, "again"))
        if late:
            self._later(faults.late_s, lambda: self._arrive(task_id, batch_id, lines, "late"))
            await self._lost(f"submit {task_id}: still travels")
        return await self._answer(
            "submit", task_id, lambda: self._arrive(task_id, batch_id, lines, "")
        )

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """See `gateway.seams.Warehouse`."""
        self._meet_outage("statuses", "")
        return await self._answer("statuses", "", lambda: self._states(list(task_ids)))

    async def failure(self, task_id: str) -> TaskFailure:
        """See `gateway.seams.Warehouse`."""
        self._meet_outage("failure", task_id)
        return await self._answer("failure", task_id, lambda: self._failure(task_id))

    async def count(self, datasource: str, batch_id: str) -> int:
        """See `gateway.seams.Warehouse`."""
        self._meet_outage("count", batch_id)
        return await self._answer("count", batch_id, lambda: self._counts.get(batch_id, 0))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """See `gateway.seams.Warehouse`."""
        self._meet_outage("queryable", batch_id)
        return await self._answer(
            "queryable", batch_id, lambda: self._loaded.get(batch_id, 0) >= rows
        )

    async def free_batches(self) -> int:
        """See `gateway.seams.Warehouse`."""
        self._meet_outage("free_batches", "")
        return await self._answer("free_batches", "", self._free)

    async def release(self, task_id: str) -> None:
        """See `gateway.seams.Warehouse`."""
        task = self.tasks.get(task_id)
        if task is not None and task.state is TaskState.RUNNING and not task.published:
            self.chronicle.wrong(f"{task_id} is released while it runs")
        self._meet_outage("release", task_id)

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

    # ── the network ──

    def _later(self, longest_s: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(self.dice.random() * longest_s, act)

    def _meet_outage(self, call: str, about: str) -> None:
        now = self.chronicle.now()
        for start, end, calls in self.faults.outages:
            if start <= now < end and call in calls:
                self.chronicle.note(f"warehouse: {call} {about} meets an outage")
                raise WarehouseUnreachable("connection refused")

    async def _lost(self, text: str) -> None:
        self.chronicle.note(f"warehouse: {text}")
        await asyncio.sleep(self.dice.delay_s(10.0))
        raise WarehouseUnreachable("no reply")

    async def _answer(self, call: str, about: str, act: Callable[[], T]) -> T:
        """The request travels, ``act`` happens at the warehouse, the reply travels."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        there_s, back_s = self.dice.delay_s(2.0), self.dice.delay_s(2.0)
        lost = self.dice.chance(self.faults.lost_after)

        def arrived() -> None:
            try:
                result = act()
            except WarehouseUnreachable as failed:
                self._settle(future, back_s, failed)
                return
            self.chronicle.note(f"warehouse: {call} {about} = {result}{' (lost)' if lost else ''}")
            if lost:
                self._settle(future, back_s + 5.0, WarehouseUnreachable("the reply was lost"))
            else:
                self._settle(future, back_s, result)

        asyncio.get_running_loop().call_later(there_s, arrived)
        return await future

    @staticmethod
    def _settle(future: "asyncio.Future[T]", back_s: float, word: T | WarehouseUnreachable) -> None:
        def settle() -> None:
            if future.done():
                return
            if isinstance(word, WarehouseUnreachable):
                future.set_exception(word)
            else:
                future.set_result(word)

        asyncio.get_running_loop().call_later(back_s, settle)

    # ── what happens there ──

    def _check_submission(self, submission: Submission, raw: bytes, lines: list[bytes]) -> None:
        wrong, task_id = self.chronicle.wrong, submission.task_id
        if (len(raw), len(lines)) != (submission.content.size_bytes, submission.rows):
            wrong(f"{task_id} carries {len(lines)} rows, {len(raw)} bytes: not what it says")
        if self._bytes.setdefault(task_id, raw) != raw:
            wrong(f"{task_id} carries other bytes than before")
        if task_id not in self.submitted:
            self.submitted[task_id] = submission
            for line in lines:
                self._carriers.setdefault(row_id(line), []).append(task_id)
        for older in self._rivals(task_id, lines):
            task = self.tasks.get(older)
            if task is None:
                wrong(f"{task_id} is submitted while {older} may still arrive")
            elif task.state is TaskState.RUNNING:
                wrong(f"{task_id} is submitted while {older} runs")

    def _rivals(self, task_id: str, lines: list[bytes]) -> list[str]:
        """Other tasks that carry some of the same rows."""
        carriers = (self._carriers[row_id(line)] for line in lines)
        every = dict.fromkeys(other for several in carriers for other in several)
        return [other for other in every if other != task_id]

    def _arrive(self, task_id: str, batch_id: str, lines: list[bytes], how: str) -> Submitted:
        self.travelling[task_id] -= 1
        if not self.travelling[task_id]:
            del self.travelling[task_id]
        if how:
            self.chronicle.note(f"warehouse: {task_id} arrives {how}")
        if task_id in self.tasks:
            return Submitted.EXISTS
        for other in self._rivals(task_id, lines):
            if other in self.tasks and self.tasks[other].state is TaskState.RUNNING:
                self.chronicle.wrong(
                    f"{task_id} beside {other}: two live attempts at the same rows"
                )
        visible_s = self.chronicle.now()
        if self.dice.chance(self.faults.hidden):
            visible_s += self.dice.random() * 20.0
        self.tasks[task_id] = task = Task(task_id, batch_id, lines, visible_s)
        if how:
            self._unforeseen.add(task_id)
        running = self._running() - self._unforeseen_running()
        if self.is_strict and not self.is_shared and running > self.slots:
            self.chronicle.wrong(f"{running} tasks run, and there is room for {self.slots}")
        self._later(self.task_s, lambda: self._go_on(task))
        return Submitted.ACCEPTED

    def _go_on(self, task: Task) -> None:
        """The task has read its rows: it fails over them, or as the dice say, or publishes."""
        for at, line in enumerate(task.lines, 1):
            if POISON in line or QUIET in line:
                told = at if POISON in line else None
                text = f"Unable to parse row (Line: {at})" if told else "ClassCastException"
                self._fail(task, TaskFailure(code="Bad", message=text, line=told, data_error=True))
                return
        draw, faults = self.dice.random(), self.faults
        lost = TaskFailure(code="WorkerLost", message="this task disappeared on the worker")
        if draw < faults.failed:
            self._fail(task, lost)
            return
        self._publish(task)
        failing = draw < faults.failed + faults.failed_after_publishing
        self._later(2.0, lambda: self._fail(task, lost) if failing else self._succeed(task))

    def _publish(self, task: Task) -> None:
        task.published = True
        self._counts[task.batch_id] = self._counts.get(task.batch_id, 0) + len(task.lines)
        self.chronicle.note(f"warehouse: {task.id} publishes {len(task.lines)} rows")
        ids = [row_id(line) for line in task.lines]
        for id_ in ids:
            other = self.holds.published.setdefault(id_, task.id)
            if other != task.id:
                self.chronicle.wrong(f"row {id_} is published by {other} and by {task.id}")
        if len(set(ids)) != len(ids):
            self.chronicle.wrong(f"{task.id} holds a row twice: {sorted(ids)}")
        if self.queryable_at_commit:
            self._load(task, ids)
        else:
            self._later(4.0, lambda: self._load(task, ids))

    def _load(self, task: Task, ids: list[int]) -> None:
        self._loaded[task.batch_id] = self._loaded.get(task.batch_id, 0) + len(ids)
        self.holds.loaded.update(ids)

    def _succeed(self, task: Task) -> None:
        task.state = TaskState.SUCCESS
        self.chronicle.note(f"warehouse: {task.id} SUCCESS")

    def _fail(self, task: Task, failure: TaskFailure) -> None:
        task.state, task.failure = TaskState.FAILED, failure
        self.chronicle.note(f"warehouse: {task.id} FAILED {failure.message}")

    def _states(self, task_ids: list[str]) -> dict[str, TaskState]:
        now = self.chronicle.now()
        known = (self.tasks[task_id] for task_id in task_ids if task_id in self.tasks)
        return {task.id: task.state for task in known if task.visible_s <= now}

    def _failure(self, task_id: str) -> TaskFailure:
        task = self.tasks.get(task_id)
        if task is None or task.failure is None:
            self.chronicle.wrong(f"asked why {task_id} failed, which it did not")
            raise WarehouseUnreachable("it did not fail")
        return task.failure

    def outlive(self) -> None:
        """The gateway has died: who comes after it knows nothing of what still travels."""
        self._unforeseen.update(self.travelling)

    def _running(self) -> int:
        return sum(task.state is TaskState.RUNNING for task in self.tasks.values())

    def _unforeseen_running(self) -> int:
        return sum(
            self.tasks[task_id].state is TaskState.RUNNING
            for task_id in self._unforeseen
            if task_id in self.tasks
        )

    def _free(self) -> int:
        if self.faults.busy:
            self._others = self.dice.randrange(self.slots + 1)
        return max(0, self.slots - self._others - self._running())
