"""What every suite is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """``emit`` takes each result as soon as it is there. ``rounds``: None is the suite's own."""

    rows: int
    rounds: int | None
    frame_bytes: int
    ack: str
    druid_url: str | None
    profile: Path | None
    emit: Callable[[dict[str, Any]], None]
