"""A connection's way out, on a real pair of sockets: gathered, bounded, and heard when drained."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from gateway.http.output import FULL_BYTES, HARD_BYTES, Output


@contextlib.asynccontextmanager
async def opened(
    drained: Callable[[], None] = lambda: None,
) -> AsyncIterator[tuple[Output, socket.socket]]:
    """An output, and the socket that reads what it writes."""
    near, far = socket.socketpair()
    far.setblocking(False)
    _, writer = await asyncio.open_connection(sock=near)
    with far:
        yield Output(writer, drained), far
        writer.transport.abort()


async def read_to(far: socket.socket, size_bytes: int) -> bytes:
    """Read so much."""
    loop, read = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(10.0):
        while len(read) < size_bytes:
            read += await loop.sock_recv(far, 1 << 20)
    return bytes(read)


async def test_what_one_turn_writes_leaves_in_order_at_its_end() -> None:
    async with opened() as (output, far):
        output.write([b"a", b"b"])
        output.write([b"c"])
        assert output.room_bytes == FULL_BYTES - 3
        assert await read_to(far, 3) == b"abc"
        assert output.room_bytes == FULL_BYTES


async def test_there_is_no_room_while_the_socket_is_behind_and_drained_tells_of_more() -> None:
    drained = asyncio.Event()
    async with opened(drained.set) as (output, far):
        output.write([bytes(FULL_BYTES * 8)])
        assert output.room_bytes == 0
        output.flush()
        assert output.room_bytes == 0
        assert not drained.is_set()
        await read_to(far, FULL_BYTES * 8)
        async with asyncio.timeout(10.0):
            await drained.wait()
        assert output.room_bytes == FULL_BYTES


async def test_a_turn_that_filled_the_output_is_told_of_room_even_if_the_socket_took_all() -> None:
    drained = asyncio.Event()
    async with opened(drained.set) as (output, far):
        for _ in range(4):
            output.write([bytes(FULL_BYTES // 4)])
        assert output.room_bytes == 0
        await read_to(far, FULL_BYTES)
        async with asyncio.timeout(10.0):
            await drained.wait()
        assert output.room_bytes == FULL_BYTES


async def test_what_must_be_answered_overflows_at_its_hard_limit_only() -> None:
    async with opened() as (output, _):
        output.write([bytes(HARD_BYTES // 2)])
        output.flush()
        assert not output.overflows
        output.write([bytes(HARD_BYTES)])
        output.flush()
        assert output.overflows
        output.close()
        assert not output.overflows


async def test_closing_writes_what_was_gathered_and_nothing_more() -> None:
    heard: list[None] = []
    async with opened(lambda: heard.append(None)) as (output, far):
        output.write([b"goodbye"])
        output.close()
        output.write([b"too late"])
        output.flush()
        assert await read_to(far, 7) == b"goodbye"
        assert heard == []
