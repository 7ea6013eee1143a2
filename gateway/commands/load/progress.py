"""How far a load is: the numbers, and a bar of them on a terminal's standard error."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

REFRESH_S = 0.1


@dataclass
class Tally:
    """Rows: ``skipped`` that the channel had, ``sent`` to the client, ``told`` with a verdict, of
    which ``refused``, and ``duplicates`` that were stored before. ``sent_bytes``: as NDJSON."""

    skipped: int = 0
    sent: int = 0
    sent_bytes: int = 0
    told: int = 0
    refused: int = 0
    duplicates: int = 0
    started_s: float = field(default_factory=time.monotonic)

    @property
    def acked(self) -> int:
        """Rows that are acked at the level that was asked for."""
        return self.told - self.refused

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.started_s

    @property
    def acked_per_s(self) -> float:
        """Rows."""
        return self.acked / max(self.seconds, 1e-9)


@contextlib.contextmanager
def shown(
    tally: Tally, title: str, size_bytes: int | None, read_bytes: Callable[[], int]
) -> Iterator[None]:
    """A bar while the block runs, on a terminal only. ``size_bytes`` and ``read_bytes`` are the
    input's."""
    if not sys.stderr.isatty():
        yield
        return
    # It costs as much as all the rest of the start.
    from rich.console import Console
    from rich.filesize import decimal
    from rich.live import Live
    from rich.progress import Progress, ProgressColumn, Task
    from rich.progress_bar import ProgressBar
    from rich.table import Column
    from rich.text import Text

    class Numbers(ProgressColumn):
        def render(self, _: Task) -> Text:
            refused = f"  {tally.refused:,} refused" if tally.refused else ""
            sent = f"{tally.sent:,} rows sent  {tally.acked:,} acked{refused}"
            rate = f"{tally.acked_per_s:,.0f} rows/s  {decimal(tally.sent_bytes)}"
            return Text(f"{sent}  {rate}", no_wrap=True)

    class Bar(ProgressColumn):
        def render(self, task: Task) -> ProgressBar:
            done = None if size_bytes is None else min(read_bytes(), size_bytes)
            # Rows that are read and not acked are no progress yet.
            share = tally.told / tally.sent if tally.sent else 1.0
            return ProgressBar(
                total=size_bytes,
                completed=0 if done is None else done * share,
                pulse=size_bytes is None,
                animation_time=task.get_time(),
            )

    columns = (Bar(Column(ratio=1, min_width=10)), Numbers())
    console = Console(stderr=True)
    bar = Progress("{task.description}", *columns, console=console, expand=True, auto_refresh=False)
    bar.add_task(title)
    with Live(bar, console=console, refresh_per_second=1 / REFRESH_S, transient=True):
        yield
