"""Statuses of commands: bounded, and asked after while a task runs."""

from collections.abc import Collection

from gateway.catalog.commands import Commands
from gateway.seams import UNASKED, TaskFailure, TaskState, WarehouseUnreachable


class Cluster:
    """A warehouse's tasks."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskState] = {}
        self.away = False
        self.asked: list[list[str]] = []

    async def states(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        self.asked.append(list(task_ids))
        if self.away:
            raise WarehouseUnreachable
        return {task_id: self.tasks[task_id] for task_id in task_ids if task_id in self.tasks}

    async def why(self, task_id: str) -> TaskFailure:
        if self.away:
            raise WarehouseUnreachable
        return TaskFailure(code="X", message=f"{task_id} broke")


def running(cluster: Cluster) -> Commands:
    commands = Commands(cluster.states, cluster.why)
    commands.started("stream/t/execute", "t", "started", "ann")
    return commands


async def test_a_command_that_is_done_is_found_with_and_without_back_ticks() -> None:
    commands = Commands()
    commands.done("stream/`A/b`/create", "Stream created", "ann", "A/b")
    expected = {"status": "SUCCESS", "message": "Stream created", "queryId": None}
    assert await commands.status("stream/`A/b`/create", UNASKED) == expected
    assert await commands.status("stream/A/b/create", UNASKED) == expected
    for unknown in ("stream/`A/b`/drop", "", "/", "stream", "stream/`A`/create"):
        assert await commands.status(unknown, UNASKED) is None
    assert await commands.statuses(UNASKED) == {"stream/`A/b`/create": "SUCCESS"}


async def test_of_too_many_commands_the_oldest_is_forgotten() -> None:
    commands = Commands(limit=2)
    for name in "abac":
        commands.done(name, "", "ann", name)
    assert await commands.statuses(UNASKED) == {"a": "SUCCESS", "c": "SUCCESS"}


async def test_a_task_is_asked_after_until_it_has_succeeded() -> None:
    cluster = Cluster()
    commands = running(cluster)
    assert await commands.status("stream/t/execute", UNASKED) == {
        "status": "RUNNING",
        "message": "started",
        "queryId": "t",
    }
    cluster.tasks["t"] = TaskState.RUNNING
    assert await commands.statuses(UNASKED) == {"stream/t/execute": "RUNNING"}
    cluster.tasks["t"] = TaskState.SUCCESS
    assert await commands.statuses(UNASKED) == {"stream/t/execute": "SUCCESS"}
    assert len(cluster.asked) == 3
    assert await commands.status("stream/t/execute", UNASKED) == {
        "status": "SUCCESS",
        "message": "Task t has succeeded",
        "queryId": "t",
    }
    assert len(cluster.asked) == 3


async def test_a_failed_task_says_why_once_it_can_be_asked() -> None:
    cluster = Cluster()
    commands = running(cluster)
    cluster.away = True
    status = await commands.status("stream/t/execute", UNASKED)
    assert status is not None
    assert status["status"] == "RUNNING"
    cluster.away, cluster.tasks["t"] = False, TaskState.FAILED
    assert await commands.statuses(UNASKED) == {"stream/t/execute": "ERROR"}
    cluster.away = True
    status = await commands.status("stream/t/execute", UNASKED)
    assert status is not None
    assert status["message"] == "Task t has failed"
    cluster.away = False
    status = await commands.status("stream/t/execute", UNASKED)
    assert status == {"status": "ERROR", "message": "Task t has failed: t broke", "queryId": "t"}
