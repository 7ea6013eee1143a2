"""How much memory a gateway may take by its own limits, and how much there is.

Law 8 of the design: memory stays below the sum of the limits. What grows with the number of
connections is told for one of them: how many there are is their clients' choice.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.config.sections import Config
from gateway.config.units import GIB, KIB, MIB

PROCESS_BYTES = 160 * MIB
"""Python, its modules and DuckDB's at rest"""
OUTPUT_BYTES = 2 * MIB + 256 * KIB
"""what one connection holds that its peer does not take"""
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Memory:
    """``parts``: bytes by what they are for. ``connection_bytes``: one more of these each."""

    parts: dict[str, int]
    connection_bytes: int

    @property
    def fixed_bytes(self) -> int:
        """Without connections."""
        return sum(self.parts.values())

    def connections(self, there_is_bytes: int) -> int:
        """How many connections at their very limits there is room for."""
        return max(0, there_is_bytes - self.fixed_bytes) // self.connection_bytes


def most_memory(config: Config) -> Memory:
    """What the limits add up to."""
    http, ingest, query = config.http, config.ingest, config.query
    parts = {
        "the process": PROCESS_BYTES,
        "push queries (query.push_queries_max x query.mailbox_bytes)": (
            query.push_queries_max * query.mailbox_bytes
        ),
        "results for slow readers (query.evaluated_bytes)": query.evaluated_bytes,
        "changes of tasks (query.task_changes_bytes)": query.task_changes_bytes,
    }
    if config.warehouse == "embedded":
        parts["DuckDB (embedded.memory_limit_bytes)"] = config.embedded.memory_limit_bytes
    # A batch is read in one piece where it goes, and written in another.
    parts["a batch on its way (2 x ingest.batch_bytes_max)"] = 2 * ingest.batch_bytes_max
    connection_bytes = http.connection_window_bytes + http.overrun_max_bytes + OUTPUT_BYTES
    return Memory(parts, connection_bytes)


def there_is() -> int:
    """Bytes that this process may have: the machine's, or its control group's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def in_words(size_bytes: int) -> str:
    """``1.5 GiB``"""
    unit, name = (GIB, "GiB") if size_bytes >= GIB else (MIB, "MiB")
    return f"{size_bytes / unit:.1f} {name}"
