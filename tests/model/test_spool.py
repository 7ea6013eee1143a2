"""The spool against plain lists, with crashes and reopening in between."""

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ingest.batches import BatchState
from gateway.ingest.spool import (
    BatchRecord,
    ChunkRecord,
    DeadLetter,
    QueueRecord,
    SpoolFile,
    SpoolReader,
    SpoolUnusable,
)
from gateway.seams import InsertSpec
from tests.ingest_house import COLUMNS, SPEC

FINAL = [BatchState.COMMITTED, BatchState.COMMITTED, BatchState.FAILED]
NAMES = ["S", "T"]


@dataclass
class Sealed:
    """A batch of the model. ``gone``: its chunks were forgotten; ``erased``: its record was."""

    record: BatchRecord
    chunks: list[tuple[ChunkRecord, bytes]]
    final_ms: int | None = None
    gone: bool = False
    erased: bool = False
    letters: list[DeadLetter] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return b"" if self.gone else b"".join(raw for _, raw in self.chunks)


class Spools(RuleBasedStateMachine):
    """Each rule is one transaction; the model is changed once it is committed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-spool-"))
        self.copies = 0
        self.now_ms = 1000
        self.queues: dict[str, QueueRecord] = {}
        self.unsealed: list[tuple[ChunkRecord, bytes]] = []
        self.batches: list[Sealed] = []
        self.commits: list[Sealed] = []
        self._open(self.folder / "spool.db")
        self.spool_id = self.spool.spool_id

    def _open(self, path: Path) -> None:
        self.path = path
        self.spool = SpoolFile(path)
        self.reader = SpoolReader(path)

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)

    # ── rows ──

    @rule(
        name=st.sampled_from(NAMES), raws=st.lists(st.binary(max_size=40), min_size=1, max_size=3)
    )
    def append(self, name: str, raws: list[bytes]) -> None:
        self.spool.begin()
        queue = self.spool.queue(name, SPEC)
        added = [(self.spool.append(queue.id, raw, 2, self.now_ms), raw) for raw in raws]
        self.spool.commit()
        assert self.queues.setdefault(name, queue) == queue
        assert [chunk.size_bytes for chunk, _ in added] == [len(raw) for raw in raws]
        newest = self.unsealed[-1][0].id if self.unsealed else 0
        assert all(chunk.id > newest for chunk, _ in added)
        self.unsealed += added

    # ── batches ──

    @precondition(lambda self: self.unsealed)
    @rule(data=st.data())
    def seal(self, data: st.DataObject) -> None:
        queue = data.draw(st.sampled_from(sorted({chunk.queue for chunk, _ in self.unsealed})))
        waiting = [item for item in self.unsealed if item[0].queue == queue]
        self._seal(queue, waiting[: data.draw(st.integers(1, len(waiting)))])

    def _seal(self, queue: int, part: list[tuple[ChunkRecord, bytes]]) -> None:
        first, last = part[0][0].id, part[-1][0].id
        rows, size = 2 * len(part), sum(len(raw) for _, raw in part)
        self.spool.begin()
        batch_id = self.spool.seal((first, last), queue, rows, size, self.now_ms)
        self.spool.commit()
        number = int(batch_id.rpartition("-")[2])
        assert batch_id == f"hr-{self.spool_id}-{number:08d}"
        assert number == (self.batches[-1].record.number + 1 if self.batches else 1)
        record = BatchRecord(
            number=number, id=batch_id, queue=queue, first_chunk=first, last_chunk=last, rows=rows,
            size_bytes=size, state=BatchState.SEALED, attempt=1,
        )  # fmt: skip
        self.batches.append(Sealed(record, part))
        self.unsealed = [item for item in self.unsealed if item not in part]

    def _live(self) -> list[Sealed]:
        return [batch for batch in self.batches if batch.final_ms is None]

    @precondition(lambda self: self._live())
    @rule(
        data=st.data(),
        state=st.sampled_from([BatchState.SEALED, BatchState.HELD]),
        error=st.none() | st.text(max_size=5),
    )
    def move(self, data: st.DataObject, state: BatchState, error: str | None) -> None:
        batch = data.draw(st.sampled_from(self._live()))
        attempt = batch.record.attempt + 1
        self.spool.begin()
        self.spool.move(batch.record.number, state, attempt, error)
        self.spool.commit()
        batch.record = replace(batch.record, state=state, attempt=attempt, error=error)
        assert batch.record.task_id == f"{batch.record.id}-a{attempt}"

    @precondition(lambda self: self._live())
    @rule(data=st.data(), state=st.sampled_from(FINAL), error=st.none() | st.text(max_size=5))
    def finish(self, data: st.DataObject, state: BatchState, error: str | None) -> None:
        self._finish(data.draw(st.sampled_from(self._live())), state, error)

    def _finish(self, batch: Sealed, state: BatchState, error: str | None) -> None:
        self.now_ms += 10
        self.spool.begin()
        commit_seq = self.spool.finish(batch.record.number, state, self.now_ms, error)
        self.spool.commit()
        batch.final_ms = self.now_ms
        batch.record = replace(batch.record, state=state, error=error, commit_seq=commit_seq)
        if state is BatchState.COMMITTED:
            self.commits.append(batch)
            assert commit_seq == len(self.commits)
        else:
            assert commit_seq is None

    @precondition(lambda self: self._live())
    @rule(data=st.data(), line=st.integers(1, 6))
    def bury(self, data: st.DataObject, line: int) -> None:
        batch = data.draw(st.sampled_from(self._live()))
        letter = DeadLetter(
            batch=batch.record.number, line=line, code="c", message="m", at_ms=self.now_ms, raw=b"r"
        )
        self.spool.begin()
        self.spool.bury(letter)
        self.spool.bury(replace(letter, message="the first word stays"))
        self.spool.commit()
        if line not in {known.line for known in batch.letters}:
            batch.letters.append(letter)

    @rule(name=st.sampled_from(NAMES), raw=st.binary(min_size=1, max_size=40))
    def commit_a_batch(self, name: str, raw: bytes) -> None:
        """The whole way at once, as it mostly goes: rules alone would seldom get this far."""
        self.append(name, [raw])
        queue = self.queues[name].id
        part = [item for item in self.unsealed if item[0].queue == queue]
        self._seal(queue, part)
        self._finish(self.batches[-1], BatchState.COMMITTED, None)

    @rule(age_ms=st.sampled_from([0, 15, 10_000]), keep_bytes=st.sampled_from([0, 60, 10_000]))
    def forget(self, age_ms: int, keep_bytes: int) -> None:
        before = self.reader.stored_bytes()
        self.spool.begin()
        freed = self.spool.forget(self.now_ms - age_ms, keep_bytes)
        again = self.spool.forget(self.now_ms - age_ms, keep_bytes)
        self.spool.commit()
        assert again == 0, "bytes cannot be freed twice"
        kept = 0
        for batch in reversed(self.commits):
            kept += batch.record.size_bytes
            assert batch.final_ms is not None
            if kept > keep_bytes or batch.final_ms < self.now_ms - age_ms:
                batch.gone = True
                batch.erased = batch is not self.commits[-1]
        assert freed == before - self.reader.stored_bytes()

    # ── crashes ──

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self._open(self.path)

    @rule()
    def crash_in_a_transaction(self) -> None:
        """What a power loss leaves is the file and its log as they are on disk now."""
        self.spool.begin()
        queue = self.spool.queue("lost", SPEC)
        chunk = self.spool.append(queue.id, b"lost\n", 1, 0)
        self.spool.seal((chunk.id, chunk.id), queue.id, 1, 5, 0)
        for batch in self._live():
            self.spool.finish(batch.record.number, BatchState.COMMITTED, self.now_ms, None)
        self.the_reader_sees_what_was_committed()
        self.copies += 1
        copy = self.folder / f"after-{self.copies}"
        copy.mkdir()
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{self.path}{suffix}", copy / f"spool.db{suffix}")
        self.spool.rollback()
        self.spool.close()
        self._open(copy / "spool.db")

    # ── what is always so ──

    @invariant()
    def the_reader_sees_what_was_committed(self) -> None:
        assert self.spool.spool_id == self.spool_id
        assert self.reader.queues() == sorted(self.queues.values(), key=lambda queue: queue.id)
        assert self.reader.unsealed() == [chunk for chunk, _ in self.unsealed]
        live = [batch.record for batch in self._live()]
        assert self.reader.unfinished() == live
        retained = [batch.record for batch in self.commits if not batch.erased]
        assert self.reader.committed_after(0, 1000) == retained
        assert self.reader.log_end() == len(self.commits)

    @invariant()
    def every_byte_is_where_it_was_put(self) -> None:
        stored = sum(len(raw) for _, raw in self.unsealed)
        for batch in self.batches:
            assert b"".join(self.reader.content(batch.record)) == batch.content
            letters = sorted(batch.letters, key=lambda letter: letter.line)
            assert self.reader.dead_letters(batch.record.number) == letters
            chunks = [] if batch.gone else [chunk for chunk, _ in batch.chunks]
            assert self.reader.chunks(batch.record) == chunks
            stored += len(batch.content)
        assert self.reader.stored_bytes() == stored


TestSpools = Spools.TestCase
TestSpools.settings = settings(deadline=None, max_examples=20, stateful_step_count=20)


# ── opening ──────────────────────────────────────────────────────────────────────────────────


def test_rows_under_another_specification_are_another_queue(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "spool.db")
    spool.begin()
    other = InsertSpec(datasource="ds", columns=COLUMNS, partitioned_by="HOUR")
    ids = [spool.queue(*key).id for key in [("S", SPEC), ("S", other), ("T", SPEC), ("S", SPEC)]]
    spool.commit()
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]
    assert [queue.spec for queue in SpoolReader(tmp_path / "spool.db").queues()] == [
        SPEC, other, SPEC,
    ]  # fmt: skip
    spool.close()


def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "spool.db")
    assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)
    spool.close()


def test_two_spools_have_names_of_their_own(tmp_path: Path) -> None:
    one, other = SpoolFile(tmp_path / "one.db"), SpoolFile(tmp_path / "other.db")
    assert one.spool_id != other.spool_id
    one.close()
    other.close()


def alter(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def test_another_format_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    SpoolFile(path).close()
    alter(path, "UPDATE meta SET value = '2' WHERE key = 'format'")
    with pytest.raises(SpoolUnusable, match="has spool format 2, this version reads 1"):
        SpoolFile(path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"these are somebody's notes\n" * 1000)
    with pytest.raises(SpoolUnusable, match=r"spool\.db is not a spool or is damaged"):
        SpoolFile(path)
    assert path.read_bytes().startswith(b"these are somebody's notes\n")


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    alter(path, "CREATE TABLE t (a)")
    with pytest.raises(SpoolUnusable, match="is not a spool or is damaged"):
        SpoolFile(path)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta",
        "DELETE FROM meta WHERE key = 'spool_id'",
        "UPDATE meta SET value = 'x' WHERE key = 'format'",
    ],
)
def test_a_spool_without_its_marks_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "spool.db"
    SpoolFile(path).close()
    alter(path, damage)
    with pytest.raises(SpoolUnusable):
        SpoolFile(path)


def test_a_place_that_cannot_be_opened_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="nowhere"):
        SpoolFile(tmp_path / "nowhere" / "spool.db")


def test_the_making_of_a_spool_is_one_transaction(tmp_path: Path) -> None:
    """Whatever a crash leaves of a new file, it is empty or whole."""
    path = tmp_path / "spool.db"
    seen = list[tuple[int, int]]()

    class Watched(SpoolFile):
        def _prepare(self) -> None:
            self._db.set_trace_callback(lambda _: look())
            super()._prepare()
            self._db.set_trace_callback(None)

    def look() -> None:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            marks = db.execute("SELECT count(*) FROM meta").fetchone()[0] if tables else 0
            seen.append((tables, marks))

    Watched(path).close()
    assert seen
    assert all(marks == 2 for tables, marks in seen if tables)
