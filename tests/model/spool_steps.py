"""The transactions of a spool, done to a `SpoolFile` and, once committed, to the model's lists.

Each step is one transaction, made of the calls that the writer's thread and the committer make. A
step that raises has changed neither the file nor the lists. What a step is done to is drawn from a
`random.Random`, so that a seed, or hypothesis, names a whole history.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord, DeadLetter, LetterState, Place, Stretch
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import CARRIED_KEPT_MS, LETTERS_KEPT_MS, SpoolFile
from tests.model.spool_model import SPEC, ChannelKey, Chunk, Row, Sealed, SpoolModel

NAMES = ["S", "T"]
CHANNELS = ["c1", "c2"]
ON_THE_WAY = [BatchState.SEALED, BatchState.RUNNING, BatchState.WAITING, BatchState.HELD]
WAITS_FOR_THE_OPERATOR = (BatchState.HELD, BatchState.FAILED)
SETTLED = (BatchState.COMMITTED, BatchState.DROPPED)
CHANNELS_MAX = 1000


class SpoolSteps:
    """A spool that is open, and its model."""

    def __init__(self, spool: SpoolFile, model: SpoolModel) -> None:
        self.spool = spool
        self.model = model

    @contextmanager
    def transaction(self) -> Iterator[SpoolFile]:
        """As the writer's thread does it."""
        try:
            self.spool.begin()
            yield self.spool
            self.spool.commit()
        except BaseException:
            with suppress(sqlite3.Error):
                self.spool.rollback()
            raise

    def check_sums(self) -> None:
        """The sums that the writing side keeps in memory are those of what is on disk."""
        letters = self.model.open_letters
        assert self.spool.letters.open_bytes == sum(len(letter.raw) for letter in letters)
        retained = sum(batch.record.size_bytes for batch in self.model.log)
        assert self.spool._retained_bytes == retained

    def any_step(self, draw: random.Random) -> None:
        """One of the steps that are possible now."""
        draw.choice(self.possible())(draw)
        self.check_sums()

    def possible(self) -> list[Callable[[random.Random], None]]:
        """Steps that have something to be done to; likelier ones more than once."""
        model = self.model
        steps: list[Callable[[random.Random], None]] = [self.append] * 3
        steps += [self.refuse, self.forget]
        steps += [self.seal] * 3 if model.unsealed() else []
        steps += [self.finish] * 3 + [self.move, self.bury] if model.live else []
        steps += [self.split] * 2 if self._can_be_split() else []
        steps += [self.give_up] if model.in_state(*WAITS_FOR_THE_OPERATOR) else []
        steps += [self.retry, self.edit, self.drop] if model.open_letters else []
        steps += [self.see] if any(batch.carried for batch in model.unseen) else []
        return steps

    # ── rows ──

    def append(self, draw: random.Random) -> None:
        """A group commit: a chunk of several streams' rows, some of them on channels."""
        source = draw.choice(NAMES)
        groups = []
        for _ in range(draw.randint(1, 3)):
            key = (source, draw.choice(CHANNELS)) if draw.random() < 0.6 else None
            groups.append((key, [_line(draw) for _ in range(draw.randint(1, 4))]))
        self.append_chunk(source, groups)

    def append_chunk(
        self, source: str, groups: list[tuple[ChannelKey | None, list[bytes]]]
    ) -> None:
        """A chunk of these rows."""
        model = self.model
        ends = dict(model.channels)
        rows = []
        for key, lines in groups:
            first = ends.get(key, 0) if key else 0
            rows += [Row(line, key, first + at if key else 0) for at, line in enumerate(lines)]
            if key:
                ends[key] = first + len(lines)
        raw = b"".join(row.line for row in rows)
        with self.transaction() as spool:
            queue = spool.queue(source, SPEC)
            record = spool.append(queue.id, raw, len(rows), model.now_ms)
            at_row = 0
            for key, lines in groups:
                if key is not None:
                    self._lay(key, Place(record.id, at_row), rows[at_row].offset, len(lines))
                at_row += len(lines)
        assert model.queues.setdefault(source, queue) == queue
        assert (record.queue, record.rows, record.size_bytes) == (queue.id, len(rows), len(raw))
        assert record.id > max(model.chunks, default=0)
        model.chunks[record.id] = Chunk(record, rows)
        model.channels = ends

    def refuse(self, draw: random.Random) -> None:
        """A row of a channel that failed its check: its offset is taken, and it is a letter."""
        source, model = draw.choice(NAMES), self.model
        key, raw = (source, draw.choice(CHANNELS)), _line(draw)
        offset = model.channels.get(key, 0)
        letter = DeadLetter(
            queue=0, code="40000", message="no", at_ms=model.now_ms, raw=raw,
            channel=key[1], offset=offset, sealed_bytes=len(raw), spooled=False,
        )  # fmt: skip
        with self.transaction() as spool:
            queue = spool.queue(source, SPEC)
            letter = replace(letter, queue=queue.id)
            channel = self._channel(key)
            assert spool.channels.advance(channel, offset, 1)
            assert not spool.channels.advance(channel, offset, 1), "it stands beyond it"
            number = spool.letters.bury(letter, (channel, offset))
        model.queues.setdefault(source, queue)
        model.channels[key] = offset + 1
        self._keep(replace(letter, id=number))

    def _lay(self, key: ChannelKey, place: Place, offset: int, rows: int) -> None:
        queue = self.spool.queue(key[0], SPEC).id
        channel = self._channel(key)
        assert self.spool.channels.advance(channel, offset, rows)
        stretch = Stretch(
            queue=queue, chunk=place.chunk, at_row=place.row, rows=rows, first_offset=offset
        )
        self.spool.channels.lay(channel, stretch)

    def _channel(self, key: ChannelKey) -> int:
        found = self.spool.channels.find(*key)
        made = found[0] if found else self.spool.channels.make(*key, CHANNELS_MAX)
        assert made is not None
        return made

    # ── batches ──

    def seal(self, draw: random.Random) -> None:
        """The first chunks of a queue that are in no batch become one."""
        queue = draw.choice(self.model.unsealed()).record.queue
        self.seal_chunks(queue, draw.randint(1, len(self.model.unsealed(queue))))

    def seal_chunks(self, queue: int, count: int) -> None:
        """The first so many."""
        model = self.model
        part = model.unsealed(queue)[:count]
        first, last = part[0].record.id, part[-1].record.id
        rows = sum(chunk.record.rows for chunk in part)
        size = sum(chunk.record.size_bytes for chunk in part)
        with self.transaction() as spool:
            batch_id = spool.seal((first, last), queue, rows, size, model.now_ms)
        record = BatchRecord(
            number=model.batches_made + 1, id=batch_id, queue=queue, first_chunk=first,
            last_chunk=last, rows=rows, size_bytes=size, state=BatchState.SEALED, attempt=1,
            sealed_ms=model.now_ms,
        )  # fmt: skip
        places = [Place(c.record.id, row) for c in part for row in range(len(c.rows))]
        model.sealed_chunks |= {chunk.record.id for chunk in part}
        self._made(Sealed(record, places))

    def _made(self, batch: Sealed) -> None:
        self.model.batches_made += 1
        assert batch.record.id == f"hr-{self.spool.spool_id}-{self.model.batches_made:08d}"
        self.model.batches.append(batch)

    def move(self, draw: random.Random) -> None:
        """A batch stands elsewhere, at its next attempt."""
        batch, state = draw.choice(self.model.live), draw.choice(ON_THE_WAY)
        attempt, error = batch.record.attempt + 1, draw.choice((None, "why"))
        with self.transaction() as spool:
            spool.move(batch.record.number, state, attempt, error)
        batch.record = replace(batch.record, state=state, attempt=attempt, error=error)
        assert batch.record.task_id == f"{batch.record.id}-a{attempt}"

    def finish(self, draw: random.Random) -> None:
        """A batch is committed or refused for good."""
        failed = draw.random() < 0.2
        state = BatchState.FAILED if failed else BatchState.COMMITTED
        self.finish_batch(draw.choice(self.model.live), state, draw.random() < 0.5)

    def finish_batch(self, batch: Sealed, state: BatchState, queryable: bool) -> None:
        """This one."""
        model, now_ms = self.model, self.model.now_ms + 10
        with self.transaction() as spool:
            commit_seq = spool.finish(batch.record, state, now_ms, "why", queryable=queryable)
        batch.final_ms = model.now_ms = now_ms
        batch.record = replace(batch.record, state=state, error="why", commit_seq=commit_seq)
        if state is BatchState.COMMITTED:
            model.commits += 1
            model.settle(batch, queryable=queryable)
        assert commit_seq == (model.commits if state is BatchState.COMMITTED else None)

    def give_up(self, draw: random.Random) -> None:
        """The operator drops a batch that waits for him."""
        model = self.model
        batch, now_ms = draw.choice(model.in_state(*WAITS_FOR_THE_OPERATOR)), model.now_ms + 10
        with self.transaction() as spool:
            spool.give_up(batch.record, now_ms)
        batch.final_ms = model.now_ms = now_ms
        batch.record = replace(batch.record, state=BatchState.DROPPED)
        model.settle(batch, queryable=True)

    def see(self, draw: random.Random) -> None:
        """A SELECT sees the rows of a committed batch."""
        batch = draw.choice([batch for batch in self.model.unseen if batch.carried])
        with self.transaction() as spool:
            spool.channels.seen_queryable(batch.record.number)
        batch.carried = {}

    # ── batches that are cut in two ──

    def _can_be_split(self) -> list[tuple[Sealed, int]]:
        """Batches, and where: a half ends inside a chunk or with one, and begins likewise."""
        return [
            (batch, at)
            for batch in self.model.live
            for at in range(1, len(batch.places))
            if batch.places[at].row > 0
        ]

    def split(self, draw: random.Random) -> None:
        """A batch is replaced by its halves; its letters go with their lines."""
        model = self.model
        batch, at = draw.choice(self._can_be_split())
        place, whole = batch.places[at], batch.record
        sizes = [len(model.row(place).line) for place in batch.places]
        with self.transaction() as spool:
            ids = spool.split(whole, place, (at, sum(sizes[:at])), model.now_ms)
        half = replace(
            whole, state=BatchState.SEALED, attempt=1, sealed_ms=model.now_ms, error=None,
            root=whole.root or whole.number, number=model.batches_made + 1, id=ids[0],
        )  # fmt: skip
        left = replace(
            half, last_chunk=place.chunk, end_row=place.row, rows=at, size_bytes=sum(sizes[:at])
        )
        right = replace(
            half, number=half.number + 1, id=ids[1], first_chunk=place.chunk, first_row=place.row,
            rows=whole.rows - at, size_bytes=sum(sizes[at:]),
        )  # fmt: skip
        self._hand_down(whole.number, left.number, right.number, at)
        batch.record = replace(whole, state=BatchState.SPLIT)
        batch.final_ms = model.now_ms
        self._made(Sealed(left, batch.places[:at]))
        self._made(Sealed(right, batch.places[at:]))

    def _hand_down(self, whole: int, left: int, right: int, lines_left: int) -> None:
        for at, letter in enumerate(self.model.letters):
            if letter.batch != whole or letter.line is None:
                continue
            beyond = letter.line - lines_left
            self.model.letters[at] = (
                replace(letter, batch=right, line=beyond)
                if beyond > 0
                else replace(letter, batch=left)
            )

    # ── dead letters ──

    def bury(self, draw: random.Random) -> None:
        """A line of a batch goes to the dead letters; a second word about it changes nothing."""
        model = self.model
        batch = draw.choice(model.live)
        line = draw.randint(1, len(batch.places))
        place = batch.places[line - 1]
        row = model.row(place)
        letter = DeadLetter(
            queue=batch.record.queue, code="c", message="m", at_ms=model.now_ms, raw=row.line,
            batch=batch.record.number, line=line, tasks=2, sealed_bytes=len(row.line),
        )  # fmt: skip
        with self.transaction() as spool:
            spool.bury(letter, place)
            spool.bury(replace(letter, message="the first word stays"), place)
        found = SpoolReader(self.spool.path).letters(state=None, after_id=model.letters_made)
        if line in {known.line for known in model.letters_of(batch)}:
            assert found == []
            return
        if row.channel is not None:
            letter = replace(letter, channel=row.channel[1], offset=row.offset)
        assert [known.line for known in found] == [line]
        self._keep(replace(letter, id=found[0].id))

    def _keep(self, letter: DeadLetter) -> None:
        assert letter.id > self.model.letters_made
        self.model.letters_made = letter.id
        self.model.letters.append(letter)

    def edit(self, draw: random.Random) -> None:
        """Another row is put in the place of an open letter's."""
        letter, raw = draw.choice(self.model.open_letters), _line(draw)
        with self.transaction() as spool:
            assert spool.letters.edit(letter.id, raw)
        self._change(letter, raw=raw, spooled=False)

    def drop(self, draw: random.Random) -> None:
        """A letter is given up; nobody can decide on it again."""
        letter = draw.choice(self.model.open_letters)
        with self.transaction() as spool:
            assert spool.letters.decide(letter.id, LetterState.DROPPED)
            assert not spool.letters.decide(letter.id, LetterState.DROPPED)
            assert not spool.letters.edit(letter.id, b"")
            assert spool.retry(letter.id, letter.queue, b"", 0) is None
        self._change(letter, state=LetterState.DROPPED, raw=b"")

    def retry(self, draw: random.Random) -> None:
        """A letter's row is spooled again, as a chunk of its own, at its own offset."""
        model = self.model
        letter = draw.choice(model.open_letters)
        on_its_way = any(
            batch.record.number == letter.batch and batch.record.state not in SETTLED
            for batch in model.batches
        )
        with self.transaction() as spool:
            record = spool.retry(letter.id, letter.queue, letter.raw, model.now_ms)
        assert (record is None) == on_its_way
        if record is None:
            return
        row = Row(letter.raw)
        if letter.channel is not None and letter.offset is not None:
            source = next(q.source for q in model.queues.values() if q.id == letter.queue)
            row = Row(letter.raw, (source, letter.channel), letter.offset)
        model.chunks[record.id] = Chunk(record, [row])
        self._change(letter, state=LetterState.RETRIED, raw=b"")

    def _change(self, letter: DeadLetter, **changes: object) -> None:
        at = self.model.letters.index(letter)
        self.model.letters[at] = replace(letter, **changes)  # type: ignore[arg-type]

    # ── retention ──

    def forget(self, draw: random.Random) -> None:
        """What is past both retentions goes; time passes first, now and then a month and more."""
        model = self.model
        now_ms = model.now_ms + draw.choice((0, 10, 2 * LETTERS_KEPT_MS))
        before, keep = now_ms - draw.choice((0, 15, 10_000)), draw.choice((0, 200, 100_000))
        with self.transaction() as spool:
            freed = spool.forget(before, keep)
            assert spool.forget(before, keep) == 0, "bytes cannot be freed twice"
        model.now_ms = now_ms
        stored = model.stored_bytes
        retained = sum(batch.record.size_bytes for batch in model.log)
        for batch in model.log:
            if retained <= keep and (batch.final_ms or 0) >= before:
                break
            retained -= batch.record.size_bytes
            model.erase(batch)
        for batch in model.in_state(BatchState.SPLIT, BatchState.DROPPED):
            if (batch.final_ms or 0) < before:
                model.erase(batch)
        for batch in model.unseen:
            if (batch.final_ms or 0) < before - CARRIED_KEPT_MS:
                batch.carried = {}
        model.letters = [letter for letter in model.letters if not _past(letter, before)]
        assert freed == stored - model.stored_bytes


def _past(letter: DeadLetter, before_ms: int) -> bool:
    decided = letter.state is not LetterState.OPEN and letter.batch is None
    return decided and letter.at_ms < before_ms - LETTERS_KEPT_MS


def _line(draw: random.Random) -> bytes:
    size = draw.choice((1, 10, 40, 9_000))
    return draw.randbytes(size).replace(b"\n", b"\r") + b"\n"
