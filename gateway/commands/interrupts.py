"""A command that runs on an event loop, and what ^C and SIGTERM do to it.

Law: a signal cancels the command's task, so that all it opened is closed, and `Interrupted` is
raised then; a second one does not wait.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.commands.failures import Interrupted

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run it to its end. Raises `Interrupted`."""
    return asyncio.run(_interruptible(main))


async def _interruptible(main: Coroutine[Any, Any, _T]) -> _T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main)
    caught: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        caught.append(number)
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if caught:
            raise Interrupted(caught[0]) from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
