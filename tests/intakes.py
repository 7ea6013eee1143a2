"""An intake that does what a test tells it, behind the real front door.

A real spool settles rows when it does; this one may keep them waiting, fail one of them, break a
stream off or take its channel away at a chosen moment. It stands beside the real one, not in its
place: channels over a real gateway are in `tests.server.test_channels`.
"""

from dataclasses import dataclass, field

from quart import Quart

from gateway.http.app import Doors, HttpLimits, make_app
from gateway.http.drain import OpenStreams
from gateway.http.inserts import InsertLimits
from gateway.seams import (
    AckLevel,
    ChannelClaim,
    ChannelOffsets,
    InsertSpec,
    ReceiptSink,
    Source,
    SourceKind,
)
from protocol.errors import BadRequest, BadStatement, RowRejected
from protocol.names import DeclaredNames
from protocol.types import BIGINT, Column
from tests.scripted import INFO, ScriptedQueries, ScriptedQuery

TARGET = Source(
    name="EVENTS",
    kind=SourceKind.STREAM,
    columns=(Column("A", BIGINT),),
    spec=InsertSpec(datasource="events", columns=(Column("A", BIGINT),)),
)


class OneStream:
    """A catalogue of one stream. Implements `gateway.seams.Sources`."""

    async def resolve(self, target: str) -> Source:
        """See `gateway.seams.Sources`."""
        if target.upper() != TARGET.name:
            raise BadStatement(f"Cannot insert values into an unknown stream/table: {target}", "")
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


@dataclass(eq=False)
class ScriptedStream:
    """Implements `gateway.seams.IntakeStream`: remembers its rows; the test speaks to ``sink``."""

    intake: "ScriptedIntake"
    sink: ReceiptSink
    claim: ChannelClaim | None
    level: AckLevel
    next_offset: int | None = None
    duplicates: int = 0
    waiting_bytes: int = 0
    rows: list[tuple[int, int]] = field(default_factory=list)
    """half-open ranges, as they were appended"""
    refused: list[tuple[int, bytes, str]] = field(default_factory=list)
    credited_bytes: int = 0
    closed: bool = False

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        assert raw.count(b"\n") == count
        self.rows.append((first_seq, first_seq + count))
        self.credited_bytes += credit_bytes
        self.sink.spooled(credit_bytes)
        if self.intake.settles:
            self.sink.settled(first_seq, first_seq + count)

    def refuse(self, seq: int, raw: bytes, rejected: RowRejected, credit_bytes: int) -> None:
        """See `gateway.seams.IntakeStream`."""
        self.refused.append((seq, raw, rejected.message))
        self.credited_bytes += credit_bytes
        self.sink.spooled(credit_bytes)
        self.sink.failed(seq, rejected)

    def close(self) -> None:
        """See `gateway.seams.IntakeStream`."""
        self.closed = True


@dataclass
class ScriptedIntake:
    """Implements `gateway.seams.Intake`. ``channels``: next offsets by name.

    ``settles``: rows hold their level as soon as they come; else the test says so.
    """

    channels: dict[str, int] = field(default_factory=dict)
    settles: bool = True
    streams: list[ScriptedStream] = field(default_factory=list)

    async def open_stream(
        self,
        source: Source,
        level: AckLevel,
        sink: ReceiptSink,
        channel: ChannelClaim | None = None,
    ) -> ScriptedStream:
        """See `gateway.seams.Intake`."""
        stream = ScriptedStream(self, sink, channel, level)
        if channel is not None:
            stream.next_offset = self.channels.get(channel.name, 0)
            start = stream.next_offset if channel.offset is None else channel.offset
            if start > stream.next_offset:
                raise BadRequest(f"{start} is above {stream.next_offset}")
            stream.duplicates = stream.next_offset - start
        self.streams.append(stream)
        return stream

    async def channel(self, source: Source, name: str) -> ChannelOffsets | None:
        """See `gateway.seams.Intake`."""
        if name not in self.channels:
            return None
        spooled = self.channels[name]
        return ChannelOffsets(spooled=spooled, committed=spooled - 1, queryable=spooled - 2)


def intake_app(intake: ScriptedIntake, open_streams: OpenStreams | None = None) -> Quart:
    """The application over a scripted intake."""

    async def no_statements(*_: object) -> list[dict[str, object]]:
        return []

    return make_app(
        Doors(
            sources=OneStream(),
            intake=intake,
            queries=ScriptedQueries(ScriptedQuery()),
            statements=no_statements,
            health=lambda: {"isHealthy": True},
            info=lambda: INFO,
            open_streams=OpenStreams() if open_streams is None else open_streams,
        ),
        HttpLimits(
            body_bytes=1 << 20,
            overrun_max_bytes=1 << 20,
            inserts=InsertLimits(row_bytes=1000, waiting_bytes=1 << 16, ack=AckLevel.COMMITTED),
            inserts_over_http1=True,
        ),
    )
