"""What is known of the ingest room by looking: told when somebody scrapes, counted by nobody.

What lies in memory is looked at on the event loop, and is cheap; what lies on disk is read in a
thread, from a snapshot of its own. Must never know: who asks.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.ingest import layout
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import LetterState
from gateway.metrics import Declared, Metrics
from gateway.metrics import declared as d

if TYPE_CHECKING:
    from gateway.ingest.ingest_room import IngestRoom

_STATES = [state for state in BatchState if state not in (BatchState.COMMITTED, BatchState.SPLIT)]


def look_at(room: "IngestRoom", metrics: Metrics) -> None:
    """Tell of the room whenever somebody scrapes."""
    capacity, committer, reached = room.capacity, room.committer, room.reached
    metrics.look(d.SPOOL_BYTES, lambda: capacity.stored_bytes)
    metrics.look(d.SPOOL_LIMIT, lambda: capacity.spool_bytes)
    metrics.look(d.SPOOL_UNSEALED, lambda: committer.unsealed_rows)
    metrics.look(d.SPOOL_AGE, lambda: committer.backlog_age_s)
    metrics.look(d.SPOOL_AGE_LIMIT, lambda: capacity.age_limit_s)
    metrics.look(d.SPOOL_TAKES, lambda: float(room.takes_rows))
    metrics.look(d.DEAD_LETTERS_LIMIT, lambda: capacity.letters_limit_bytes)
    metrics.look(d.CHANNELS_MAX, lambda: capacity.channels_max)
    metrics.look(d.CHANNELS_HELD, lambda: len(room.intake.holders))
    metrics.look(d.STREAMS_STALLED, lambda: room.intake.stalled_streams)
    metrics.look(d.BATCHES_LIVE, lambda: _by_state(room))
    metrics.look(d.BATCHES_WAITING, lambda: committer.waiting)
    metrics.look(d.SLOTS_FREE, lambda: reached.free)
    metrics.look(d.WAREHOUSE_UP, lambda: float(reached.lost_since is None))
    metrics.look(d.WAREHOUSE_AWAY, lambda: _since(reached.lost_since))
    metrics.look(d.WAREHOUSE_LOST, lambda: reached.silent_s)
    path = room.reader.path
    metrics.slow_look(lambda: on_disk(path))


def _by_state(room: "IngestRoom") -> dict[tuple[str, ...], float]:
    counted = Counter(batch.state for batch in (*room.committer.live, *room.committer.held))
    return {(state.value,): float(counted[state]) for state in _STATES}


def _since(at: float | None) -> float:
    return 0.0 if at is None else asyncio.get_running_loop().time() - at


def on_disk(path: Path) -> Mapping[Declared, float | Mapping[tuple[str, ...], float]]:
    """What the spool's file says of itself. Raises `sqlite3.Error`, `OSError`."""
    with closing(layout.open_to_read(path)) as db:
        # The index over chunks has their rows: no row is read for it.
        rows = db.execute("SELECT sum(rows) FROM chunk").fetchone()[0]
        channels = db.execute("SELECT count(*) FROM channel").fetchone()[0]
        letters = dict(db.execute("SELECT state, count(*) FROM dead_letter GROUP BY state"))
        letter_bytes = db.execute(
            "SELECT sum(length(raw)) FROM dead_letter WHERE state = 'open'"
        ).fetchone()[0]
    disk = os.statvfs(path)
    files = (path, path.with_name(path.name + "-wal"))
    return {
        d.SPOOL_ROWS: rows or 0,
        d.CHANNELS: channels,
        d.DEAD_LETTERS: {(state.value,): letters.get(state.value, 0) for state in LetterState},
        d.DEAD_LETTERS_BYTES: letter_bytes or 0,
        d.SPOOL_FILE: sum(each.stat().st_size for each in files if each.exists()),
        d.SPOOL_DISK_FREE: disk.f_bavail * disk.f_frsize,
    }
