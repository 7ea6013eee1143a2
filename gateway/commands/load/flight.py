"""The rows that are on their way: which line each came from, until its verdict is there. Pure.

Law: what is kept is bounded by `FLIGHT_LIMIT_BYTES` and two blocks; the sender waits for `room`.
"""

import asyncio
from collections import deque

from gateway.commands.load.blocks import Block

FLIGHT_LIMIT_BYTES = 128 * 1024 * 1024


class Flight:
    """Blocks in order, from the one that has the last row with a verdict."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._size_bytes = 0
        self._landed = asyncio.Event()
        self._cut: tuple[Block, list[bytes]] | None = None

    async def room(self) -> None:
        """Wait until another block may leave."""
        while self._size_bytes > FLIGHT_LIMIT_BYTES:
            self._landed.clear()
            await self._landed.wait()

    def add(self, block: Block) -> None:
        """It leaves now; blocks follow one another."""
        self._blocks.append(block)
        self._size_bytes += len(block.data)

    def find(self, row: int) -> tuple[int, bytes]:
        """Line number and text of a row that has not landed, or was the last one to land: where a
        stream ends behind a verdict, that is named once more."""
        block = next(each for each in self._blocks if each.first_row <= row < each.end_row)
        if self._cut is None or self._cut[0] is not block:
            self._cut = (block, block.data.split(b"\n"))
        at = row - block.first_row
        return block.lines[at], self._cut[1][at]

    def land(self, end_row: int) -> None:
        """All rows below ``end_row`` have their verdict."""
        while self._blocks and self._blocks[0].end_row < end_row:
            self._size_bytes -= len(self._blocks.popleft().data)
        self._landed.set()
