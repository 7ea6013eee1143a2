"""Controllers that outlive their workers: found in time, shut down once, and no others."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.seams import TaskState
from gateway.warehouse.druid.orphans import Orphans, worker_of
from gateway.warehouse.druid.slots import Slots, room
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings
from tests.contract.druid_fixture import until
from tests.unit.test_druid_endings import warehouse_on

RUNNING, FAILED, SUCCESS = TaskState.RUNNING, TaskState.FAILED, TaskState.SUCCESS
LIMIT_S = 10.0


def due(orphans: Orphans, now: float, **workers: TaskState | None) -> list[str]:
    """What is due of RUNNING tasks, each under its name with the state of its worker."""
    states = dict.fromkeys(workers, RUNNING)
    states |= {worker_of(q): state for q, state in workers.items() if state is not None}
    return orphans.due(list(workers), states, now)


def test_a_controller_is_due_when_its_worker_has_been_failed_for_longer_than_the_limit() -> None:
    orphans = Orphans(LIMIT_S)
    assert due(orphans, 0, a=RUNNING, b=None) == []
    assert due(orphans, 1, a=FAILED, b=FAILED) == []
    assert due(orphans, 1 + LIMIT_S, a=FAILED, b=FAILED) == []
    assert due(orphans, 1.1 + LIMIT_S, a=FAILED, b=RUNNING) == ["a"]
    assert orphans.was_ended("a")
    assert not orphans.was_ended("b")


def test_it_is_due_once_and_again_only_if_it_still_runs_after_the_limit() -> None:
    orphans = Orphans(LIMIT_S)
    times = [at for at in range(35) if due(orphans, at, a=FAILED)]
    assert times == [11, 22, 33]


def test_a_controller_that_ends_by_itself_is_left_alone() -> None:
    for final in (FAILED, SUCCESS, None):
        orphans = Orphans(LIMIT_S)
        due(orphans, 0, a=FAILED)
        states: Mapping[str, TaskState] = {} if final is None else {"a": final}
        assert orphans.due(["a"], states, 5) == []
        assert due(orphans, 11, a=FAILED) == [], "the time counts anew"


def test_a_worker_that_druid_starts_anew_counts_in_the_place_of_the_first() -> None:
    orphans = Orphans(LIMIT_S)
    due(orphans, 0, a=FAILED)
    assert orphans.workers(["a"]) == ["a-worker0_0", "a-worker0_1"]
    anew = {"a": RUNNING, "a-worker0_0": FAILED, "a-worker0_1": RUNNING}
    assert orphans.due(["a"], anew, 11) == []
    assert orphans.workers(["a"]) == ["a-worker0_1", "a-worker0_2"]
    failed = {"a": RUNNING, "a-worker0_1": FAILED}
    assert orphans.due(["a"], failed, 12) == []
    assert orphans.due(["a"], failed, 23) == ["a"]


def test_what_is_settled_is_forgotten() -> None:
    orphans = Orphans(LIMIT_S)
    due(orphans, 0, a=FAILED)
    due(orphans, 11, a=FAILED)
    orphans.forget("a")
    assert not orphans.was_ended("a")
    assert orphans.workers(["a"]) == ["a-worker0_0"]


def test_a_task_that_was_shut_down_takes_the_slot_it_is_shown_in_and_no_more() -> None:
    zombies = frozenset({"query-a", "query-b"})
    assert room(Slots(4, 2, zombies), ()) == 0, "anybody's controllers will ask for workers"
    assert room(Slots(4, 2, zombies), (), ("a", "b")) == 1


class StuckDruid:
    """One task, whose worker has failed and whose controller runs until it is shut down.

    The first ``deaf`` orders have no effect.
    """

    def __init__(self, deaf: int = 0) -> None:
        self.asked: list[list[str]] = []
        self.orders: list[str] = []
        self.reports = 0
        self._deaf = deaf

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.path.rpartition("/")[2]:
            case "taskStatus":
                self.asked.append(await request.json())
                over = len(self.orders) > self._deaf
                states = {"query-q": "FAILED" if over else "RUNNING", "query-q-worker0_0": "FAILED"}
                known: dict[str, Any] = {
                    at: {"status": states[at]} for at in self.asked[-1] if at in states
                }
                return web.json_response(known)
            case "shutdown":
                self.orders.append(request.path)
                return web.json_response({})
            case "reports":
                self.reports += 1
        return web.Response(status=404)


def settings(stuck_s: float) -> DruidSettings:
    return DruidSettings(urls=DruidUrls.router(""), fetch_base_url="", stuck_s=stuck_s)


async def test_one_call_asks_for_tasks_and_workers_and_ends_the_stuck_one_for_good() -> None:
    druid = StuckDruid()
    async with warehouse_on(druid.answer, settings(stuck_s=0.1)) as warehouse:
        assert await warehouse.statuses(["q", "unknown"]) == {"q": RUNNING}
        assert sorted(druid.asked[0]) == [
            *("query-q", "query-q-worker0_0", "query-unknown", "query-unknown-worker0_0"),
        ]

        async def failed() -> bool:
            return await warehouse.statuses(["q"]) == {"q": FAILED}

        await until(failed)
        failure = await warehouse.failure("q")
        assert (failure.code, failure.data_error) == ("WorkerLost", False)
        assert "was shut down" in failure.message
        await warehouse.release("q")
    assert druid.orders == ["/druid/indexer/v1/task/query-q/shutdown"]
    assert druid.reports == 0, "a task that is shut down leaves no report to wait for"


async def test_an_order_that_has_no_effect_is_given_again() -> None:
    druid = StuckDruid(deaf=7)
    async with warehouse_on(druid.answer, settings(stuck_s=0.1)) as warehouse:

        async def failed() -> bool:
            return await warehouse.statuses(["q"]) == {"q": FAILED}

        await until(failed)
    assert len(druid.orders) > 7
    assert set(druid.orders) == {"/druid/indexer/v1/task/query-q/shutdown"}
