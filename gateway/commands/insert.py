"""``headrace insert``: a file, or what comes through a pipe, into a stream."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from gateway.client import (
    ClientError,
    ConnectionLost,
    KsqlResponseError,
    RowRefused,
    StreamReset,
)
from gateway.commands.door import DEFAULT_DOOR, Door, refusal
from gateway.commands.failures import CommandFailed, Interrupted, TryLater, WrongUsage
from gateway.commands.interrupts import run
from gateway.commands.load.chunks import STANDARD_INPUT, Input
from gateway.commands.load.loading import Load, Terms
from gateway.commands.load.records import CsvForm
from gateway.commands.output import print_members

Format = Literal["ndjson", "csv"]


def insert(
    stream: Annotated[str, Parameter(help="stream or datasource")],
    file: Annotated[
        str, Parameter(help="file, or - for standard input", allow_leading_hyphen=True)
    ] = STANDARD_INPUT,
    /,
    *,
    format: Annotated[
        Format | None, Parameter(help="default: csv for names in .csv and .csv.gz, else ndjson")
    ] = None,
    ack: Annotated[
        Literal["spooled", "committed", "queryable"], Parameter(help="when a row counts as stored")
    ] = "committed",
    channel: Annotated[
        str | None,
        Parameter(help="a name for this load: run again with it, it goes on where it stopped"),
    ] = None,
    on_error: Annotated[
        Literal["stop", "continue"], Parameter(help="what a refused row does to the load")
    ] = "stop",
    rejected: Annotated[
        Path | None, Parameter(help="JSON lines of the refused rows; with --on-error continue")
    ] = None,
    retry_s: Annotated[
        float, Parameter(help="how long the gateway may be away; with --channel")
    ] = 60.0,
    columns: Annotated[
        str | None, Parameter(help="csv: names of its columns, by commas; it has no header then")
    ] = None,
    delimiter: Annotated[str, Parameter(help="csv: what is between fields; \\t is a tab")] = ",",
    null: Annotated[
        str | None,
        Parameter(help="csv: the text of NULL; default: the empty text, but for STRING columns"),
    ] = None,
    door: Door = DEFAULT_DOOR,
) -> int:
    """Insert the rows of a file, or of standard input, into a stream.

    NDJSON or CSV, gzip or not. On a terminal a bar shows how far it is. Exit code 0: every row is
    acked; 1: some were refused; 75: the gateway went away for too long; 130: you ended it.
    """
    if rejected is not None and on_error == "stop":
        raise WrongUsage("--rejected goes with --on-error continue: else the first one ends it")
    chosen = format or _format_of(file)
    if chosen != "csv" and (columns is not None or null is not None or delimiter != ","):
        raise WrongUsage("--columns, --delimiter and --null go with --format csv")
    load = Load(
        Input(file),
        Terms(
            stream=stream,
            ack=ack,
            channel=channel,
            goes_on=on_error == "continue",
            retry_s=retry_s,
            rejected=rejected,
        ),
        _form(columns, delimiter, null) if chosen == "csv" else None,
    )
    try:
        run(_run(load, door))
    except Interrupted as interrupted:
        raise Interrupted(interrupted.number, f"interrupted: {load.standing}") from None
    finally:
        load.source.close()
    print_members(_summary(load), as_json=door.json)
    return int(load.tally.refused > 0)


async def _run(load: Load, door: Door) -> None:
    async with door.opened(retry_s=load.terms.retry_s) as client:
        try:
            with load.shown():
                await load.run(client)
        except RowRefused as refused:
            raise load.refused(refused) from None
        except (ConnectionLost, StreamReset) as lost:
            raise TryLater(f"{lost}: {load.standing}") from None
        except KsqlResponseError as refused:
            failure = refusal(refused, door)
            if load.tally.sent:
                raise type(failure)(f"{failure}: {load.standing}") from None
            raise failure from None
        except ClientError as failure:
            raise CommandFailed(f"{failure}: {load.standing}") from None


def _format_of(name: str) -> Format:
    return "csv" if name.lower().endswith((".csv", ".csv.gz")) else "ndjson"


def _form(columns: str | None, delimiter: str, null: str | None) -> CsvForm:
    between = "\t" if delimiter == "\\t" else delimiter
    if len(between) != 1 or between in '\r\n"':
        raise WrongUsage(f"--delimiter is one character, not {delimiter!r}")
    header = None if columns is None else columns.split(",")
    return CsvForm(header=header, delimiter=between, null=null)


def _summary(load: Load) -> dict[str, Any]:
    tally = load.tally
    return {
        "stream": load.terms.stream,
        "acked": tally.acked,
        "refused": tally.refused,
        "duplicates": tally.duplicates,
        "skipped": tally.skipped,
        "seconds": round(tally.seconds, 3),
        "rowsPerSecond": round(tally.acked_per_s),
    }
