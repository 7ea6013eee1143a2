"""The spool against plain lists, with crashes and reopening in between."""

import contextlib
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ingest.batches import BatchState
from gateway.ingest.layout import SpoolUnusable
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from gateway.seams import InsertSpec
from tests.model.spool_model import COLUMNS, SPEC, SpoolModel, read_contents
from tests.model.spool_steps import NAMES, SpoolSteps

SEED = st.integers(0, 1 << 32)
"""What a step is done to."""


def possible(name: str) -> "Callable[[Spools], bool]":
    """Whether there is something that the step can be done to."""

    def holds(spools: "Spools") -> bool:
        return getattr(spools.steps, name) in spools.steps.possible()

    return holds


class Spools(RuleBasedStateMachine):
    """Each rule is one transaction, but for those about the file itself."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-spool-"))
        self.copies = 0
        self.steps = SpoolSteps(SpoolFile(self.folder / "spool.db"), SpoolModel())
        self.spool_id = self.steps.spool.spool_id

    def _reopen(self, path: Path) -> None:
        self.steps = SpoolSteps(SpoolFile(path), self.steps.model)

    def teardown(self) -> None:
        self.steps.spool.close()
        shutil.rmtree(self.folder)

    # ── steps ──

    @rule(seed=SEED)
    def append(self, seed: int) -> None:
        self.steps.append(random.Random(seed))

    @rule(seed=SEED)
    def refuse(self, seed: int) -> None:
        self.steps.refuse(random.Random(seed))

    @precondition(possible("seal"))
    @rule(seed=SEED)
    def seal(self, seed: int) -> None:
        self.steps.seal(random.Random(seed))

    @precondition(possible("move"))
    @rule(seed=SEED)
    def move(self, seed: int) -> None:
        self.steps.move(random.Random(seed))

    @precondition(possible("finish"))
    @rule(seed=SEED)
    def finish(self, seed: int) -> None:
        self.steps.finish(random.Random(seed))

    @precondition(possible("split"))
    @rule(seed=SEED)
    def split(self, seed: int) -> None:
        self.steps.split(random.Random(seed))

    @precondition(possible("bury"))
    @rule(seed=SEED)
    def bury(self, seed: int) -> None:
        self.steps.bury(random.Random(seed))

    @precondition(possible("give_up"))
    @rule(seed=SEED)
    def give_up(self, seed: int) -> None:
        self.steps.give_up(random.Random(seed))

    @precondition(possible("see"))
    @rule(seed=SEED)
    def see(self, seed: int) -> None:
        self.steps.see(random.Random(seed))

    @precondition(possible("retry"))
    @rule(seed=SEED, what=st.sampled_from(["retry", "edit", "drop"]))
    def decide_on_a_letter(self, seed: int, what: str) -> None:
        getattr(self.steps, what)(random.Random(seed))

    @rule(seed=SEED)
    def forget(self, seed: int) -> None:
        self.steps.forget(random.Random(seed))

    @rule(name=st.sampled_from(NAMES), line=st.binary(min_size=1, max_size=40))
    def commit_a_batch(self, name: str, line: bytes) -> None:
        """The whole way at once, as it mostly goes: rules alone would seldom get this far."""
        row = line.replace(b"\n", b"\r") + b"\n"
        self.steps.append_chunk(name, [((name, "c1"), [row, row])])
        queue = self.steps.model.queues[name].id
        self.steps.seal_chunks(queue, len(self.steps.model.unsealed(queue)))
        newest = self.steps.model.batches[-1]
        self.steps.finish_batch(newest, BatchState.COMMITTED, queryable=False)

    # ── crashes ──

    @rule()
    def reopen(self) -> None:
        self.steps.spool.close()
        self._reopen(self.steps.spool.path)

    @rule()
    def crash_in_a_transaction(self) -> None:
        """What is left of it is the file and its log as they are on disk now."""
        spool, model = self.steps.spool, self.steps.model
        spool.begin()
        queue = spool.queue("lost", SPEC)
        chunk = spool.append(queue.id, b"lost\n", 1, 0)
        spool.seal((chunk.id, chunk.id), queue.id, 1, 5, 0)
        for batch in model.live:
            spool.finish(batch.record, BatchState.COMMITTED, model.now_ms, None)
        self.the_reader_sees_what_was_committed()
        self.copies += 1
        copy = self.folder / f"after-{self.copies}"
        copy.mkdir()
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{spool.path}{suffix}", copy / f"spool.db{suffix}")
        spool.rollback()
        self.the_sums_are_right()
        spool.close()
        self._reopen(copy / "spool.db")

    # ── what is always so ──

    @invariant()
    def the_reader_sees_what_was_committed(self) -> None:
        assert self.steps.spool.spool_id == self.spool_id
        assert read_contents(self.steps.spool.path) == self.steps.model.contents()

    @invariant()
    def the_sums_are_right(self) -> None:
        self.steps.check_sums()


TestSpools = Spools.TestCase
TestSpools.settings = settings(deadline=None, max_examples=15, stateful_step_count=20)


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
    alter(path, "UPDATE meta SET value = '3' WHERE key = 'format'")
    with pytest.raises(SpoolUnusable, match="has spool format 3, this version reads up to 2"):
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
