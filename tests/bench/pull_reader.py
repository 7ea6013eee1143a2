"""Read one SELECT to its end, counting rows, in a process of its own; prints one JSON line.

    python -m tests.bench.pull_reader (--port P | --druid-url URL) --target NAME
    python -m tests.bench.pull_reader --database FILE

From the gateway over HTTP/2 with coalesced frames; from Druid over HTTP/1.1 as ``arrayLines``; from
a DuckDB file by ``fetchmany``. Timed from the request to the last byte.
"""

import argparse
import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from tests.bench.processes import BenchFailed
from tests.peers import Peer

PIECE_BYTES = 64 << 10
WINDOW_BYTES = 1 << 30
LIMIT_S = 150.0
FETCHED_ROWS = 2048
HEADER_LINES = 3


def from_gateway(port: int, target: str) -> int:
    """Rows of the stream through the gateway."""
    settings = {4: WINDOW_BYTES, 5: PIECE_BYTES}
    with Peer(("127.0.0.1", port), settings=settings) as peer:
        peer.open_window(WINDOW_BYTES)
        stream = peer.open("POST", "/query-stream")
        properties = {"headrace.frames": "coalesced"}
        asked = {"sql": f"SELECT * FROM {target};", "properties": properties}
        stream.send(json.dumps(asked).encode(), end=True)
        stream.read_to_end(LIMIT_S)
        lines = stream.body.count(b"\n")
        if stream.status != 200:
            raise BenchFailed(stream.body[:500].decode())
    return lines - 1


def from_druid(url: str, target: str) -> int:
    """Rows of the datasource of the same name, past the gateway."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=LIMIT_S)
    document = {
        "query": f'SELECT "__time", "ID", "USERNAME", "KIND", "AMOUNT", "NOTE" FROM "{target}"',
        "resultFormat": "arrayLines",
        "header": True,
        "typesHeader": True,
        "sqlTypesHeader": True,
    }
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/druid/v2/sql", json.dumps(document), headers)
    reply = connection.getresponse()
    lines = 0
    while piece := reply.read(PIECE_BYTES):
        lines += piece.count(b"\n")
    return lines - HEADER_LINES - 1


def from_duckdb(database: Path) -> int:
    """Rows of the table, as Python's values."""
    connection = duckdb.connect(str(database), read_only=True)
    cursor = connection.execute("SELECT * FROM bench")
    rows = 0
    while found := cursor.fetchmany(FETCHED_ROWS):
        rows += len(found)
    connection.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.pull_reader")
    parser.add_argument("--port", type=int)
    parser.add_argument("--druid-url")
    parser.add_argument("--target")
    parser.add_argument("--database", type=Path)
    options = parser.parse_args()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    if options.port:
        rows = from_gateway(options.port, options.target)
    elif options.druid_url:
        rows = from_druid(options.druid_url, options.target)
    else:
        rows = from_duckdb(options.database)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    sys.stdout.write(json.dumps({"rows": rows, "seconds": seconds, "cpu_s": cpu_s}) + "\n")


if __name__ == "__main__":
    main()
