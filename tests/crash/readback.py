"""What is there after the campaign: rows by SQL, channels, batches. It only asks.

Rows are read through the gateway (``/query-stream``), each of them, and counted here: what a
GROUP BY would hide in the warehouse is seen. `stored_in_druid` asks Druid itself, past the gateway.
Batches are looked at in the spool file too, read only: ``/healthcheck`` names held ones alone.
"""

import asyncio
import json
import sqlite3
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.crash.wire import Address, ask, exchange
from tests.crash.witness import Stored

COLUMNS = "PRODUCER STRING, N BIGINT, PAD STRING, AT TIMESTAMP"
DRUID_S = 60.0
TASK_STATES = ("running", "pending", "waiting")
LEVELS = ("spooled", "committed", "queryable")


async def declare(address: Address, stream: str, datasource: str, *, timed: bool) -> None:
    """Create a stream of `COLUMNS`; ``timed``: AT is its time, else the arrival is."""
    time_column = ", timestamp='at'" if timed else ""
    properties = f"kafka_topic='{datasource}', value_format='JSON'{time_column}"
    text = f"CREATE STREAM {stream} ({COLUMNS}) WITH ({properties});"
    await ask(address, "POST", "/ksql", {"ksql": text})


async def stored(address: Address, streams: Collection[str]) -> Stored:
    """How often each row is there, by a query of the gateway."""
    times: dict[str, Counter[int]] = defaultdict(Counter)
    for stream in streams:
        async for producer, number in _rows(address, f"SELECT PRODUCER, N FROM {stream};"):
            times[producer][number] += 1
    return times


async def _rows(address: Address, sql: str) -> Any:
    properties = {"headrace.frames": "coalesced"}
    document = json.dumps({"sql": sql, "properties": properties}).encode()
    async with exchange(address, "POST", "/query-stream", document) as made:
        await made.response()
        header, rest = b"", b""
        while data := await made.receive(DRUID_S):
            lines, _, rest = (rest + data).rpartition(b"\n")
            for line in filter(None, lines.split(b"\n")):
                if not header:
                    header = line
                    continue
                row = json.loads(line)
                assert isinstance(row, list), f"the result broke off: {row}"
                yield row
        assert header, "the result has no header"
        assert not rest, f"the result ended within a line: {rest!r}"


async def stored_in_druid(router: str, datasources: Collection[str]) -> Stored:
    """The same from Druid itself."""

    def rows() -> dict[str, Counter[int]]:
        times: dict[str, Counter[int]] = defaultdict(Counter)
        for name in datasources:
            sql = f'SELECT "PRODUCER", "N" FROM "{name}"'
            for producer, number in _druid_rows(router, sql):
                times[producer][number] += 1
        return times

    return await asyncio.to_thread(rows)


def _druid_rows(router: str, sql: str) -> Iterator[tuple[str, int]]:
    body = json.dumps({"query": sql, "resultFormat": "arrayLines"}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{router}/druid/v2/sql", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=DRUID_S) as reply:
        lines = reply.read().split(b"\n")
    assert lines[-2:] == [b"", b""], "Druid's result is not complete"
    for line in filter(None, lines):
        producer, number = json.loads(line)
        yield producer, number


async def tasks_in_druid(router: str) -> list[str]:
    """Druid's tasks that are not over, and its workers."""

    def look() -> list[str]:
        found: list[str] = []
        for path in ("workers", *(f"tasks?state={state}" for state in TASK_STATES)):
            with urllib.request.urlopen(f"{router}/druid/indexer/v1/{path}", timeout=5) as reply:
                document = json.load(reply)
            if path == "workers":
                used = [
                    f"{one['currCapacityUsed']}/{one['worker']['capacity']}" for one in document
                ]
                found.append(f"slots used: {', '.join(used) or 'no worker'}")
            else:
                found += [f"{one['id']} {one['statusCode']} {path}" for one in document]
        return found

    try:
        return await asyncio.to_thread(look)
    except (OSError, ValueError) as error:
        return [f"Druid does not tell its tasks: {error!r}"]


async def channel(address: Address, target: str, name: str) -> dict[str, int]:
    """Where a channel stands, by level."""
    document = await ask(address, "GET", f"/channels/{target}/{name}")
    return {level: int(document["nextOffset"][level]) for level in LEVELS}


async def held(address: Address) -> list[str]:
    """Batches that wait for the operator."""
    document = await ask(address, "GET", "/healthcheck")
    return list(document["details"]["batches"]["held"])


def unfinished(spool: Path) -> list[str]:
    """Batches that are not committed, each with its state, from the spool file."""
    db = sqlite3.connect(f"{spool.resolve().as_uri()}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT id, state, error FROM batch WHERE state <> 'COMMITTED'")
        return [f"{name} {state} {error or ''}".strip() for name, state, error in rows.fetchall()]
    finally:
        db.close()
