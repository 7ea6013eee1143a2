"""What became of the statements that change something: the answers of ``/status`` (§1.2, §1.8).

Owns: the statuses by command id, the newest of them, and asking after tasks that have not ended.
Must never know: what a statement does. Memory is bounded: of more than ``limit`` commands the
oldest are forgotten, and are unknown then, as they are after a restart.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.catalog.outside import TaskStates, TaskWhy
from gateway.seams import Permit, Right, TaskState, WarehouseUnreachable, sees
from protocol.entities import Entity, command_status
from protocol.types import quote

COMMANDS_LIMIT = 1_000
"""Commands whose status is kept."""


@dataclass(frozen=True, slots=True)
class _Command:
    """``task_id``: the task to ask after; None once nothing more is to be learnt.

    ``owner`` gave the command, and ``names`` are what it was about.
    """

    status: str
    message: str
    owner: str
    names: tuple[str, ...]
    query_id: str | None = None
    task_id: str | None = None

    def is_told(self, permit: Permit) -> bool:
        """Whether its status is the permit's to know."""
        if permit.principal.name == self.owner or permit.may(Right.ADMIN):
            return True
        return any(sees(permit, name) for name in self.names)


class Commands:
    """Statuses by command id. ``task_states`` and ``task_why`` ask the warehouse; None: nobody."""

    def __init__(
        self,
        task_states: TaskStates | None = None,
        task_why: TaskWhy | None = None,
        *,
        limit: int = COMMANDS_LIMIT,
    ) -> None:
        self._task_states = task_states
        self._task_why = task_why
        self._limit = limit
        self._commands: OrderedDict[str, _Command] = OrderedDict()

    def done(self, command_id: str, message: str, owner: str, name: str) -> None:
        """The command has succeeded."""
        self._note(command_id, _Command("SUCCESS", message, owner, (name,)))

    def started(self, command_id: str, task_id: str, message: str, owner: str) -> None:
        """The command goes on as a task."""
        self._note(command_id, _Command("RUNNING", message, owner, (), task_id, task_id))

    async def status(self, command_id: str, permit: Permit) -> Entity | None:
        """``{"status", "message", "queryId"}`` of a command; None if it is not known (404).

        One that is neither the principal's own nor about a name that it sees is not known to it.

        The name between the slashes may lack its back-ticks. While the warehouse is away the last
        status holds.
        """
        known = self._find(command_id)
        if known is None or not self._commands[known].is_told(permit):
            return None
        await self._look([known])
        await self._ask_why(known)
        command = self._commands.get(known)
        if command is None:
            return None
        return command_status(command.status, command.message, command.query_id)

    async def statuses(self, permit: Permit) -> dict[str, str]:
        """The status of every command that is known to the principal, by its id."""
        await self._look(list(self._commands))
        return {
            known: command.status
            for known, command in self._commands.items()
            if command.is_told(permit)
        }

    def _note(self, command_id: str, command: _Command) -> None:
        self._commands[command_id] = command
        self._commands.move_to_end(command_id)
        while len(self._commands) > self._limit:
            self._commands.popitem(last=False)

    def _find(self, command_id: str) -> str | None:
        if command_id in self._commands:
            return command_id
        kind, _, rest = command_id.partition("/")
        name, _, action = rest.rpartition("/")
        quoted = f"{kind}/{quote(name)}/{action}"
        return quoted if quoted in self._commands else None

    async def _look(self, command_ids: Iterable[str]) -> None:
        """Take up what the warehouse says of those among them that still run."""
        tasks = {}
        for command_id in command_ids:
            command = self._commands[command_id]
            if command.task_id is not None and command.status == "RUNNING":
                tasks[command.task_id] = command_id
        if not tasks or self._task_states is None:
            return
        try:
            states = await self._task_states(list(tasks))
        except WarehouseUnreachable:
            return
        for task_id, state in states.items():
            command_id = tasks[task_id]
            if command_id not in self._commands:
                continue
            command = self._commands[command_id]
            if state is TaskState.SUCCESS:
                said = f"Task {task_id} has succeeded"
                self._commands[command_id] = replace(
                    command, status="SUCCESS", message=said, task_id=None
                )
            elif state is TaskState.FAILED:
                said = f"Task {task_id} has failed"
                self._commands[command_id] = replace(command, status="ERROR", message=said)

    async def _ask_why(self, command_id: str) -> None:
        command = self._commands.get(command_id)
        if command is None or command.status != "ERROR" or command.task_id is None:
            return
        if self._task_why is None:
            return
        try:
            failure = await self._task_why(command.task_id)
        except WarehouseUnreachable:
            return
        if command_id in self._commands:
            said = f"{command.message}: {failure.message}"
            self._commands[command_id] = replace(command, message=said, task_id=None)
