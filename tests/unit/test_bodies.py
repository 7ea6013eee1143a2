"""The gate before a request's body: nothing waits that its handler has not asked for."""

import asyncio
from typing import cast

from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent

from gateway.http.bodies import BodyGate


class Sender:
    """A client that always has more; counts what was let in."""

    def __init__(self, size_bytes: int) -> None:
        self.sent = 0
        self._size_bytes = size_bytes

    async def receive(self) -> ASGIReceiveEvent:
        self.sent += 1
        body = b"x" * self._size_bytes
        return cast("ASGIReceiveEvent", {"type": "http.request", "body": body, "more_body": True})


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def pump(gate: BodyGate) -> None:
    while True:
        await gate.receive()
        await asyncio.sleep(0)


async def test_no_more_comes_in_than_was_taken_out() -> None:
    sender = Sender(40)
    gate = BodyGate(cast("ASGIReceiveCallable", sender.receive), 100)
    framework = asyncio.create_task(pump(gate))
    await turns()
    assert sender.sent == 3, "120 bytes: the message that passed the limit was the last"
    gate.taken(10)
    await turns()
    assert sender.sent == 3
    gate.taken(20)
    await turns()
    assert sender.sent == 4
    gate.taken(130)
    await turns()
    assert sender.sent == 7
    framework.cancel()


async def test_messages_without_a_body_pass() -> None:
    async def receive() -> ASGIReceiveEvent:
        return cast("ASGIReceiveEvent", {"type": "http.disconnect"})

    gate = BodyGate(cast("ASGIReceiveCallable", receive), 1)
    for _ in range(3):
        assert (await gate.receive())["type"] == "http.disconnect"
