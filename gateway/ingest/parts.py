"""What carrying a batch takes: given to the committer and all that it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ingest.reach import ReachedWarehouse
from gateway.ingest.reader import SpoolReader
from gateway.ingest.receipts import Receipts
from gateway.ingest.task_reports import TaskChange
from gateway.ingest.turns import Turns
from gateway.ingest.writer import SpoolWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitterTimes:
    """``poll_s`` between two looks at running tasks; back-off from ``retry_s`` to its cap.

    A warehouse that is away is looked for every ``away_s`` at the latest. ``report_poll_s``
    between two looks at how far tasks have come, where somebody wants to know.
    """

    poll_s: float
    retry_s: float
    retry_max_s: float
    queryable_max_s: float = 600.0
    away_s: float = 5.0
    report_poll_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitterParts:
    """The rooms and limits that a batch passes through.

    ``bisect_tasks_max``: tasks that are run at the most to find rows at fault in one batch where
    nobody names them. ``letters_limit_bytes``: rows among the open dead letters. ``changed``
    is told of every state that a batch comes into, ``queryable`` of the ids of batches that a
    SELECT has come to see, where somebody waited for that; they must not raise.
    """

    warehouse: ReachedWarehouse
    writer: SpoolWriter
    reader: SpoolReader
    receipts: Receipts
    times: CommitterTimes
    turns: Turns = field(default_factory=Turns)
    bisect_tasks_max: int = 200
    letters_limit_bytes: int = 1 << 30
    changed: Callable[[TaskChange], None] = lambda _: None
    queryable: Callable[[str], None] = lambda _: None
