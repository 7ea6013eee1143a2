"""How many batches a cluster has room for.

Pure. MSQ needs a controller and a worker at once for every insert: where controllers take all
slots no worker starts and all wait (Druid's ``multi-stage-query/known-issues``; on 27 they wait
for ten minutes). So room is counted in pairs, and a controller of somebody else's that has no
worker yet is counted with the worker it will need.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

import orjson

from gateway.seams import WarehouseUnreachable
from gateway.warehouse.druid.replies import TASK_PREFIX, task_of

SLOTS_PER_TASK = 2
"""One controller and one worker: every task that this warehouse starts has ``maxNumTasks`` 2."""

_WORKER = re.compile(r"(.+)-worker\d+_\d+")


@dataclass(frozen=True, slots=True)
class Slots:
    """What ``GET /druid/indexer/v1/workers`` says: slots there are, slots taken, and by whom."""

    capacity: int
    used: int
    running: frozenset[str]


def slots(status: int, body: bytes) -> Slots | None:
    """The reply as `Slots`; None if Druid will not tell (no right to, no such path).

    Raises `WarehouseUnreachable` for a reply without meaning.
    """
    if status in (401, 403, 404):
        return None
    try:
        workers = orjson.loads(body)
        # A worker that was disabled has no version; what still runs there frees nothing.
        enabled = [w for w in workers if w["worker"].get("version") != ""]
        return Slots(
            capacity=sum(w["worker"]["capacity"] for w in enabled),
            used=sum(w["currCapacityUsed"] for w in enabled),
            running=frozenset(task for w in enabled for task in w.get("runningTasks", ())),
        )
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        text = body[:300].decode("utf-8", "replace")
        raise WarehouseUnreachable(f"Druid answered {status} for its workers: {text}") from None


def room(state: Slots, own_live: Collection[str], own_ended: Collection[str] = ()) -> int:
    """How many more tasks of ours (two slots each) may start.

    ``own_ended`` were shut down. 27 goes on showing some of them, each in its one slot: they get
    no worker any more.

    ``own_live`` are the query ids that were submitted and are not known to be final. Each counts
    two slots from the moment it is submitted, whether Druid shows it yet or not; so the answer is
    safe to act on once, and is less by one as soon as it was acted on.
    """
    own = {task_of(query_id) for query_id in own_live}
    own_running = sum(1 for task in state.running if _controller(task) in own)
    workless = own.union(map(task_of, own_ended))
    others = state.used - own_running + _waiting_controllers(state.running, workless)
    taken = max(state.used, max(0, others) + SLOTS_PER_TASK * len(own))
    return max(0, state.capacity - taken) // SLOTS_PER_TASK


def _controller(task: str) -> str:
    match = _WORKER.fullmatch(task)
    return match.group(1) if match else task


def _waiting_controllers(running: frozenset[str], known: set[str]) -> int:
    """Others' MSQ controllers without a worker: each will ask for a slot."""
    served = {_controller(task) for task in running if _WORKER.fullmatch(task)}
    return sum(
        1
        for task in running
        if task.startswith(TASK_PREFIX)
        and not _WORKER.fullmatch(task)
        and task not in known
        and task not in served
    )
