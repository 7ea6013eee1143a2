"""The feed: logs, evaluations and standing queries, as a subscription meets them."""

from collections.abc import Mapping
from functools import partial

from gateway.query.evaluations import Evaluations
from gateway.query.standing import Follower, Standing
from gateway.seams import PushLevel, PushLog
from gateway.sql import PushQuery


class Feed:
    """One log of each level; equal statements at one level share a standing query."""

    def __init__(self, logs: Mapping[PushLevel, PushLog], evaluations: Evaluations) -> None:
        self.logs = logs
        self.evaluations = evaluations
        self._standing: dict[tuple[PushLevel, str], Standing] = {}

    def follow(
        self, push: PushQuery, source: str, level: PushLevel, position: int, follower: Follower
    ) -> Standing:
        """Offer to ``follower`` what comes after ``position``, where nothing is left to read."""
        key = (level, push.key)
        standing = self._standing.get(key)
        if standing is None:
            standing = self._standing[key] = Standing(
                push, source, self.logs[level], self.evaluations, position,
                partial(self._ended, key),
            )  # fmt: skip
        standing.join(follower)
        return standing

    def _ended(self, key: tuple[PushLevel, str]) -> None:
        del self._standing[key]

    def __len__(self) -> int:
        """Statements that are followed now."""
        return len(self._standing)
