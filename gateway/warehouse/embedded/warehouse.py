"""The `Warehouse` over DuckDB: what the event loop sees. All blocking work is in threads."""

import asyncio
import mmap
import shutil
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import duckdb

from gateway.seams import (
    QueryRefused,
    Submission,
    Submitted,
    TaskFailure,
    TaskProgress,
    TaskState,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.sql.duck import close_off
from gateway.sql.rowfile import LONG_NUMBER, MalformedRow, rewritten
from gateway.warehouse.embedded import storage, tables
from gateway.warehouse.embedded.result import EmbeddedResult
from gateway.warehouse.embedded.tasks import Tasks
from gateway.warehouse.embedded.writer import Job, Writer
from protocol.types import Column

MAX_BATCHES = 2
"""Batches in flight at once: enough for group commit, few enough to bound the folder of rows."""

_CHECKPOINT_BYTES = "'256MB'"
"""A checkpoint for every 16 MB (DuckDB's default) halved the rate of 50,000-row batches."""

_UTC = ("UTC", "Etc/UTC", "Z")

T = TypeVar("T")


class EmbeddedWarehouse:
    """A warehouse in one DuckDB file. One process may open it.

    ``readers`` bounds the threads that serve queries, ``memory_limit`` (``"2GB"``) what DuckDB
    takes. Rows wait in the folder ``<file>.rows`` beside the file, which is emptied at `open`.
    """

    name = "embedded"
    queryable_at_commit = True

    def __init__(self, path: Path, *, readers: int = 1, memory_limit: str = "2GB") -> None:
        self._path = path
        self._folder = path.with_name(path.name + ".rows")
        self._memory_limit = memory_limit
        self._readers = readers
        self._tasks = Tasks()
        self._results: weakref.WeakSet[EmbeddedResult] = weakref.WeakSet()
        self._files = 0
        self._open = False

    async def open(self) -> None:
        """Open the file and start the threads.

        Raises `WarehouseUnreachable` if another process has the file, or it cannot be read.
        """
        self._read_pool = ThreadPoolExecutor(self._readers, "embedded-read")
        self._desk_pool = ThreadPoolExecutor(1, "embedded-desk")
        self._stage_pool = ThreadPoolExecutor(1, "embedded-stage")
        self._open = True
        try:
            await self._run(self._desk_pool, self._connect)
        except (duckdb.Error, OSError) as error:
            self._open = False
            self._shut_pools()
            raise WarehouseUnreachable(f"{self._path} cannot be opened: {error}") from error

    async def close(self) -> None:
        """Commit what was submitted, end the threads, close the file."""
        if not self._open:
            return
        for result in tuple(self._results):
            await result.close()
        self._open = False
        await asyncio.to_thread(self._disconnect)

    # going down

    def resumed(self, submission: Submission) -> None:
        """Nothing to do: a batch's rows were copied when it was submitted."""

    async def submit(self, submission: Submission) -> Submitted:
        """Queue the batch for the writer, its rows copied to a file.

        Raises `SubmissionRefused` for a column name that the warehouse keeps for itself.
        """
        storage.check(submission.spec)
        task_id = submission.task_id
        if not self._tasks.start(task_id, submission.rows):
            return Submitted.EXISTS
        try:
            if await self._run(self._desk_pool, lambda: self._committed([task_id])):
                self._tasks.succeed(task_id)
                return Submitted.EXISTS
            await self._run(self._stage_pool, lambda: self._stage(submission))
        except BaseException:
            self._tasks.forget(task_id)
            raise
        return Submitted.ACCEPTED

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """States by id; after a restart those of committed batches only."""
        states = {task_id: self._tasks.state(task_id) for task_id in task_ids}
        found = {task_id: state for task_id, state in states.items() if state is not None}
        unknown = [task_id for task_id in task_ids if task_id not in found]
        if unknown:
            committed = await self._run(self._desk_pool, lambda: self._committed(unknown))
            found.update(dict.fromkeys(committed, TaskState.SUCCESS))
        return found

    async def failure(self, task_id: str) -> TaskFailure:
        """Why the task failed."""
        return self._tasks.failure(task_id) or TaskFailure(
            code="UnknownTask", message=f"nothing is known of a failed task {task_id}"
        )

    async def task_progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        """Rows and duration of tasks that are over; a running one tells nothing. No stages."""
        return self._tasks.progress(task_ids)

    async def count(self, datasource: str, batch_id: str) -> int:
        """Rows committed under the batch id."""
        return await self._run(self._desk_pool, lambda: self._count(datasource, batch_id))

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """Committed rows are seen by every query that starts afterwards."""
        return await self.count(datasource, batch_id) >= rows

    async def free_batches(self) -> int:
        """Room beside the batches that wait or run."""
        return max(0, MAX_BATCHES - self._tasks.running())

    async def release(self, task_id: str) -> None:
        """Forget a final task; that it was committed stays on record."""
        if self._tasks.state(task_id) is not TaskState.RUNNING:
            self._tasks.forget(task_id)

    # coming up

    async def datasources(self) -> list[str]:
        """Names of the datasources, sorted."""
        return await self._run(self._desk_pool, lambda: tables.datasources(self._desk))

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """Columns in the table's order, `BATCH_COLUMN` among them; None if there is no table."""
        stored = await self._run(self._desk_pool, lambda: tables.columns(self._desk, datasource))
        return tables.described(stored) or None

    async def query(self, query: WarehouseQuery) -> EmbeddedResult:
        """Start a SELECT; raises `QueryRefused` for anything that is wrong with its text.

        There is one engine, which serves both that a query may ask for. Of Druid's context only
        ``sqlTimeZone`` would change an answer here: another than UTC is refused.
        """
        self._check_open()
        zone = query.context.get("sqlTimeZone", "UTC")
        if zone not in _UTC:
            raise QueryRefused(
                f"sqlTimeZone {zone!r} is not supported by the embedded warehouse: use UTC"
            )
        result = EmbeddedResult(self._connection.cursor(), self._read_pool)
        self._results.add(result)
        await result.start(query.sql, query.shows)
        return result

    # in threads

    def _check_open(self) -> None:
        if not self._open:
            raise WarehouseUnreachable("the embedded warehouse is closed")

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def _connect(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = duckdb.connect(str(self._path))
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        # Only now, with the file locked: the folder may be that of another process until then.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        settings = {
            "memory_limit": f"'{self._memory_limit}'",
            "checkpoint_threshold": _CHECKPOINT_BYTES,
        }
        close_off(self._connection, self._folder, settings)
        self._connection.execute(storage.SCHEMA)
        self._desk = self._connection.cursor()
        self._writer = Writer(self._connection.cursor(), self._tasks)
        self._writer.start()

    def _disconnect(self) -> None:
        self._stage_pool.shutdown()
        self._writer.stop()
        self._shut_pools()
        # The file is let go, and its log folded into it, with the last of the connections.
        self._desk.close()
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _shut_pools(self) -> None:
        for pool in (self._read_pool, self._desk_pool, self._stage_pool):
            pool.shutdown()

    def _committed(self, task_ids: list[str]) -> list[str]:
        rows = self._desk.execute(
            "SELECT task_id FROM meta.commits WHERE task_id IN (SELECT unnest($1))", [task_ids]
        ).fetchall()
        return [task_id for (task_id,) in rows]

    def _count(self, datasource: str, batch_id: str) -> int:
        row = self._desk.execute(
            "SELECT sum(rows) FROM meta.commits WHERE batch_id = ? AND datasource = ?",
            [batch_id, datasource],
        ).fetchone()
        return int(row[0] or 0) if row else 0

    def _stage(self, submission: Submission) -> None:
        """Copy the rows to a file and queue the job; numbers that need it are quoted here."""
        self._files += 1
        path = self._folder / f"{self._files}.json"
        try:
            with path.open("wb") as target:
                target.writelines(submission.content.read())
            if storage.long_decimals(submission.spec):
                _quote_long_numbers(path, submission)
        except MalformedRow:
            # The writer fails the task: it finds the same line again.
            pass
        except OSError as error:
            raise WarehouseUnreachable(f"the rows cannot be written: {error}") from error
        self._writer.put(Job(submission, path))


def _quote_long_numbers(path: Path, submission: Submission) -> None:
    """Rewrite the rows if any of their numbers may be longer than a double holds."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as source:
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            if LONG_NUMBER.search(raw) is None:
                return
        fixed = path.with_suffix(".quoted")
        with fixed.open("wb") as target:
            target.writelines(rewritten(source, storage.long_decimals(submission.spec)))
    fixed.replace(path)
