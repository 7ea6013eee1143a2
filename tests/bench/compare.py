"""Contenders measured in turn, and what their ratios come to. Pure but for calling contenders.

A suite names its contenders and the ratios it cares for. Rounds alternate the order (A B, B A,
A B …), so that a machine that slows down or speeds up favours nobody; a ratio is taken within a
round, never across rounds, and reported as median and range.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

CLIENT_BOUND_SHARE = 0.5
"""Share of a core that a client may use: past it, it may be the client that was measured."""


class By(StrEnum):
    """What a ratio compares; more is better in all of them."""

    RATE = "rows/s"
    PER_CPU = "rows/CPU s"
    """of the server's process"""
    QUICKNESS = "1/p99"
    """of the time from a row to its ack"""


@dataclass(frozen=True)
class Sample:
    """One contender's run in one round.

    ``cpu_s``: CPU seconds by process, user and system; "client" is the load's, "server" the one
    that `By.PER_CPU` divides by. ``p99_ms`` where the load was paced.
    """

    contender: str
    rows: int
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    p99_ms: float | None = None

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds

    @property
    def client_bound(self) -> bool:
        """Whether the client was so busy that it may have been the limit."""
        return self.cpu_s.get("client", 0.0) > CLIENT_BOUND_SHARE * self.seconds

    def by(self, measure: By) -> float:
        """What is compared."""
        match measure:
            case By.RATE:
                return self.rows_per_s
            case By.PER_CPU:
                return self.rows / self.cpu_s["server"]
            case By.QUICKNESS:
                assert self.p99_ms is not None
                return 1 / self.p99_ms

    def as_json(self) -> dict[str, Any]:
        return {"sample": asdict(self), "rows_per_s": round(self.rows_per_s)}


class Contender(Protocol):
    """Something that can move the rows. Each call is a run from scratch."""

    name: str

    def measure(self) -> Sample:
        """Run once; whatever has to be started first is not part of the sample."""


@dataclass(frozen=True)
class Bar:
    """``contender`` must reach ``at_least`` times what ``against`` has; None: only to know."""

    contender: str
    against: str
    at_least: float | None
    by: By = By.RATE
    case: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the rounds say about a bar. Missed only if the best round misses it too.

    Where the client was the limit in most rounds, they say nothing.
    """

    bar: Bar
    ratios: tuple[float, ...]
    client_bound: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def word(self) -> str:
        if self.bar.at_least is None:
            return ""
        if self.client_bound and self.bar.by is By.RATE:
            return "client-bound"
        if self.median >= self.bar.at_least:
            return "reached"
        return "unclear" if max(self.ratios) >= self.bar.at_least else "missed"

    def as_json(self) -> dict[str, Any]:
        ratios = [round(ratio, 3) for ratio in self.ratios]
        median = round(self.median, 3)
        said = {"ratios": ratios, "median": median, "word": self.word}
        return {"verdict": {**asdict(self.bar), **said}}


Round = dict[str, Sample]


def alternate(
    contenders: Sequence[Contender], rounds: int, emit: Callable[[dict[str, Any]], None]
) -> list[Round]:
    """Measure every contender once a round, in turning order; each sample is emitted at once."""
    results: list[Round] = []
    for number in range(rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        samples: Round = {}
        for contender in order:
            samples[contender.name] = contender.measure()
            emit({"round": number, **samples[contender.name].as_json()})
        results.append(samples)
    return results


def judge(rounds: Sequence[Round], bar: Bar) -> Verdict:
    """The ratios of a bar, a round each."""
    ratios = [r[bar.contender].by(bar.by) / r[bar.against].by(bar.by) for r in rounds]
    bound = [r[bar.contender].client_bound or r[bar.against].client_bound for r in rounds]
    return Verdict(bar, tuple(ratios), client_bound=sum(bound) * 2 > len(bound))
