"""What the client's exchanges and queries share: a life from entry to close, rows that wait.

Must never know: streams, sessions, the form of anything.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self


class Lifetime(ABC):
    """Opened on entry, and closed for certain: where opening fails, too."""

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @abstractmethod
    async def _enter(self) -> None:
        """Open it."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give up what still runs; may be called twice."""


class RowQueue(ABC):
    """Rows to iterate over, each a list of JSON values, or to take in batches as they came."""

    def __init__(self) -> None:
        self._waiting: deque[list[Any]] = deque()

    @abstractmethod
    async def _more(self) -> bool:
        """Wait for rows, and put them into ``_waiting``; False at the end."""

    def __aiter__(self) -> AsyncIterator[list[Any]]:
        return self

    async def __anext__(self) -> list[Any]:
        if not self._waiting and not await self._more():
            raise StopAsyncIteration
        return self._waiting.popleft()

    async def batch(self) -> list[list[Any]]:
        """All rows that are there, at least one; none at the end."""
        if not self._waiting:
            await self._more()
        rows = list(self._waiting)
        self._waiting.clear()
        return rows
