"""The operator's doors, scripted: dead letters and batches in memory, which refuse as real ones do.

Beside the tests against a real gateway, for what that cannot be made to show at will: a spool that
breaks in the middle of an answer, a thousand letters, held batches, an export that never ends.
"""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.http.admin import AdminDoors, AdminLimits, make_admin_app
from gateway.http.callers import Callers
from gateway.seams import BatchView, DeadLetterView
from protocol.errors import BadRequest, KsqlError, NotFound
from tests.doors import Door, opened_door

JSON = {"content-type": "application/json"}
DEADLINE_S = 15.0
ROW_BYTES = 2000
BODY_BYTES = 50_000
AT_MS = 1_767_225_600_123
AT = "2026-01-01T00:00:00.123Z"


def letter(letter_id: int, **members: Any) -> DeadLetterView:
    """An open letter of stream EVENTS; ``members`` differ."""
    given: dict[str, Any] = {
        "stream": "EVENTS",
        "channel": None,
        "offset": None,
        "batch": None,
        "line": None,
        "code": "40000",
        "message": "it is bad",
        "at_ms": AT_MS,
        "state": "open",
        "tasks": 0,
        "raw": b'{"ID":"x"}',
    }
    return DeadLetterView(id=letter_id, **{**given, **members})


def batch(batch_id: str, **members: Any) -> BatchView:
    """A held batch; ``members`` differ."""
    given: dict[str, Any] = {
        "task_id": f"query-{batch_id}-a1",
        "stream": "EVENTS",
        "datasource": "events",
        "state": "HELD",
        "attempt": 1,
        "rows": 10,
        "size_bytes": 1234,
        "sealed_ms": AT_MS,
        "error": "3 of 10 rows are there",
    }
    return BatchView(id=batch_id, **{**given, **members})


@dataclass
class ScriptedLetters:
    """Implements `gateway.seams.DeadLetters`.

    ``breaks_at``: reading or deciding on this letter fails as a broken disk does. ``returns``: a
    row that is retried fails at once, and becomes a new letter.
    """

    letters: dict[int, DeadLetterView] = field(default_factory=dict)
    breaks_at: int | None = None
    returns: bool = False
    retried: list[bytes] = field(default_factory=list)

    def add(self, *letters: DeadLetterView) -> None:
        """Put them there."""
        self.letters |= {each.id: each for each in letters}

    async def find(
        self,
        *,
        stream: str | None = None,
        channel: str | None = None,
        state: str = "open",
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetterView]:
        """See `gateway.seams.DeadLetters`."""
        matching = [
            each
            for each in self.letters.values()
            if each.id > after_id
            and stream in (None, each.stream)
            and channel in (None, each.channel)
            and state in ("all", each.state)
        ]
        found = sorted(matching, key=lambda each: each.id)[:limit]
        self._break(found[-1].id if found else None)
        return found

    async def get(self, letter_id: int) -> DeadLetterView | None:
        """See `gateway.seams.DeadLetters`."""
        return self.letters.get(letter_id)

    async def edit(self, letter_id: int, raw: bytes) -> DeadLetterView:
        """See `gateway.seams.DeadLetters`."""
        self._require_open(letter_id)
        self._require_taken(raw)
        self.letters[letter_id] = replace(self.letters[letter_id], raw=raw)
        return self.letters[letter_id]

    async def retry(self, letter_id: int) -> None:
        """See `gateway.seams.DeadLetters`."""
        self._break(letter_id)
        open_letter = self._require_open(letter_id)
        if not self.returns:
            self._require_taken(open_letter.raw)
        self.retried.append(open_letter.raw)
        self.letters[letter_id] = replace(open_letter, state="retried")
        if self.returns:
            self.add(replace(open_letter, id=max(self.letters) + 1))

    async def drop(self, letter_id: int) -> None:
        """See `gateway.seams.DeadLetters`."""
        self.letters[letter_id] = replace(self._require_open(letter_id), state="dropped")

    def _require_open(self, letter_id: int) -> DeadLetterView:
        found = self.letters[letter_id]
        if found.state != "open":
            raise BadRequest(f"Dead letter {letter_id} is {found.state}")
        return found

    def _require_taken(self, raw: bytes) -> None:
        try:
            number = json.loads(raw)["ID"]
        except (ValueError, KeyError, TypeError):
            raise BadRequest("Invalid JSON in inserts stream") from None
        if not isinstance(number, int):
            raise BadRequest("Can't coerce a field (column `ID`)")

    def _break(self, letter_id: int | None) -> None:
        if letter_id is not None and self.breaks_at is not None and letter_id >= self.breaks_at:
            raise SpoolBroken("the spool cannot be read: Input/output error")


