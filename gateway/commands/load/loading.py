"""A load: rows of an input on their way into a stream, from where the channel stands to the end.

Owns: the order of things, and what is known when it breaks off. Must never know: options' names
but where a sentence tells what to do.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from gateway.client import AckBatch, Client, RowRefused
from gateway.commands.failures import CommandFailed
from gateway.commands.load.blocks import Block, PutBlock, put_ndjson
from gateway.commands.load.chunks import Input
from gateway.commands.load.flight import Flight
from gateway.commands.load.progress import Tally, shown
from gateway.commands.load.readahead import ReadAhead
from gateway.commands.load.records import CsvForm, put_csv
from gateway.commands.load.rejected import Rejected, RejectedRow
from gateway.commands.schema import columns_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How rows are to be stored. ``retry_s``: how long the gateway may be away on a channel."""

    stream: str
    ack: str
    channel: str | None
    goes_on: bool
    """after a refused row"""
    retry_s: float
    rejected: Path | None


class Load:
    """One run of it. ``csv``: None where the input is NDJSON."""

    def __init__(self, source: Input, terms: Terms, csv: CsvForm | None) -> None:
        self.tally = Tally()
        self.source = source
        self.terms = terms
        self._csv = csv
        self._flight = Flight()
        self._rows_read = 0

    async def run(self, client: Client) -> None:
        """Until every row has its verdict. Raises `CommandFailed`, and errors of the client."""
        terms, tally = self.terms, self.tally
        if self._csv is not None:
            columns = await columns_of(client, terms.stream)
            self._csv = replace(self._csv, columns=columns)
        skip = await self._stands_at(client)
        tally.skipped = skip
        offset = skip if terms.channel is not None else None
        with Rejected(terms.rejected, goes_on=skip > 0) as rejected:
            insert = client.insert(
                terms.stream,
                self._rows(skip),
                ack=terms.ack,
                channel=terms.channel,
                offset=offset,
                on_error="continue" if terms.goes_on else "stop",
            )
            async with insert as acks:
                async for batch in acks:
                    self._take(batch, rejected)
        if self._rows_read < skip:
            raise CommandFailed(
                f"the channel {terms.channel} stands at row {skip}, and {self.source.name} has "
                f"only {self._rows_read} rows: is it the file that was begun with?"
            )

    def shown(self) -> AbstractContextManager[None]:
        """A bar for the length of the block, where there is a terminal."""
        source = self.source
        title = f"{source.name} → {self.terms.stream}"
        return shown(self.tally, title, source.size_bytes, lambda: source.read_bytes)

    @property
    def standing(self) -> str:
        """What is known where it breaks off, and what to do."""
        acked = f"{self.tally.skipped + self.tally.acked:,} rows are acked"
        if self.terms.channel is not None:
            return f"{acked}; run the same command again to go on there"
        open_rows = self.tally.sent - self.tally.told
        return (
            f"{acked}; of the next {open_rows:,} it is not known whether they are stored: "
            "a load with a --channel goes on where it stopped"
        )

    def refused(self, refused: RowRefused) -> CommandFailed:
        """The refusal that ended it, with the row's place in the input."""
        again = ""
        if self.terms.channel is not None:
            again = "; mend it and run the command again: it goes on there"
        elif self.terms.goes_on:
            again = "; a load with a --channel goes on by itself, however many rows are refused"
        elif self.tally.acked:
            again = (
                f"; the {self.tally.acked:,} rows before it are stored: mend it and insert the rest"
                " (with a --channel, running the same command again does that)"
            )
        row = self._rejected_row(refused)
        return CommandFailed(
            f"line {row.line} was refused, and no row after it is stored: {row.message}{again}"
        )

    def _take(self, batch: AckBatch, rejected: Rejected) -> None:
        tally, first = self.tally, self.tally.skipped
        if batch.refused:
            rejected.add(self._rejected_row(refused) for refused in batch.refused)
        tally.told = batch.last_seq + 1
        tally.refused += len(batch.refused)
        tally.duplicates += batch.duplicates
        self._flight.land(first + tally.told)

    def _rejected_row(self, refused: RowRefused) -> RejectedRow:
        line, row = self._flight.find(self.tally.skipped + refused.seq)
        message = refused.message
        if self._csv is not None and row.startswith(b"["):
            # It stands for a record that is no row: see `records`.
            message = f"the record has {len(orjson.loads(row))} fields, unlike the header"
        return RejectedRow(line, refused.code, message, row)

    async def _stands_at(self, client: Client) -> int:
        """Rows of the input that the channel holds at the asked level: they need not be sent."""
        if self.terms.channel is None:
            return 0
        return await offset_of(client, self.terms.stream, self.terms.channel, self.terms.ack)

    async def _rows(self, skip: int) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(ReadAhead(self._produce(skip)).items()) as blocks:
            async for block in blocks:
                await self._flight.room()
                self._flight.add(block)
                self.tally.sent += len(block.lines)
                self.tally.sent_bytes += len(block.data)
                yield block.data

    def _produce(self, skip: int) -> Callable[[PutBlock], None]:
        def produce(put: Callable[[Block], None]) -> None:
            chunks = self.source.chunks()
            if self._csv is None:
                self._rows_read = put_ndjson(chunks, skip, put)
            else:
                self._rows_read = put_csv(chunks, self._csv, skip, put)

        return produce


async def offset_of(client: Client, stream: str, channel: str, level: str) -> int:
    """Where a channel stands at a level; 0 where it holds nothing yet."""
    found = await client.channel(stream, channel)
    return (
        0
        if found is None
        else {
            "spooled": found.spooled,
            "committed": found.committed,
            "queryable": found.queryable,
        }[level]
    )
