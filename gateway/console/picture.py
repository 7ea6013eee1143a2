"""The picture: one document of everything that the page, `headrace top` and a script show.

Members are told from top to bottom as they are read: vitals, streams, batches, queries, letters,
sources. Every list is ``{"total": n, "items": [...]}`` with at most `ITEMS_MAX` items, the newest
or the first; every text is cut. Times are epoch milliseconds, sizes bytes, durations seconds unless
a name says otherwise.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import structlog

from gateway.console.doors import ConsoleDoors, OpenStream
from gateway.console.rates import Rates
from gateway.console.tasks import TaskBoard
from gateway.seams import BatchView, DeadLetterView, Source
from protocol.entities import LiveQuery

Document = dict[str, Any]

ITEMS_MAX = 50
TEXT_MAX = 500
"""characters of a statement, a row, a reason"""
COLUMNS_MAX = 60
"""columns of one source"""

_WAITS_FOR_SOMEBODY = frozenset({"HELD", "FAILED"})
_NOTHING: Document = {"total": 0, "items": []}

_log = structlog.get_logger("headrace.console")


class Painter:
    """Takes pictures of one gateway. ``now_ms`` is the wall clock."""

    def __init__(
        self, doors: ConsoleDoors, rates: Rates, tasks: TaskBoard, now_ms: Callable[[], int]
    ) -> None:
        self._doors = doors
        self._rates = rates
        self._tasks = tasks
        self._now_ms = now_ms
        self._started_ms = now_ms()

    async def picture(self) -> Document:
        """The gateway now. While its rooms are not open, only what can be told then."""
        now_ms = self._now_ms()
        vitals: Document = {
            "atMs": now_ms,
            "startedMs": self._started_ms,
            "version": self._doors.version,
            "state": self._doors.state(),
            "warehouse": {"name": self._doors.warehouse, "awaySinceMs": None, "why": None},
            **self._rates.document(),
        }
        return vitals | (await self._rooms() if self._doors.is_open() else _closed_rooms())

    async def _rooms(self) -> Document:
        doors = self._doors
        batches, letters = await asyncio.gather(
            _or_unknown(self._batches()), _or_unknown(self._letters())
        )
        health = doors.health()["details"]
        fill = doors.spool()
        return {
            "warehouse": _warehouse(doors.warehouse, health["warehouse"]),
            "spool": {
                "storedBytes": fill.stored_bytes,
                "limitBytes": fill.limit_bytes,
                "oldestRowAgeS": round(fill.oldest_row_age_s, 1),
                "takesRows": bool(health["spool"]["isHealthy"]),
                "why": health["spool"].get("state"),
            },
            "streams": _some([_stream(one) for one in doors.open_streams()], _by_name),
            **batches,
            "committed": {
                "total": len(self._tasks.committed),
                "items": [_committed(row) for row in self._tasks.committed],
            },
            "queries": _some([_query(one) for one in doors.live_queries()], _newest_query),
            **letters,
            "sources": _sources(doors.sources()),
        }

    async def _batches(self) -> Document:
        """Members ``batches``, on their way, and ``held``, which wait for the operator."""
        found = await self._doors.batches()
        held = [one for one in found if one.state in _WAITS_FOR_SOMEBODY]
        moving = [one for one in found if one.state not in _WAITS_FOR_SOMEBODY]
        return {"batches": self._listed(moving), "held": self._listed(held)}

    async def _letters(self) -> Document:
        found = await self._doors.newest_letters(ITEMS_MAX, TEXT_MAX)
        items = [_letter(one) for one in found.newest[:ITEMS_MAX]]
        return {"deadLetters": {"total": found.total, "items": items}}

    def _listed(self, batches: Sequence[BatchView]) -> Document:
        items = [_batch(one, self._tasks.of(one.id)) for one in batches[:ITEMS_MAX]]
        return {"total": len(batches), "rows": sum(one.rows for one in batches), "items": items}


# ── what cannot be told ──────────────────────────────────────────────────────────────────────


async def _or_unknown(read: Coroutine[Any, Any, Document]) -> Document:
    """A disk that cannot be read takes its own part of the picture away, and no other."""
    try:
        return await read
    except Exception as fault:  # noqa: BLE001 - whatever it was, the rest can be told
        _log.warning("part of the picture cannot be read", exc_info=fault)
        return {}


def _closed_rooms() -> Document:
    """As long as rooms are being opened, or after they were closed."""
    lists = ("streams", "batches", "held", "committed", "queries", "deadLetters", "sources")
    return {"spool": None, **dict.fromkeys(lists, _NOTHING)}


# ── one of each ──────────────────────────────────────────────────────────────────────────────


def _warehouse(name: str, health: Mapping[str, Any]) -> Document:
    return {
        "name": name,
        "awaySinceMs": health.get("unreachableSinceMs"),
        "why": _cut(health.get("state")),
    }


def _stream(stream: OpenStream) -> Document:
    return {
        "target": stream.target,
        "channel": stream.channel,
        "principal": stream.principal,
        "rows": stream.rows,
        "acked": stream.acked,
        "waitingBytes": stream.waiting_bytes,
    }


def _batch(batch: BatchView, task: Mapping[str, Any]) -> Document:
    if task.get("TASK_ID") != batch.task_id:
        task = {}
    return {
        "id": batch.id,
        "taskId": batch.task_id,
        "stream": batch.stream,
        "datasource": batch.datasource,
        "state": batch.state,
        "attempt": batch.attempt,
        "rows": batch.rows,
        "sizeBytes": batch.size_bytes,
        "sealedMs": batch.sealed_ms,
        "error": _cut(batch.error),
        "stage": task.get("STAGE"),
        "workers": task.get("WORKERS"),
        "rowsRead": task.get("ROWS_IN"),
        "rowsWritten": task.get("ROWS_OUT"),
        "segments": task.get("SEGMENTS"),
    }


def _committed(row: Mapping[str, Any]) -> Document:
    return {
        "id": row["BATCH"],
        "taskId": row["TASK_ID"],
        "stream": row["TARGET"],
        "attempt": row["ATTEMPT"],
        "rows": row["ROWS_OUT"],
        "sizeBytes": row["BYTES"],
        "segments": row["SEGMENTS"],
        "durationMs": row["DURATION_MS"],
        "committedMs": row["CHANGED_AT"],
    }


def _query(query: LiveQuery) -> Document:
    return {
        "id": query.query_id,
        "kind": query.kind,
        "state": query.state,
        "sql": _cut(query.sql),
        "rowsDelivered": query.rows_delivered,
        "sinceMs": query.since_ms,
        "level": query.level,
        "entriesBehind": query.entries_behind,
    }


def _letter(letter: DeadLetterView) -> Document:
    return {
        "id": letter.id,
        "stream": letter.stream,
        "channel": letter.channel,
        "offset": letter.offset,
        "batch": letter.batch,
        "code": letter.code,
        "message": _cut(letter.message),
        "atMs": letter.at_ms,
        "row": _cut(letter.raw.decode(errors="replace")),
    }


def _sources(sources: Sequence[Source]) -> Document:
    return {"total": len(sources), "items": [_source(one) for one in sources[:ITEMS_MAX]]}


def _source(source: Source) -> Document:
    return {
        "name": source.name,
        "kind": source.kind.value,
        "datasource": source.spec.datasource,
        "ack": None if source.ack is None else source.ack.value,
        "columnsTotal": len(source.columns),
        "columns": [
            {"name": column.name, "type": str(column.type)}
            for column in islice(source.columns, COLUMNS_MAX)
        ],
    }


# ── bounds ───────────────────────────────────────────────────────────────────────────────────


def _some(documents: Iterable[Document], order: Callable[[Document], Any]) -> Document:
    """The first `ITEMS_MAX` of them in an order that does not jump about."""
    every = sorted(documents, key=order)
    return {"total": len(every), "items": every[:ITEMS_MAX]}


def _by_name(stream: Document) -> tuple[str, str, int]:
    return (stream["target"], stream["channel"] or "", -stream["rows"])


def _newest_query(query: Document) -> tuple[int, str]:
    return (-(query["sinceMs"] or 0), query["id"])


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= TEXT_MAX:
        return text
    return text[: TEXT_MAX - 1] + "…"
