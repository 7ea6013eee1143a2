"""The transport suite: the gateway's HTTP/2 connection against the stock one and against Node.

Three servers stand side by side for the whole run and one is active at a time: ``node``
(`reference.js`), ``stock`` (the gateway's own app on Hypercorn's connection, lanes off) and
``gateway``; both of ours with nothing behind the door (`ack_server`). Two more are whole gateways
on the embedded warehouse that ack at ``spooled``: one holds its batches back until a run is over,
so that the way to the disk is measured; one commits meanwhile, in the same process, as it does.

By default the protocol has each ack and each row in a DATA frame of its own, and the gateway keeps
to it while Node packs what it has at a time: "packed" contenders ask for coalesced frames.
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.compare import Bar, By, Contender, Sample, Verdict, alternate, judge
from tests.bench.options import Options
from tests.bench.processes import (
    Gateway,
    cpu_seconds,
    module_command,
    quiet_disk,
    serving,
    up,
)
from tests.bench.rows import ROW_BYTES, write_rows
from tests.bench.streams import create_stream, expect_count
from tests.bench.wire import build, compiler, load

ROUNDS = 5
RUN_S = 1.0
WARM_S = 0.3
CYCLE_ROWS = 4096
"""Rows that an insert sends over and over: a whole number of 16 KiB frames holds them."""
FRAME_BYTES = 16 * 1024
assert CYCLE_ROWS * ROW_BYTES % FRAME_BYTES == 0
ROW_FRAMES, BIG_FRAMES = 0, FRAME_BYTES
PACED_CONNECTIONS, PACED_ROWS_PER_S, PACED_S = 50, 2000, 0.7
PACED_ROUNDS = 15
"""Many short ones: whatever else the machine does hits some rounds, and the median is of others."""

NODE, STOCK, GATEWAY = "node", "stock", "gateway"
STOCK_PACKED, GATEWAY_PACKED = "stock packed", "gateway packed"
SPOOLED, COMMITTING = "to spooled", "to spooled, committing"
HELD_BACK = {
    "INGEST__BATCH_AGE_S": 2 * RUN_S,
    "INGEST__BATCH_ROWS_MAX": 100_000_000,
    "INGEST__BATCH_BYTES_MAX": 1 << 30,
}


# ── contenders ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Run:
    """One load on one server: ``arguments`` are those of the client after the port."""

    name: str
    server: Gateway
    client: Path
    kind: str
    arguments: tuple[object, ...]

    def measure(self) -> Sample:
        """See `tests.bench.compare.Contender`."""
        before_s = cpu_seconds(self.server.pid)
        done = load(self.client, self.kind, self.server.port, self.arguments)
        server_s = cpu_seconds(self.server.pid) - before_s
        cpu_s = {"server": round(server_s, 2), "client": round(done["cpu_s"], 3)}
        notes = {"us_per_row": round(server_s / done["rows"] * 1e6, 2)}
        if "p99_ms" in done:
            notes |= {"p50_ms": done["p50_ms"], "p99_ms": done["p99_ms"]}
        sample = Sample(self.name, done["rows"], done["seconds"], cpu_s, notes, done.get("p99_ms"))
        if sample.client_bound:
            return replace(sample, notes={**notes, "client-bound": True})
        return sample


@dataclass
class SpooledRun:
    """An insert into a stream of its own on a whole gateway.

    Its rows must be in the warehouse before the next contender starts: until then the gateway
    works on, and would slow that one down.
    """

    name: str
    server: Gateway
    client: Path
    file: Path
    seconds: float

    def measure(self) -> Sample:
        """See `tests.bench.compare.Contender`."""
        target = f"BENCH_{time.time_ns()}"
        asyncio.run(create_stream(self.server.url, target))
        arguments = insert_arguments(self.file, ROW_FRAMES, self.seconds, target=target)
        sample = Run(self.name, self.server, self.client, "insert", arguments).measure()
        asyncio.run(expect_count(self.server.url, target, sample.rows))
        quiet_disk()
        return sample


def insert_arguments(
    file: Path, frame_bytes: int, seconds: float, *, packed: bool = False, target: str = "BENCH"
) -> tuple[object, ...]:
    """What ``wire insert`` wants after the port."""
    line = arguments_line(packed=packed, target=target)
    return ("/inserts-stream", line, file, frame_bytes, seconds)


def arguments_line(*, packed: bool, target: str = "BENCH") -> str:
    properties = {"headrace.ack": "spooled"}
    if packed:
        properties["headrace.frames"] = "coalesced"
    return json.dumps({"target": target, "properties": properties}) + "\n"


@dataclass(frozen=True)
class Floor:
    """The servers, the client and the rows of a run."""

    client: Path
    file: Path
    servers: dict[str, Gateway]

    def insert(self, name: str, frame_bytes: int, seconds: float = RUN_S) -> Run:
        """A flood on the server that the contender's name begins with."""
        server, _, packed = name.partition(" ")
        arguments = insert_arguments(self.file, frame_bytes, seconds, packed=bool(packed))
        return Run(name, self.servers[server], self.client, "insert", arguments)

    def spooled(self, name: str, seconds: float = RUN_S) -> SpooledRun:
        """A flood into a stream on one of the whole gateways."""
        return SpooledRun(name, self.servers[name], self.client, self.file, seconds)

    def paced(self, name: str, seconds: float = PACED_S) -> Run:
        """Rows trickling in on many connections."""
        pace = (PACED_CONNECTIONS, PACED_ROWS_PER_S, seconds)
        arguments = ("/inserts-stream", arguments_line(packed=False), self.file, *pace)
        return Run(name, self.servers[name], self.client, "paced", arguments)

    def query(self, name: str, rows: int) -> Run:
        """A query of so many rows, each server about a second's worth."""
        server, _, packed = name.partition(" ")
        body: dict[str, object] = {"sql": str(rows)}
        if packed:
            body["properties"] = {"headrace.frames": "coalesced"}
        arguments = ("/query-stream", json.dumps(body), rows)
        return Run(name, self.servers[server], self.client, "query", arguments)


