"""The one thread that writes: group commit, and the hunt for the row that spoils a batch.

Batches that wait share a transaction, because a commit costs about the same for one as for
twenty. If the transaction fails, each of its batches is tried alone. A batch that fails alone is
rewritten (`rowfile.rewritten`: the last of equal keys) and tried once more, and only then failed,
with the line that is at fault.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from gateway.seams import Submission, TaskFailure
from gateway.sql.duck import complaint
from gateway.sql.rowfile import MalformedRow, rewritten
from gateway.warehouse.embedded import storage
from gateway.warehouse.embedded.tables import columns
from gateway.warehouse.embedded.tasks import Tasks

GROUP_LIMIT_BYTES = 64 * 1024 * 1024
"""A transaction takes no further batch once it has this much."""

_CANNOT_PARSE = "CannotParseExternalData"
"""Druid's code for a row that cannot be read (MSQ faults)."""


@dataclass(frozen=True, slots=True)
class Job:
    """A submission whose rows are in a file."""

    submission: Submission
    path: Path


class _WrongCount(Exception):
    """The file holds another number of rows than was said."""


class Writer:
    """Commits jobs in the order of their arrival. ``connection`` is its own from `start` on."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tasks: Tasks) -> None:
        self._connection = connection
        self._tasks = tasks
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._known: dict[str, dict[str, str]] = {}
        self._seq = 0
        self._thread = threading.Thread(target=self._run, name="embedded-writer")

    def start(self) -> None:
        """Begin; the number of the last commit is read from the file."""
        row = self._connection.execute("SELECT max(seq) FROM meta.commits").fetchone()
        self._seq = int(row[0] or 0) if row else 0
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue a job; its task is running already."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Commit what is queued, then end and close the connection. Blocks."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        for group in self._groups():
            self._commit(group)

    def _groups(self) -> Iterator[list[Job]]:
        """What waits now, up to the limit; ends at `stop`."""
        while (job := self._jobs.get()) is not None:
            group, size = [job], job.submission.content.size_bytes
            ended = False
            while size < GROUP_LIMIT_BYTES and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    ended = True
                    break
                group.append(following)
                size += following.submission.content.size_bytes
            yield group
            if ended:
                return

    # committing

    def _commit(self, group: list[Job]) -> None:
        try:
            self._transact(group)
        except (duckdb.Error, _WrongCount) as error:
            if len(group) > 1:
                for job in group:
                    self._commit([job])
                return
            self._repair(group[0], error)
        for job in group:
            job.path.unlink(missing_ok=True)

    def _transact(self, group: list[Job]) -> None:
        """All of the group's rows and commits, or nothing."""
        self._connection.begin()
        try:
            for job in group:
                self._insert(job)
            self._connection.commit()
        except BaseException:
            self._known.clear()
            self._rollback()
            raise
        for job in group:
            self._tasks.succeed(job.submission.task_id)

    def _rollback(self) -> None:
        # A failed commit has rolled back already, and says so.
        try:
            self._connection.rollback()
        except duckdb.TransactionException:
            return

    def _insert(self, job: Job) -> None:
        submission, spec = job.submission, job.submission.spec
        for statement in storage.changes(spec, self._columns(spec.datasource)):
            self._connection.execute(statement)
            self._known.pop(spec.datasource, None)
        self._seq += 1
        text = storage.insert(spec, job.path, submission.batch_id, self._seq)
        found = self._connection.execute(text).fetchone()
        rows = int(found[0]) if found else 0
        if rows != submission.rows:
            raise _WrongCount(f"the batch holds {rows} rows, not {submission.rows}")
        self._connection.execute(
            "INSERT INTO meta.commits VALUES (?, ?, ?, ?, ?)",
            [submission.task_id, submission.batch_id, spec.datasource, rows, self._seq],
        )

    def _columns(self, datasource: str) -> dict[str, str] | None:
        """Stored types by name, remembered between batches; None if there is no table."""
        known = self._known.get(datasource)
        if known is None:
            known = columns(self._connection, datasource)
            if known:
                self._known[datasource] = known
        return known or None

    # a batch that failed alone

    def _repair(self, job: Job, error: Exception) -> None:
        task_id = job.submission.task_id
        if isinstance(error, duckdb.Error) and not _rows_at_fault(error):
            self._tasks.fail(task_id, TaskFailure(code="Unwritable", message=complaint(error)))
            return
        try:
            fixed = self._rewrite(job)
        except MalformedRow as found:
            self._fail(job, f"Unable to parse row ({found}) (Line: {found.line})", found.line)
            return
        try:
            self._transact([fixed])
        except (duckdb.Error, _WrongCount) as again:
            self._blame(fixed, again)

    def _rewrite(self, job: Job) -> Job:
        """The job with its rows spelt anew, in place."""
        fixed = job.path.with_suffix(".fixed")
        with job.path.open("rb") as source, fixed.open("wb") as target:
            names = storage.long_decimals(job.submission.spec)
            target.writelines(rewritten(source, names))
        fixed.replace(job.path)
        return job

    def _blame(self, job: Job, error: Exception) -> None:
        if not isinstance(error, duckdb.Error):
            self._fail(job, str(error), None)
            return
        reason = complaint(error)
        line = self._first_bad_line(job)
        if line is None and isinstance(error, duckdb.ConversionException):
            # It can be read, and the table that is there has a column of another type.
            self._fail(job, f"Unable to store a row ({reason})", None)
        elif line is None:
            self._tasks.fail(job.submission.task_id, TaskFailure(code="Unwritable", message=reason))
        elif isinstance(error, duckdb.ConstraintException):
            column = job.submission.spec.time_column
            text = f"the time column '{column}' is null (Line: {line})"
            self._fail(job, text, line, "InsertTimeNull")
        else:
            self._fail(job, f"Unable to parse row ({reason}) (Line: {line})", line)

    def _fail(self, job: Job, message: str, line: int | None, code: str = _CANNOT_PARSE) -> None:
        failure = TaskFailure(code=code, message=message, line=line, data_error=True)
        self._tasks.fail(job.submission.task_id, failure)

    def _first_bad_line(self, job: Job) -> int | None:
        """The first line that cannot be read, by halving; None if all can."""
        lines = [line + b"\n" for line in job.path.read_bytes().split(b"\n")]
        good, bad = 0, len(lines)
        if self._readable(job, lines):
            return None
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._readable(job, lines[good:middle]):
                good = middle
            else:
                bad = middle
        return bad

    def _readable(self, job: Job, lines: list[bytes]) -> bool:
        part = job.path.with_suffix(".part")
        part.write_bytes(b"".join(lines))
        try:
            self._connection.execute(storage.probe(job.submission.spec, part)).fetchall()
        except duckdb.Error:
            return False
        finally:
            part.unlink()
        return True


def _rows_at_fault(error: duckdb.Error) -> bool:
    """Whether the error can come from what the rows say, rather than from the disk or memory."""
    return not isinstance(
        error,
        duckdb.IOException
        | duckdb.OutOfMemoryException
        | duckdb.FatalException
        | duckdb.InternalException
        | duckdb.TransactionException,
    )
