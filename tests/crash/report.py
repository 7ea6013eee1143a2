"""What a campaign found, as a line, as lines of detail, and as JSON."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.crash.producer import Producer
from tests.crash.witness import Rows, Verdict

SHOWN = 12


@dataclass
class Report:
    """``clean`` is the judgement; the rest says why, and how it went."""

    kills: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    warehouse_recoveries_s: dict[str, list[float]] = field(default_factory=dict)
    """from the end of a fault of the warehouse to the next committed ack, by fault"""
    verdict: Verdict | None = None
    outside: Verdict | None = None
    """the same rows as the warehouse itself gives them"""
    stuck: list[str] = field(default_factory=list)
    """batches that are not committed at the end"""
    violations: list[str] = field(default_factory=list)
    """replies that contradict earlier ones"""
    faults: list[str] = field(default_factory=list)
    """what ended the campaign early"""
    scene: list[str] = field(default_factory=list)
    """what went on in the warehouse at that moment"""
    complaints: list[str] = field(default_factory=list)
    """of the gateway's log"""
    told: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    duplicates: int = 0
    resent: int = 0
    cut: int = 0
    renewed: int = 0
    """times the warehouse's serving processes were restarted to show what is published"""
    """connections between gateway and Druid that were broken"""
    seconds: float = 0.0

    def add_producer(self, producer: Producer) -> None:
        """Sum a producer up."""
        self.sessions += producer.sessions
        self.duplicates += producer.ledger.duplicates
        self.resent += producer.ledger.resent
        self.violations += producer.ledger.violations
        self.told.update(producer.told.counts)

    @property
    def clean(self) -> bool:
        """Whether every row is where it should be, and nothing else is wrong."""
        verdicts = [verdict for verdict in (self.verdict, self.outside) if verdict is not None]
        wrong = (self.stuck, self.violations, self.faults, self.complaints)
        return bool(verdicts) and all(v.clean for v in verdicts) and not any(wrong)

    def line(self) -> str:
        """The figures."""
        verdict = self.verdict or Verdict()
        parts = [
            f"kills {self.kills}",
            f"rows sent {verdict.sent:,}",
            f"acked {verdict.acked:,}",
            f"lost {verdict.lost.count:,}",
            f"duplicated {verdict.duplicated.count:,}",
            f"refused {verdict.refused:,}",
            f"stuck {len(self.stuck)}",
            _recovery("recovery", self.recoveries_s),
        ]
        parts += [_recovery(name, times) for name, times in self.warehouse_recoveries_s.items()]
        return " · ".join(parts)

    def details(self) -> list[str]:
        """How it went, and all that is wrong."""
        lines = [
            f"{self.sessions:,} sessions, {self.resent:,} rows resent, {self.duplicates:,} acked "
            f"as duplicates, {self.cut:,} connections to the warehouse cut, "
            f"{self.renewed} times made to look at its segments anew, {self.seconds:.0f} s"
        ]
        for place, verdict in (("", self.verdict), ("Druid itself: ", self.outside)):
            if verdict is None:
                continue
            wrong = {
                "lost": verdict.lost,
                "duplicated": verdict.duplicated,
                "strange": verdict.strange,
                "without a verdict": verdict.unsettled,
            }
            lines += [
                f"{place}{rows.count:,} rows {n}: {_sample(rows)}"
                for n, rows in wrong.items()
                if rows.count
            ]
        for name in ("faults", "scene", "violations", "stuck", "complaints"):
            found: list[str] = getattr(self, name)
            lines += [f"{name}: {text}" for text in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"{name}: {len(found) - SHOWN} more")
        lines += [f"told {count} times: {text}" for text, count in self.told.most_common(SHOWN)]
        return lines

    def document(self) -> dict[str, Any]:
        """For machines."""
        verdict = self.verdict or Verdict()
        return {
            "clean": self.clean,
            "kills": self.kills,
            "sent": verdict.sent,
            "acked": verdict.acked,
            "refused": verdict.refused,
            "lost": verdict.lost.count,
            "duplicated": verdict.duplicated.count,
            "strange": verdict.strange.count,
            "unsettled": verdict.unsettled.count,
            "stuck": self.stuck,
            "violations": self.violations,
            "faults": self.faults,
            "complaints": self.complaints,
            "recoveries_s": [round(s, 3) for s in self.recoveries_s],
            "warehouse_recoveries_s": self.warehouse_recoveries_s,
            "sessions": self.sessions,
            "resent": self.resent,
            "duplicates": self.duplicates,
            "cut": self.cut,
            "renewed": self.renewed,
            "seconds": round(self.seconds, 1),
        }


def _recovery(name: str, times_s: list[float]) -> str:
    if not times_s:
        return f"{name} not seen"
    return f"{name} median {statistics.median(times_s):.1f} s, max {max(times_s):.1f} s"


def _sample(rows: Rows) -> str:
    shown = ", ".join(rows.sample)
    return f"{shown}, …" if rows.count > len(rows.sample) else shown
