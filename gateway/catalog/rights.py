"""What a statement needs a right to, where that is more than the name that it stands with.

Owns: the rules for declarations, topics and tasks. Must never know: what a statement does then.
"""

import asyncio
from collections.abc import Callable

from gateway.seams import (
    EVERY_NAME,
    SEEING,
    Permit,
    Right,
    Source,
    refuse_unclear,
    require_any,
    sees,
)
from gateway.sql import task_names
from protocol.statements import AssertTopic, WarehouseTask
from protocol.types import fold


def require_define(
    permit: Permit,
    name: str,
    datasource: str | None,
    declared: Callable[[str], Source | None],
) -> None:
    """``define`` to a name, to what it stands for and to what it stood for.

    Else one could read another's datasource by a stream of one's own.
    """
    permit.require(Right.DEFINE, name)
    before = declared(name)
    touched = {datasource, before.spec.datasource if before is not None else None}
    for each in sorted(touched - {None, name}, key=str):
        permit.require(Right.DEFINE, str(each))


def require_topic(permit: Permit, statement: AssertTopic) -> None:
    """Any right to the datasource; a claim that fails tells what there is."""
    folded = fold(statement.target)
    if statement.target[0] in '`"' or not sees(permit, statement.target):
        require_any(permit, folded)


async def require_task(permit: Permit, statement: WarehouseTask) -> None:
    """``insert`` to what it writes (``define`` too where rows go), ``query`` to what it reads."""
    if all(permit.may(right, EVERY_NAME) for right in SEEING):
        permit.record("statement", "task")
        return
    names = await asyncio.to_thread(task_names, statement.sql)
    if names is None:
        refuse_unclear(permit, "statement")
        return
    permit.require(Right.INSERT, names.target)
    if names.replaces:
        permit.require(Right.DEFINE, names.target)
    for name in sorted(names.reads):
        permit.require(Right.QUERY, name)
    permit.record("statement", f"task {names.target}")
