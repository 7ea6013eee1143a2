"""``headrace spool``: the spool's file looked at from outside, whether a gateway runs or not."""

import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.commands.failures import BadConfiguration, CommandFailed
from gateway.commands.output import complain, print_members
from gateway.config import ConfigError, load
from gateway.ingest import inspection

app = App(name="spool", help="The rows on this machine's disk: what there is, whether it is sound.")


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which spool."""

    data_dir: Annotated[Path | None, Parameter(help="the gateway's data folder")] = None
    config: Annotated[Path | None, Parameter(help="the gateway's TOML file")] = None

    @property
    def file(self) -> Path:
        """The spool's file. Raises `CommandFailed` if there is none."""
        try:
            given = {} if self.data_dir is None else {"data_dir": self.data_dir}
            folder = load(self.config, given).data_dir
        except ConfigError as error:
            raise BadConfiguration(str(error)) from None
        file = folder / "spool.db"
        if not file.is_file():
            raise CommandFailed(f"there is no spool at {file}: say where it is with --data-dir")
        return file


DEFAULT_WHERE = Where()


@app.command
def status(
    *,
    where: Where = DEFAULT_WHERE,
    json: Annotated[bool, Parameter(help="print JSON", negative="", show_default=False)] = False,
) -> int:
    """Say what the spool holds: rows, batches by state, channels, dead letters, free space."""
    try:
        print_members(inspection.status(where.file), as_json=json)
    except sqlite3.Error as error:
        raise CommandFailed(f"{where.file} cannot be read: {error}") from None
    return 0


@app.command
def verify(*, where: Where = DEFAULT_WHERE) -> int:
    """Check every page and every row against the laws of the spool; exit code 1 if one is broken.

    It reads the whole file. A gateway may go on running on it.
    """
    broken = 0
    for sentence in inspection.verify(where.file):
        broken += 1
        complain(sentence)
    if not broken:
        print(f"{where.file}: sound")
    return int(broken > 0)


@app.command
def export(
    *,
    where: Where = DEFAULT_WHERE,
    stream: Annotated[str | None, Parameter(help="only of this stream")] = None,
    committed: Annotated[
        bool, Parameter(help="rows of committed batches too", negative="", show_default=False)
    ] = False,
    place: Annotated[
        bool, Parameter(help="with stream, channel and offset", negative="", show_default=False)
    ] = False,
) -> int:
    """Print the rows that are not committed, a line of JSON each, as they were spooled.

    For rescue: also of a file that is damaged, as far as it can be read. Exit code 1 if some of it
    could not be.
    """
    unread = 0
    out = sys.stdout.buffer
    try:
        for row in inspection.rows(where.file, stream, committed=committed):
            if isinstance(row, str):
                unread += 1
                complain(row)
            else:
                out.write((inspection.document(row) if place else row.raw) + b"\n")
    except sqlite3.Error as error:
        raise CommandFailed(f"{where.file} cannot be read further: {error}") from None
    out.flush()
    return int(unread > 0)
