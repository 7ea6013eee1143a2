"""How the bytes of a batch reach Druid: within the statement, or fetched by a URL of its own.

Small batches travel inline. Inline rows are stored with the task, in the Overlord's heap and in
its metadata, so larger batches are fetched by the worker over the ``http`` input source, from the
gateway, under a token.

The URL stands in the task's SQL, which Druid's console shows to everybody who may read tasks, and
Druid's messages quote it. So knowing it must be worth little:

* It is good while its task runs, and dies with it; after ``expiry_s`` it is dead in any case.
* "One-time" means: for one task, and for as many bytes as it takes to read the batch
  `WHOLE_READS_MAX` times, in `OPENINGS_MAX` openings at the most. Druid opens it once, and goes on
  from the middle (``Range``) where it lost a connection, up to ten times (RetryingInputEntity); a
  worker that is started anew reads from the front. A task that needs more fails, and its batch is
  tried again under another URL. The counts begin anew where the gateway does.
* It cannot be guessed: 256 bits of HMAC, by a secret that never leaves the data folder, over the
  task's id and the second at which it expires. Tokens are compared in constant time.

Nothing of it is stored: the secret outlives the process, so a task that runs on while the gateway
restarts finds its rows again under the URL that it has. With another URL it would try the dead one
ten times, for minutes, and hold its slots.
"""

import asyncio
import base64
import hmac
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.seams import BatchBytes
from gateway.warehouse.druid.sql import http_source, inline_source

BATCHES_PATH = "/batches/"
"""The front door serves ``GET <fetch_base_url>/batches/<token>`` with Range."""

WHOLE_READS_MAX = 4
OPENINGS_MAX = 40

_TOKEN = re.compile(r"(\d{1,12})\.([A-Za-z0-9_-]{43})")
_QUOTED = re.compile(re.escape(BATCHES_PATH) + r"[A-Za-z0-9_.-]+")


@dataclass(slots=True)
class _Offer:
    """A batch that may be fetched, and how much of it was. Bytes are counted as they are read."""

    content: BatchBytes
    openings: int = 0
    read_bytes: int = 0

    @property
    def is_used_up(self) -> bool:
        return (
            self.openings >= OPENINGS_MAX
            or self.read_bytes >= WHOLE_READS_MAX * self.content.size_bytes
        )


class _Metered:
    """One opening of a batch (`gateway.seams.BatchBytes`)."""

    def __init__(self, offer: _Offer) -> None:
        self.size_bytes = offer.content.size_bytes
        self._offer = offer

    def read(self, start: int = 0) -> Iterator[bytes]:
        """See `gateway.seams.BatchBytes`."""
        for piece in self._offer.content.read(start):
            self._offer.read_bytes += len(piece)
            yield piece


class StagedBatches:
    """The batches that Druid may fetch now, by token. Holds no bytes itself."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self._by_task: dict[str, _Offer] = {}

    def offer(self, task_id: str, content: BatchBytes) -> None:
        """Make a batch fetchable for its task; once more changes nothing."""
        if task_id not in self._by_task:
            self._by_task[task_id] = _Offer(content)

    def token(self, task_id: str, expiry_s: float) -> str:
        """A key to the batch of a task, for so long."""
        expires = str(int(self._clock() + expiry_s))
        return f"{expires}.{self._proof(task_id, expires)}"

    def find(self, token: str) -> BatchBytes | None:
        """The batch of a token, to be read once; None if there is none, or none any more."""
        said = _TOKEN.fullmatch(token)
        if said is None:
            return None
        expires, proof = said.groups()
        found = None
        # Tasks are few, and which of them it is must not show in the time that this takes.
        for task_id, offer in self._by_task.items():
            if hmac.compare_digest(self._proof(task_id, expires), proof):
                found = offer
        if found is None or found.is_used_up or int(expires) <= self._clock():
            return None
        found.openings += 1
        return _Metered(found)

    def withdraw(self, task_id: str) -> None:
        """The batch is fetchable no more. An unknown task is fine."""
        self._by_task.pop(task_id, None)

    def _proof(self, task_id: str, expires: str) -> str:
        digest = hmac.digest(self._secret, f"{expires} {task_id}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Staging:
    """Chooses the way of each batch."""

    def __init__(
        self,
        staged: StagedBatches,
        fetch_base_url: str,
        inline_limit_bytes: int,
        expiry_s: float,
    ) -> None:
        self._staged = staged
        self._fetch_base_url = fetch_base_url.rstrip("/")
        self._inline_limit_bytes = inline_limit_bytes
        self._expiry_s = expiry_s

    async def input_source(self, task_id: str, content: BatchBytes) -> str:
        """The input source of a task, as JSON. The URLs of a task that is asked again all hold.

        Raises UnicodeDecodeError if a small batch is not UTF-8.
        """
        if content.size_bytes <= self._inline_limit_bytes:
            data = await asyncio.to_thread(lambda: b"".join(content.read()))
            return inline_source(data.decode("utf-8"))
        # Read once before Druid is told: a task whose rows cannot be read fails again and again.
        await asyncio.to_thread(lambda: deque(content.read(), maxlen=0))
        self._staged.offer(task_id, content)
        token = self._staged.token(task_id, self._expiry_s)
        return http_source(f"{self._fetch_base_url}{BATCHES_PATH}{token}")

    def resumed(self, task_id: str, content: BatchBytes) -> None:
        """The task may have been started by an earlier process: it may fetch its rows."""
        if content.size_bytes > self._inline_limit_bytes:
            self._staged.offer(task_id, content)

    def release(self, task_id: str) -> None:
        """The task is final, or never was: its URL dies."""
        self._staged.withdraw(task_id)


def without_token(text: str) -> str:
    """The text without tokens: Druid's messages quote the URL that a worker fetched."""
    return _QUOTED.sub(BATCHES_PATH + "…", text)
