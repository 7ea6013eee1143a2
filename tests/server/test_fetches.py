"""Batches on a listener of their own: a whole gateway, and a scripted Druid that tells what it got.

The real Druid fetches from such a listener in tests/druid/test_fetches.py.
"""

import http.client
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import trustme

from gateway.warehouse.druid.staging import OPENINGS_MAX
from tests.certificates import client_context, wrapped, write_authority, write_pair
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import declare, json_lines, numbered, open_inserts, until

URL = re.compile(r"https?://[^\"\\]+/batches/[^\"\\]+")
ROWS = 6000


class ScriptedDruid:
    """It takes every task, and says of all of them what it is told to."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.state = "RUNNING"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def urls(self) -> list[str]:
        """Where the tasks so far would fetch their batches."""
        return [found[0] for sql in self.tasks if (found := URL.search(sql))]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: bytes) -> object:
        if path == "/druid/v2/sql/task" and method == "POST":
            document = orjson.loads(body)
            self.tasks.append(document["query"])
            return {"taskId": f"query-{document['context']['sqlQueryId']}", "state": "RUNNING"}
        if path == "/druid/indexer/v1/taskStatus":
            return {
                task: {"id": task, "status": self.state, "statusCode": self.state}
                for task in orjson.loads(body)
                if "worker" not in task
            }
        if path == "/druid/indexer/v1/workers":
            worker = {"capacity": 8, "version": "1"}
            return [{"worker": worker, "currCapacityUsed": 0, "runningTasks": []}]
        return {"version": "30.0.0"} if path == "/status" else []

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        druid = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                reply = orjson.dumps(druid.answer(self.command, urlsplit(self.path).path, body))
                self.send_response(200)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def do_POST(self) -> None:
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def druid() -> Iterator[ScriptedDruid]:
    made = ScriptedDruid()
    yield made
    made.stop()


def fetched(
    url: str, context: ssl.SSLContext | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """As a worker does: no HTTP/2, no credentials, no certificate."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=15.0, context=context)
        if context is not None
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=15.0)
    )
    try:
        connection.request("GET", parts.path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def until_gone(url: str) -> None:
    """Ask until it is not there; not so often that it would be used up by that.

    Each time for a range behind its end, which is no reading of the batch.
    """
    asked = 0
    while fetched(url, headers={"Range": "bytes=999999999-"})[0] != 404:
        asked += 1
        assert asked < OPENINGS_MAX // 2, "it is there for too long"
        time.sleep(0.25)


def send_a_large_batch(peer: Peer, druid: ScriptedDruid) -> str:
    """Its URL."""
    name = declare(peer)
    raw = json_lines(numbered(0, ROWS))
    assert len(raw) > 256 << 10
    open_inserts(peer, name).send(raw, end=True)
    until(lambda: druid.urls != [], "a batch that is fetched")
    return druid.urls[0]


def moved(url: str, address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}{urlsplit(url).path}"


def test_a_listener_of_their_own_serves_batches_and_nothing_else(
    druid: ScriptedDruid, tmp_path: Path
) -> None:
    settings = {"DRUID__URL": druid.url, "DRUID__FETCH_HOST": "127.0.0.1", "DRUID__FETCH_PORT": 0}
    with gateway_process(tmp_path / "data", warehouse="druid", settings=settings) as gateway:
        with gateway.peer() as peer:
            url = send_a_large_batch(peer, druid)
            assert urlsplit(url).port != gateway.address[1]
            status, whole = fetched(url)
            assert status == 200
            assert whole.count(b"\n") > 1000
            assert fetched(url, headers={"Range": "bytes=100-"}) == (206, whole[100:])
            front = moved(url, gateway.address)
            assert fetched(front)[0] == 404, "the front door knows no batches then"
            for path in ("/info", "/ksql", "/healthcheck", "/inserts-stream", "/", "/batches/x"):
                assert fetched(url.partition("/batches/")[0] + path)[0] == 404, path
            druid.state = "SUCCESS"
            until_gone(url)
        assert urlsplit(url).path not in gateway.said, "no token in the log"
        assert gateway.complaints == []


def test_a_url_expires_while_its_task_runs(druid: ScriptedDruid, tmp_path: Path) -> None:
    settings = {"DRUID__URL": druid.url, "DRUID__FETCH_EXPIRY_S": 2}
    with (
        gateway_process(tmp_path / "data", warehouse="druid", settings=settings) as gateway,
        gateway.peer() as peer,
    ):
        url = send_a_large_batch(peer, druid)
        assert url.startswith(gateway.url), "without a listener of their own"
        until_gone(url)
        assert druid.state == "RUNNING"


def test_workers_fetch_over_tls_without_a_certificate_where_clients_must_show_one(
    druid: ScriptedDruid, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate, key = write_pair(tmp_path, authority.issue_cert("localhost", "127.0.0.1"))
    settings = {
        "DRUID__URL": druid.url,
        "DRUID__FETCH_HOST": "127.0.0.1",
        "DRUID__FETCH_PORT": 0,
        "HTTP__TLS_CERT_FILE": certificate,
        "HTTP__TLS_KEY_FILE": key,
        "HTTP__TLS_CLIENT_AUTH": "required",
        "HTTP__TLS_CLIENT_CA_FILE": write_authority(tmp_path / "ca.pem", authority),
    }
    with gateway_process(tmp_path / "data", warehouse="druid", settings=settings) as gateway:
        shows = authority.issue_cert("client.example")
        with secure_peer(gateway, authority, shows) as peer:
            url = send_a_large_batch(peer, druid)
            assert url.startswith("https://")
            assert fetched(url, client_context(authority))[0] == 200
            druid.state = "SUCCESS"


def secure_peer(gateway: GatewayProcess, authority: trustme.CA, shows: trustme.LeafCert) -> Peer:
    secure = wrapped(gateway.address, client_context(authority, "h2", shows=shows))
    return Peer(gateway.address, sock=secure)
