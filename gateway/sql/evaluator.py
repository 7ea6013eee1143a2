"""Push queries over batches: an in-memory DuckDB of its own, closed to everything but its rows."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import duckdb

from gateway.seams import QueryBroken, RowLines
from gateway.sql.duck import close_off, complaint
from gateway.sql.push import PushQuery
from gateway.sql.rowfile import LONG_NUMBER, MalformedRow, relation, rewritten


class PushEvaluator:
    """Evaluates push queries, blocking: use it from one thread, and `close` it.

    ``folder`` is where the rows of a batch lie while they are evaluated (it is made, and removed
    at the end); by default a new one among the system's temporary folders.
    """

    def __init__(
        self, folder: Path | None = None, *, memory_limit: str = "512MB", threads: int = 1
    ) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder or Path(tempfile.mkdtemp(prefix="headrace-push-"))
        self._connection = duckdb.connect()
        settings = {"memory_limit": f"'{memory_limit}'", "threads": str(threads)}
        close_off(self._connection, self._folder, settings)
        self._batch: bytes | None = None
        self._files = 0

    def evaluate(self, push: PushQuery, batch_raw: bytes) -> RowLines:
        """The rows of ``batch_raw`` (spooled lines of the source) that pass, in their order.

        Several queries over one batch cost less one after another: the rows are laid out once.
        Raises `QueryBroken` if the expressions fail on a row.
        """
        if not batch_raw:
            return RowLines(b"", 0)
        path = self._lay_out(batch_raw)
        if push.numbers_as_text and LONG_NUMBER.search(batch_raw):
            return self._evaluate_rewritten(push, batch_raw)
        try:
            return self._run(push, path)
        except duckdb.Error:
            # A key that stands twice fails the reader; any other fault fails again.
            return self._evaluate_rewritten(push, batch_raw)

    def close(self) -> None:
        """Give back the memory and the folder."""
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "PushEvaluator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lay_out(self, batch_raw: bytes) -> Path:
        path = self._folder / "batch.json"
        if self._batch is not batch_raw:
            path.write_bytes(batch_raw)
            self._batch = batch_raw
        return path

    def _evaluate_rewritten(self, push: PushQuery, batch_raw: bytes) -> RowLines:
        path = self._folder / "rewritten.json"
        try:
            lines = batch_raw.removesuffix(b"\n").split(b"\n")
            path.write_bytes(b"".join(rewritten(lines, push.numbers_as_text)))
            return self._run(push, path)
        except MalformedRow as error:
            raise QueryBroken(f"line {error.line} of a batch cannot be read: {error}") from error
        except duckdb.Error as error:
            raise QueryBroken(complaint(error)) from error
        finally:
            path.unlink(missing_ok=True)

    def _run(self, push: PushQuery, path: Path) -> RowLines:
        text = f"{push.before}{relation(path, push.fields)}{push.after}"
        rows = self._connection.execute(text).fetchall()
        if not rows:
            return RowLines(b"", 0)
        return RowLines(("\n".join([line for (line,) in rows]) + "\n").encode(), len(rows))
