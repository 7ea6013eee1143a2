"""What happens in a campaign, and in which order: drawn from a seed before it begins. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DRUID_ROLES = ("indexer", "coordinator", "broker", "zookeeper")


class Moment(StrEnum):
    """When the gateway is killed."""

    LOADED = "rows are acked"
    """some time after rows are acked again"""
    STARTING = "its start"
    """so long after its start that it may be importing, recovering, or just ready"""


class Cut(StrEnum):
    """A fault of the connection between gateway and Druid."""

    DELAYED = "delayed"
    REPLIES_LOST = "replies lost"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Kill:
    """The gateway is killed ``after_s`` after its moment."""

    moment: Moment
    after_s: float

    def __str__(self) -> str:
        return f"kill {self.after_s:.2f} s after {self.moment}"


@dataclass(frozen=True, slots=True)
class RoleDown:
    """A process of Druid is killed and is away for ``down_s``; the gateway dies meanwhile, too."""

    role: str
    down_s: float
    kill: Kill | None = None

    def __str__(self) -> str:
        return f"{self.role} down for {self.down_s:.1f} s{_meanwhile(self.kill)}"


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection to Druid has a fault for ``for_s``; the gateway may die meanwhile, too."""

    cut: Cut
    for_s: float
    kill: Kill | None = None

    def __str__(self) -> str:
        return f"connection to Druid: {self.cut} for {self.for_s:.1f} s{_meanwhile(self.kill)}"


Step = Kill | RoleDown | Broken


def _meanwhile(kill: Kill | None) -> str:
    return "" if kill is None else f", {kill} meanwhile"


def embedded_plan(kills: int, dice: random.Random, *, startup_s: float) -> list[Step]:
    """``kills`` kills; some of them in bursts, while the gateway still starts."""
    return list(_kills(kills, dice, loaded_s=0.9, startup_s=startup_s))


def druid_plan(kills: int, dice: random.Random, *, startup_s: float) -> list[Step]:
    """``kills`` kills, each role of Druid at least once, and each fault of the connection.

    About a third of the kills happen while a role is away or the connection is broken.
    """
    drawn = _kills(kills, dice, loaded_s=4.0, startup_s=startup_s)
    repeats = max(1, kills // 13)
    roles = [role for _ in range(repeats) for role in dice.sample(DRUID_ROLES, len(DRUID_ROLES))]
    cuts = [cut for _ in range(repeats) for cut in dice.sample(list(Cut), len(Cut))]
    both: list[Kill | None] = [*drawn[: kills // 3]]
    both += [None] * (len(roles) + len(cuts) - len(both))
    dice.shuffle(both)
    steps: list[Step] = list(drawn[kills // 3 :])
    steps += [RoleDown(role, dice.uniform(0.5, 4.0), both.pop()) for role in roles]
    steps += [Broken(cut, dice.uniform(2.0, 5.0), both.pop()) for cut in cuts]
    dice.shuffle(steps)
    return steps


def kills_of(steps: Sequence[Step]) -> int:
    """How often the gateway is killed in them."""
    return sum(1 for step in steps if isinstance(step, Kill) or step.kill is not None)


def _kills(count: int, dice: random.Random, *, loaded_s: float, startup_s: float) -> list[Kill]:
    kills: list[Kill] = []
    while len(kills) < count:
        if dice.random() < 0.8:
            kills.append(Kill(Moment.LOADED, dice.uniform(0.0, loaded_s)))
            continue
        burst = dice.randint(1, 4)
        kills += [Kill(Moment.STARTING, dice.uniform(0.0, startup_s)) for _ in range(burst)]
    return kills[:count]