@contextmanager
def floor(folder: Path, profile: Path | None = None) -> Iterator[Floor]:
    """Everything up for the block."""
    file = folder / "rows.ndjson"
    write_rows(file, CYCLE_ROWS)
    node = shutil.which("node")
    assert node is not None
    acks = "tests.bench.ack_server"
    commands = {
        NODE: [node, str(Path(__file__).with_name("reference.js"))],
        STOCK: [*module_command(acks), "stock"],
        GATEWAY: [*module_command(acks, profile), "lanes"],
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(up(command, folder / f"{name}.log"))
            for name, command in commands.items()
        }
        for name, settings in ((SPOOLED, HELD_BACK), (COMMITTING, {})):
            whole = serving(folder / name, settings=settings)
            servers[name] = stack.enter_context(whole)
        yield Floor(build(folder), file, servers)


# ── cases ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """Contenders that are measured in turn, and the bars between them."""

    name: str
    contenders: Sequence[Contender]
    bars: Sequence[Bar]
    rounds: int = ROUNDS


def cases(on: Floor) -> list[Case]:
    """The transport suite."""
    inserters = (NODE, STOCK, GATEWAY, STOCK_PACKED, GATEWAY_PACKED)
    rows = [on.insert(name, ROW_FRAMES) for name in inserters]
    big = [on.insert(name, BIG_FRAMES) for name in inserters]
    return [
        Case(
            "one row per DATA frame",
            [*rows, on.spooled(SPOOLED), on.spooled(COMMITTING)],
            [
                Bar(GATEWAY, STOCK, 10),
                Bar(GATEWAY, STOCK, None, By.PER_CPU),
                Bar(GATEWAY_PACKED, STOCK_PACKED, None),
                Bar(GATEWAY, NODE, None),
                Bar(GATEWAY, NODE, 1.5, By.PER_CPU),
                Bar(GATEWAY_PACKED, NODE, None, By.PER_CPU),
                Bar(SPOOLED, GATEWAY, 0.5),
                Bar(COMMITTING, GATEWAY, None),
            ],
        ),
        Case(
            "16 KiB frames",
            big,
            [
                Bar(GATEWAY, STOCK, 1.3),
                Bar(GATEWAY_PACKED, STOCK_PACKED, 1.3),
                Bar(GATEWAY, NODE, 1.0),
                Bar(GATEWAY_PACKED, NODE, 1.0),
                Bar(GATEWAY_PACKED, NODE, None, By.PER_CPU),
            ],
        ),
        Case(
            "/query-stream, coalesced",
            [on.query(STOCK_PACKED, 1_500_000), on.query(GATEWAY_PACKED, 3_000_000)],
            [
                Bar(GATEWAY_PACKED, STOCK_PACKED, 1.2),
                Bar(GATEWAY_PACKED, STOCK_PACKED, None, By.PER_CPU),
            ],
        ),
        Case(
            "/query-stream, delimited",
            [on.query(STOCK, 300_000), on.query(GATEWAY, 1_500_000)],
            [Bar(GATEWAY, STOCK, 3), Bar(GATEWAY, STOCK, None, By.PER_CPU)],
        ),
        Case(
            f"{PACED_CONNECTIONS} connections, {PACED_ROWS_PER_S} rows/s",
            [on.paced(name) for name in (NODE, STOCK, GATEWAY)],
            [
                Bar(GATEWAY, STOCK, 1, By.QUICKNESS),
                Bar(GATEWAY, NODE, 1 / 1.5, By.QUICKNESS),
                Bar(GATEWAY, STOCK, None, By.PER_CPU),
            ],
            rounds=PACED_ROUNDS,
        ),
    ]


def warm_up(on: Floor) -> None:
    """Make every piece of code on the way have run."""
    for name in (NODE, STOCK, GATEWAY, STOCK_PACKED, GATEWAY_PACKED):
        for frame_bytes in (ROW_FRAMES, BIG_FRAMES):
            on.insert(name, frame_bytes, WARM_S).measure()
        if name != NODE:
            on.query(name, 20_000).measure()
    on.spooled(SPOOLED, WARM_S).measure()
    on.spooled(COMMITTING, WARM_S).measure()


def transport(options: Options) -> list[Verdict]:
    """Every case on servers that stay up, in rounds of alternating order."""
    missing = [
        name for name, there in (("node", shutil.which("node")), ("cc", compiler())) if not there
    ]
    if missing:
        options.emit({"skipped": "transport", "reason": f"needs {' and '.join(missing)}"})
        return []
    verdicts: list[Verdict] = []
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        floor(Path(folder), options.profile) as on,
    ):
        warm_up(on)
        for case in cases(on):
            verdicts += run_case(case, options)
    return verdicts


def run_case(case: Case, options: Options) -> list[Verdict]:
    """Its rounds, then its bars."""

    def emit(result: dict[str, Any]) -> None:
        options.emit({"case": case.name, **result})

    rounds = alternate(case.contenders, options.rounds or case.rounds, emit)
    return [judge(rounds, replace(bar, case=case.name)) for bar in case.bars]
