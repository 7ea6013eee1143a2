"""One MSQ INSERT of a file straight into a Druid cluster, without the gateway.

Druid fetches the file by its `http` input source (Druid's docs, ingestion/input-sources) from a
plain file server on loopback that lives for the run.
"""

import functools
import http.server
import json
import time
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.compare import Sample
from tests.bench.processes import BenchFailed, in_thread

POLL_S = 0.1
LIMIT_S = 180.0

SIGNATURE = {
    "TS": "long",
    "ID": "long",
    "USERNAME": "string",
    "KIND": "string",
    "AMOUNT": "double",
    "NOTE": "string",
}


class _Files(http.server.SimpleHTTPRequestHandler):
    """The file server, without a log line for each request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class DirectInsert:
    """``INSERT INTO … SELECT … FROM TABLE(EXTERN(http))``, timed from its POST to SUCCESS."""

    url: str
    file: Path
    name: str = "druid"

    def measure(self) -> Sample:
        rows = self.file.read_bytes().count(b"\n")
        handler = functools.partial(_Files, directory=str(self.file.parent))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            served = f"http://127.0.0.1:{server.server_address[1]}/{self.file.name}"
            with in_thread(server.serve_forever, server.shutdown):
                started_s = time.perf_counter()
                task = self._submit(insert_sql(f"bench_direct_{uuid.uuid4().hex[:8]}", served))
                self._await_success(task)
                seconds = time.perf_counter() - started_s
        return Sample(self.name, rows, seconds)

    def _submit(self, sql: str) -> str:
        context = {"sqlQueryId": f"bench-{uuid.uuid4().hex}", "maxNumTasks": 2}
        reply = self._call("/druid/v2/sql/task", {"query": sql, "context": context})
        return str(reply["taskId"])

    def _await_success(self, task: str) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            states = self._call("/druid/indexer/v1/taskStatus", [task])
            state = states.get(task, {}).get("status")
            if state == "SUCCESS":
                return
            if state == "FAILED":
                raise BenchFailed(f"the direct INSERT failed: {states[task]}")
            time.sleep(POLL_S)
        raise BenchFailed(f"the direct INSERT took longer than {LIMIT_S} s")

    def _call(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())


def insert_sql(datasource: str, url: str) -> str:
    """The statement: the same columns, time and partitions as the gateway's batches have."""
    source = json.dumps({"type": "http", "uris": [url]})
    signature = json.dumps([{"name": n, "type": t} for n, t in SIGNATURE.items()])
    columns = ", ".join(f'"{name}"' for name in SIGNATURE if name != "TS")
    return (
        f'INSERT INTO "{datasource}" SELECT MILLIS_TO_TIMESTAMP("TS") AS "__time", {columns} '
        f"FROM TABLE(EXTERN('{source}', '{{\"type\":\"json\"}}', '{signature}')) "
        "PARTITIONED BY DAY"
    )
