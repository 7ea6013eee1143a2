"""How a seed's world is: how many clients, which faults, when the gateway crashes.

Pure: dice in, a plan out. Seeds differ in kind, not only in luck: some have a good disk, some a
good warehouse, some no crash, so that each fault is also met alone.
"""

from dataclasses import dataclass

from gateway.ingest.ingest_room import IngestLimits
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.ingest.upkeep import RetentionLimits
from tests.simulation.disk import DiskFaults
from tests.simulation.loop import Dice
from tests.simulation.rows import Kind
from tests.simulation.warehouse import CALLS, WarehouseFaults

TIMES = CommitterTimes(poll_s=1.0, retry_s=0.5, retry_max_s=8.0, queryable_max_s=3600.0)
FOR_EVER = RetentionLimits(keep_s=1e9, keep_bytes=1 << 60, sweep_s=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``wild_s``: how long things fail. ``crashes``: moments, in seconds."""

    wild_s: float
    crashes: tuple[float, ...]
    disk: DiskFaults
    warehouse: WarehouseFaults
    slots: int
    task_s: float
    clients: int
    channels: bool
    bad: float
    kinds: tuple[Kind, ...]
    ingest: IngestLimits


def draw_plan(dice: Dice) -> Plan:
    """The plan of a seed."""
    wild_s = dice.choice((10.0, 30.0, 90.0))
    scarce = dice.chance(0.15)
    return Plan(
        wild_s=wild_s,
        crashes=tuple(sorted(dice.random() * wild_s for _ in range(dice.choice((0, 1, 1, 2, 4))))),
        disk=_disk(dice, wild_s),
        warehouse=_warehouse(dice, wild_s),
        slots=dice.choice((1, 2, 4)),
        task_s=dice.choice((0.5, 4.0, 15.0)),
        clients=dice.randint(1, 4),
        channels=dice.chance(0.7),
        bad=dice.choice((0.0, 0.0, 0.05, 0.2)),
        kinds=(Kind.POISON, Kind.QUIET, Kind.REFUSED),
        ingest=IngestLimits(
            times=TIMES,
            batch=BatchLimits(
                rows_max=dice.choice((1, 4, 16, 1000)),
                bytes_max=dice.choice((200, 1 << 20)),
                age_s=dice.choice((0.0, 1.0, 5.0)),
            ),
            spool_bytes=200 if scarce else 1 << 30,
            stall_s=dice.choice((2.0, 30.0)),
            retention=_retention(dice, scarce=scarce),
        ),
    )


def _retention(dice: Dice, *, scarce: bool) -> RetentionLimits:
    if scarce:
        return RetentionLimits(keep_s=0.0, keep_bytes=0, sweep_s=3.0)
    if dice.chance(0.2):
        return RetentionLimits(keep_s=dice.choice((0.0, 20.0)), keep_bytes=500, sweep_s=3.0)
    return FOR_EVER


def _disk(dice: Dice, wild_s: float) -> DiskFaults:
    slow_s = dice.choice((0.0, 0.2, 2.0))
    if dice.chance(0.4):
        return DiskFaults(slow_s=slow_s)
    starts = [dice.random() * wild_s for _ in range(dice.choice((0, 1, 3)))]
    return DiskFaults(
        single=dice.choice((0.0, 0.03, 0.2)),
        torn=dice.choice((0.0, 0.0, 0.02)),
        windows=tuple((start, start + dice.random() * 10.0) for start in starts),
        slow_s=slow_s,
    )


def _warehouse(dice: Dice, wild_s: float) -> WarehouseFaults:
    if dice.chance(0.15):
        return WarehouseFaults(queryable_at_commit=dice.chance(0.3))

    def rate() -> float:
        return dice.choice((0.0, 0.0, 0.1, 0.3))

    starts = [dice.random() * wild_s for _ in range(dice.choice((0, 1, 3)))]
    return WarehouseFaults(
        lost_before=rate(),
        lost_after=rate(),
        late=rate(),
        twice=rate(),
        failed=rate(),
        failed_after_publishing=rate(),
        hidden=rate(),
        outages=tuple((start, start + dice.random() * 20.0, _calls(dice)) for start in starts),
        late_s=dice.choice((3.0, 60.0)),
        busy=dice.chance(0.3),
        queryable_at_commit=dice.chance(0.3),
    )


def _calls(dice: Dice) -> frozenset[str]:
    """All calls fail, or some of them."""
    if dice.chance(0.3):
        return frozenset(CALLS)
    return frozenset(dice.sample(CALLS, dice.randint(1, len(CALLS) - 1)))
