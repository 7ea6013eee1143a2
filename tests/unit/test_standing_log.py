"""A standing query works for all its subscribers: what it logs is not by the first of them."""

import asyncio
from typing import Any, cast

import structlog
from structlog.testing import LogCapture

from gateway.query.evaluations import Evaluations
from gateway.query.standing import Standing
from gateway.seams import PushLog
from gateway.sql import PushQuery


class BrokenLog:
    """A log at fault, as a real one is only with a bug in it."""

    async def after(self, position: int) -> list[Any]:
        raise RuntimeError(f"nothing is behind {position}")


class Subscriber:
    """Hears how it ends."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def offer(self, since: object, block: object) -> None:
        raise AssertionError("there is nothing to offer")

    def fall_behind(self) -> None:
        raise AssertionError("there is nothing to fall behind of")

    def fail(self, fault: object) -> None:
        self.ended.set()


async def test_a_standing_query_logs_for_nobody() -> None:
    captured, kept = LogCapture(), structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, captured])
    evaluations, subscriber = Evaluations(kept_bytes=0), Subscriber()
    try:
        with structlog.contextvars.bound_contextvars(principal="alice"):
            standing = Standing(
                cast(PushQuery, None),
                "EVENTS",
                cast(PushLog, BrokenLog()),
                evaluations,
                7,
                lambda: None,
            )
            standing.join(subscriber)
            structlog.get_logger().info("subscribed")
            async with asyncio.timeout(10):
                await subscriber.ended.wait()
    finally:
        structlog.configure(**kept)
    lines = [(line["event"], line.get("principal")) for line in captured.entries]
    assert lines == [("subscribed", "alice"), ("a standing query failed", None)]