class SpoolBroken(KsqlError):
    """As `protocol.errors.InternalError`, in words that a test can look for."""

    code = 50000


class EndlessLetters(ScriptedLetters):
    """Implements `gateway.seams.DeadLetters`: however many are asked for, there are more."""

    read_bytes = 0

    async def find(
        self,
        *,
        stream: str | None = None,
        channel: str | None = None,
        state: str = "open",
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetterView]:
        """See `gateway.seams.DeadLetters`."""
        await asyncio.to_thread(time.sleep, 0)  # A disk is asked in a thread: others get a turn.
        found = [letter(after_id + 1 + at, raw=b"x" * 10_000) for at in range(limit)]
        self.read_bytes += sum(len(each.raw) for each in found)
        return found


@dataclass
class ScriptedBatches:
    """Implements `gateway.seams.Batches`: remembers the verdicts."""

    batches: dict[str, BatchView] = field(default_factory=dict)
    verdicts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, *batches: BatchView) -> None:
        """Put them there."""
        self.batches |= {each.id: each for each in batches}

    async def all(self) -> list[BatchView]:
        """See `gateway.seams.Batches`."""
        return list(self.batches.values())

    async def retry(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        self._decide("retry", batch_id)

    async def accept(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        self._decide("accept", batch_id)

    async def drop(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        self._decide("drop", batch_id)

    def _decide(self, verdict: str, batch_id: str) -> None:
        if batch_id not in self.batches:
            raise NotFound(f"There is no batch {batch_id}")
        if self.batches[batch_id].state not in ("HELD", "FAILED"):
            raise BadRequest(f"Batch {batch_id} is {self.batches[batch_id].state}")
        del self.batches[batch_id]
        self.verdicts.append((verdict, batch_id))


@dataclass
class Operator:
    """An admin port on a real socket over scripted doors. Use `opened_operator`."""

    letters: ScriptedLetters = field(default_factory=ScriptedLetters)
    batches: ScriptedBatches = field(default_factory=ScriptedBatches)
    refusal: KsqlError | None = None
    """what is raised for whatever needs open rooms"""
    callers: Callers = field(default_factory=lambda: Callers("127.0.0.1"))
    _door: list[Door] = field(default_factory=list)

    @property
    def door(self) -> Door:
        """The server."""
        return self._door[0]

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.door.address
        return f"http://{host}:{port}"

    def require_running(self) -> None:
        """See `gateway.http.admin.AdminDoors`."""
        if self.refusal is not None:
            raise self.refusal


@contextlib.contextmanager
def opened_operator(**parts: Any) -> Iterator[Operator]:
    """An admin port, up for the block; ``parts`` of `Operator`."""
    made = Operator(**parts)
    doors = AdminDoors(
        health=lambda: {"isHealthy": True},
        require_running=made.require_running,
        dead_letters=made.letters,
        batches=made.batches,
    )
    limits = AdminLimits(body_bytes=BODY_BYTES, row_bytes=ROW_BYTES)
    with opened_door(make_admin_app(doors, limits, made.callers)) as door:
        made._door.append(door)
        yield made


# ── asking it ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reply:
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """Its body as lines of JSON."""
        return [json.loads(line) for line in self.body.splitlines()]


@contextlib.contextmanager
def asked(
    operator: Operator,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """A request on a connection of its own; ``headers`` may replace Host."""
    connection = http.client.HTTPConnection(*operator.door.address, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        given = headers if headers is not None else (JSON if body is not None else {})
        connection.request(method, path, body, given)
        yield connection.getresponse()


def ask(operator: Operator, method: str, path: str, *more: Any) -> Reply:
    """One request and its whole reply."""
    with asked(operator, method, path, *more) as response:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, response.read())


def send(operator: Operator, method: str, path: str, document: Any) -> Reply:
    """As `ask`, with a JSON document."""
    return ask(operator, method, path, json.dumps(document).encode())


def assert_refused(reply: Reply, status: int, code: int, *words: str) -> None:
    """The reply is an error of ksqlDB's form, and its message has the words."""
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert reply.document["@type"] == "generic_error"
    assert reply.document["error_code"] == code
    for word in words:
        assert word in reply.document["message"]
