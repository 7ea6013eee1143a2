"""Contenders measured in turn, and what their ratios come to. Pure but for calling contenders.

A suite names its contenders and the ratios it cares for. Rounds alternate the order (A B, B A,
A B …), so that a machine that slows down or speeds up favours nobody; a ratio is taken within a
round, never across rounds, and reported as median and range.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Sample:
    """One contender's run in one round. ``cpu_s``: CPU seconds by process, user and system."""

    contender: str
    rows: int
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds

    def as_json(self) -> dict[str, Any]:
        return {"sample": asdict(self), "rows_per_s": round(self.rows_per_s)}


class Contender(Protocol):
    """Something that can move the rows. Each call is a run from scratch."""

    name: str

    def measure(self) -> Sample:
        """Run once; whatever has to be started first is not part of the sample."""


@dataclass(frozen=True)
class Bar:
    """``contender`` must reach ``at_least`` times the rows/s of ``against``."""

    contender: str
    against: str
    at_least: float


@dataclass(frozen=True)
class Verdict:
    """What the rounds say about a bar. Missed only if the best round misses it too."""

    bar: Bar
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def word(self) -> str:
        if self.median >= self.bar.at_least:
            return "reached"
        return "unclear" if max(self.ratios) >= self.bar.at_least else "missed"

    def as_json(self) -> dict[str, Any]:
        ratios = [round(ratio, 3) for ratio in self.ratios]
        median = round(self.median, 3)
        return {"verdict": {**asdict(self.bar), "ratios": ratios, "median": median}}


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
    ratios = [r[bar.contender].rows_per_s / r[bar.against].rows_per_s for r in rounds]
    return Verdict(bar, tuple(ratios))
