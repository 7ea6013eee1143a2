"""The gateway's front door with nothing behind it: what the transport suite measures.

    python -m tests.bench.ack_server lanes|stock

The app, its routes, the JSON check and the machines are the gateway's own, and so is the server
with its loop. ``lanes`` has the gateway's HTTP/2 connection, ``stock`` Hypercorn's. Rows are
acked at once and kept nowhere; a query's text is the number of rows that it makes.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from gateway.config import HttpConfig
from gateway.http.app import LANE_PATHS, Doors, HttpLimits, make_app
from gateway.http.drain import OpenStreams
from gateway.http.h2core import H2Options
from gateway.http.inserts import InsertLimits
from gateway.http.server import FrontDoor, address, listen, serve
from gateway.seams import (
    AckLevel,
    ChannelClaim,
    ChannelOffsets,
    InsertSpec,
    Permit,
    QueryEnd,
    QueryKind,
    ReceiptSink,
    ResultColumn,
    RowLines,
    RunningQuery,
    Source,
    SourceKind,
)
from protocol.arguments import QueryArguments
from protocol.errors import RowRejected
from protocol.names import DeclaredNames
from protocol.types import BIGINT, DOUBLE, STRING, Column

COLUMNS = (
    Column("TS", BIGINT),
    Column("ID", BIGINT),
    Column("USERNAME", STRING),
    Column("KIND", STRING),
    Column("AMOUNT", DOUBLE),
    Column("NOTE", STRING),
)
"""those of `tests.bench.rows`"""

TARGET = Source(
    name="BENCH",
    kind=SourceKind.STREAM,
    columns=COLUMNS,
    spec=InsertSpec(datasource="bench", columns=COLUMNS, time_column="TS"),
)

TICK_BYTES = 16 * 1024


class OneSource:
    """A catalogue of one stream, whatever it is asked for. Implements `gateway.seams.Sources`."""

    async def resolve(self, target: str) -> Source:
        """See `gateway.seams.Sources`."""
        return TARGET

    def declared(self, name: str) -> Source | None:
        """See `gateway.seams.Sources`."""
        return TARGET

    def all_declared(self) -> list[Source]:
        """See `gateway.seams.Sources`."""
        return [TARGET]

    def names(self, name: str) -> DeclaredNames | None:
        """See `gateway.seams.Sources`."""
        return None


class NoStorage:
    """Settles rows where they arrive. Implements `gateway.seams.Intake`."""

    async def open_stream(
        self,
        source: Source,
        level: AckLevel,
        sink: ReceiptSink,
        channel: ChannelClaim | None = None,
    ) -> "NoStorageStream":
        """See `gateway.seams.Intake`."""
        return NoStorageStream(sink)

    async def channel(self, source: Source, name: str) -> ChannelOffsets | None:
        """See `gateway.seams.Intake`: none holds a row."""
        return None


class NoStorageStream:
    """Implements `gateway.seams.IntakeStream`."""

    def __init__(self, sink: ReceiptSink) -> None:
        self.waiting_bytes = 0
        self.next_offset: int | None = None
        self.duplicates = 0
        self._sink = sink

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        self._sink.spooled(credit_bytes)
        self._sink.settled(first_seq, first_seq + count)

    def refuse(self, seq: int, raw: bytes, rejected: RowRejected, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        self._sink.spooled(credit_bytes)
        self._sink.failed(seq, rejected)

    def close(self) -> None:
        """See `gateway.seams.IntakeStream`."""


class MadeRows:
    """Rows of about 107 bytes, encoded as they are pulled. Implements `RunningQuery`."""

    id = "bench"
    kind = QueryKind.PULL
    source_kind: SourceKind | None = SourceKind.STREAM
    ended_by = QueryEnd.COMPLETED
    columns = tuple(ResultColumn(column.name, column.type) for column in COLUMNS)

    def __init__(self, count: int) -> None:
        self._count = count

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`. One chunk a tick: the loop gets its turn between."""
        made, lines, size_bytes = 0, [], 0
        while made < self._count:
            line = orjson.dumps(
                [made, 1_700_006_400_000, "user4711", "click", made / 100, "n" * 50],
                option=orjson.OPT_APPEND_NEWLINE,
            )
            lines.append(line)
            size_bytes += len(line)
            made += 1
            if size_bytes >= TICK_BYTES or made == self._count:
                yield RowLines(b"".join(lines), len(lines))
                lines, size_bytes = [], 0
                await asyncio.sleep(0)

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""


class MadeQueries:
    """Implements `gateway.seams.Queries`."""

    async def start(self, arguments: QueryArguments, permit: Permit) -> RunningQuery:
        """See `gateway.seams.Queries`."""
        return MadeRows(int(arguments.sql))

    async def close_query(self, query_id: str, permit: Permit) -> bool:
        """See `gateway.seams.Queries`."""
        return False


async def no_statements(
    text: str, variables: Mapping[str, Any], properties: Mapping[str, Any], permit: Permit
) -> list[dict[str, Any]]:
    return []


def doors() -> Doors:
    return Doors(
        sources=OneSource(),
        intake=NoStorage(),
        queries=MadeQueries(),
        statements=no_statements,
        health=dict,
        info=dict,
        open_streams=OpenStreams(),
    )


def limits(http: HttpConfig) -> HttpLimits:
    return HttpLimits(
        body_bytes=http.body_limit_bytes,
        overrun_max_bytes=http.overrun_max_bytes,
        inserts=InsertLimits(
            row_bytes=http.row_limit_bytes,
            waiting_bytes=http.stream_budget_bytes,
            ack=AckLevel.SPOOLED,
        ),
    )


async def main(kind: str) -> None:
    http = HttpConfig()
    asked_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_stop.set)

    async def stop() -> None:
        await asked_to_stop.wait()

    door = FrontDoor(H2Options(lane_paths=LANE_PATHS) if kind == "lanes" else None)
    app = make_app(doors(), limits(http))
    with contextlib.closing(listen("127.0.0.1", 0)) as listener, door.installed():
        # As `headrace serve` does.
        gc.collect()
        gc.freeze()
        sys.stderr.write(f"{kind} ready at {address(listener)}\n")
        sys.stderr.flush()
        await serve(app, listener, streams_max=http.streams_max, stop=stop)


if __name__ == "__main__":
    if sys.argv[1:] not in (["lanes"], ["stock"]):
        sys.exit(__doc__)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(sys.argv[1]))
    else:
        uvloop.run(main(sys.argv[1]))
