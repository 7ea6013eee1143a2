"""How the bytes of a batch reach Druid: within the statement, or fetched by a one-time URL.

Small batches travel inline. Inline rows are stored with the task, in the Overlord's heap and in
its metadata, so larger batches are fetched by the worker over the ``http`` input source: from the
gateway, under a token of 256 bits, for as long as the task is not final. A worker may fetch more
than once and from the middle (``Range``), which `BatchBytes` allows.

The token is made of the task's id by a secret that outlives the process: a task that runs on while
the gateway restarts finds its rows again under the URL that it has. With another URL it would try
the dead one ten times, for minutes, and hold its slots (Druid's RetryingInputEntity).
"""

import asyncio
import base64
import hmac
from collections import deque

from gateway.seams import BatchBytes
from gateway.warehouse.druid.sql import http_source, inline_source

BATCHES_PATH = "/batches/"
"""The front door serves ``GET <fetch_base_url>/batches/<token>`` with Range."""


class StagedBatches:
    """The batches that Druid may fetch now, by token. Holds no bytes itself."""

    def __init__(self) -> None:
        self._by_token: dict[str, BatchBytes] = {}

    def offer(self, token: str, content: BatchBytes) -> None:
        """Make a batch fetchable; the token is the only key to it."""
        self._by_token[token] = content

    def find(self, token: str) -> BatchBytes | None:
        """The batch of a token; None if there is none, or none any more."""
        return self._by_token.get(token)

    def withdraw(self, token: str) -> None:
        """The batch is fetchable no more. An unknown token is fine."""
        self._by_token.pop(token, None)


class Staging:
    """Chooses the way of each batch, and remembers the tokens of the tasks."""

    def __init__(
        self, staged: StagedBatches, fetch_base_url: str, inline_limit_bytes: int, secret: bytes
    ) -> None:
        self._staged = staged
        self._secret = secret
        self._fetch_base_url = fetch_base_url.rstrip("/")
        self._inline_limit_bytes = inline_limit_bytes
        self._token_by_task: dict[str, str] = {}

    async def input_source(self, task_id: str, content: BatchBytes) -> str:
        """The input source of a task, as JSON. A task that is asked again keeps its URL.

        Raises UnicodeDecodeError if a small batch is not UTF-8.
        """
        if content.size_bytes <= self._inline_limit_bytes:
            data = await asyncio.to_thread(lambda: b"".join(content.read()))
            return inline_source(data.decode("utf-8"))
        # Read once before Druid is told: a task whose rows cannot be read fails again and again.
        await asyncio.to_thread(lambda: deque(content.read(), maxlen=0))
        token = self._offer(task_id, content)
        return http_source(f"{self._fetch_base_url}{BATCHES_PATH}{token}")

    def resumed(self, task_id: str, content: BatchBytes) -> None:
        """The task may have been started by an earlier process: it may fetch its rows."""
        if content.size_bytes > self._inline_limit_bytes:
            self._offer(task_id, content)

    def _offer(self, task_id: str, content: BatchBytes) -> str:
        digest = hmac.digest(self._secret, task_id.encode(), "sha256")
        token = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        self._token_by_task[task_id] = token
        self._staged.offer(token, content)
        return token

    def release(self, task_id: str) -> None:
        """The task is final, or never was: its URL dies."""
        token = self._token_by_task.pop(task_id, None)
        if token is not None:
            self._staged.withdraw(token)

    def without_token(self, task_id: str, text: str) -> str:
        """The text without the task's token: Druid's messages quote the URL it fetched."""
        token = self._token_by_task.get(task_id)
        return text.replace(token, "…") if token else text
