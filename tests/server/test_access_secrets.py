"""No secret leaves a gateway that has one of every kind: in no log, file, page, answer or task."""

import base64
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.commands import headrace
from tests.gateways import GatewayProcess
from tests.guarded import (
    PASSWORD,
    TOKENS,
    admin_address,
    ask1,
    ask2,
    basic,
    bearer,
    guarded_gateway,
    shown,
    web_token,
    who,
)
from tests.server.ksqldb import until
from tests.websockets import UpgradedSocket, query_path

DRUID_PASSWORD = "druid-pässword/of:this test"
TRACES_PASSWORD = "traces-password-of-this-test"
FILE_PASSWORD = "pasted-where-its-hash-belongs"
URL_TOKEN = "AllLettersOfATokenInAUrl"
WRONG_PASSWORD = "QWxsTGV0dGVyczpBbGxM"
WRONG_TOKEN = "NobodyKnowsThisToken"


WORKER = {"worker": {"capacity": 8, "host": "w:8091"}, "currCapacityUsed": 0, "runningTasks": []}
ANSWERS = {
    "workers": json.dumps([WORKER]).encode(),
    "status": b'{"version":"27.0.0"}',
    "taskStatus": b"{}",
}


class FakeDruid:
    """Takes everything and does nothing with it; every fifth answer is that of a broken server.

    ``heard`` is what it was sent beside the header that is meant for it.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.shown: set[str | None] = set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                others = {k: v for k, v in self.headers.items() if k.lower() != "authorization"}
                fake.shown.add(self.headers.get("authorization"))
                fake.heard.append(f"{self.path} {others} {self.rfile.read(length).decode()}")
                broken = len(fake.heard) % 5 == 0
                body = ANSWERS.get(self.path.rpartition("/")[2], b"[]")
                body = b'{"error":"broken","errorMessage":"at random"}' if broken else body
                self.send_response(500 if broken else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET  # noqa: N815 - names of the library's

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator["FakeDruid"]:
        """Answer."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _spellings(secret: str) -> set[str]:
    """A secret as it may stand somewhere: itself, encoded, or in the pair of a Basic header."""
    raw = secret.encode()
    pairs = [base64.b64encode(name + b":" + raw).decode() for name in (b"bert", b"gateway", b"u")]
    plain = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), raw.hex()]
    quoted = [quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]]
    return {secret, *(each.rstrip("=") for each in (*pairs, *plain)), *quoted, repr(raw)[2:-1]}


def _operations(gateway: GatewayProcess) -> Iterator[bytes]:
    """Some hundred requests, good and bad, and what is answered to each."""
    shows = [
        *map(who, TOKENS),
        *(basic("bert", PASSWORD), bearer(web_token()), basic("bert", WRONG_PASSWORD)),
        *(bearer(WRONG_TOKEN), f"Basic {WRONG_PASSWORD}", f"Digest {WRONG_TOKEN}", WRONG_TOKEN),
        basic(WRONG_TOKEN, "x"),
    ]
    statements = [
        *("CREATE STREAM MINE (ID INT, S STRING) WITH (ack='spooled');", "LIST STREAMS EXTENDED;"),
        *("DROP STREAM MYTH;", "LIST PROPERTIES;", "DESCRIBE MINE EXTENDED;", "LIST QUERIES;"),
        "EXPLAIN SELECT * FROM MINE;",
        "INSERT INTO MINE SELECT 1 PARTITIONED BY ALL;",
        "INSERT INTO MINE (ID, S) VALUES (1, 'x');",
    ]
    front = ["/info", "/healthcheck", "/status", "/clusterStatus", "/v1/metadata", "/nowhere"]
    admin = ["/", "/page.js", "/picture", "/metrics", "/healthcheck", "/readyz", "/batches"]
    for shown_by in shows:
        for path in front:
            reply = ask1(gateway.address, "GET", path, b"", shown(shown_by))
            yield str(reply.headers).encode() + reply.body
        for path in (*admin, "/dead-letters", "/nowhere"):
            reply = ask1(admin_address(gateway), "GET", path, b"", shown(shown_by))
            yield str(reply.headers).encode() + reply.body
        for text in statements:
            body = json.dumps({"ksql": text}).encode()
            yield ask2(gateway.address, "POST", "/ksql", body, shown(shown_by)).body
        for sql in ("SELECT * FROM MINE;", "SELECT nonsense FROM;", "SELECT 1;"):
            body = json.dumps({"sql": sql}).encode()
            yield ask2(gateway.address, "POST", "/query-stream", body, shown(shown_by)).body
    for token in (URL_TOKEN, TOKENS["olga"], WRONG_TOKEN):
        for name in ("access_token", "%61ccess_token"):
            with UpgradedSocket(gateway.address, f"{query_path('SELECT 1;')}&{name}={token}") as ws:
                yield ws.read_to_close()[1].encode()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_of_a_gateway_is_told_anywhere(tmp_path: Path, log_format: str) -> None:
    password_file = tmp_path / "druid-password"
    password_file.write_text(f"{DRUID_PASSWORD}\n")
    druid, told = FakeDruid(), bytearray()
    settings = {
        "DRUID__URL": druid.url,
        "DRUID__USERNAME": "gateway",
        "DRUID__PASSWORD_FILE": password_file,
        "DRUID__INLINE_LIMIT_BYTES": 1,
        "TRACES__OTLP_URL": f"http://u:{TRACES_PASSWORD}@127.0.0.1:9/v1/traces",
        "LOG__LEVEL": "debug",
        "LOG__FORMAT": log_format,
    }
    folder = tmp_path / "guarded"
    with (
        druid.running(),
        guarded_gateway(folder, warehouse="druid", settings=settings) as gateway,
    ):
        for answer in _operations(gateway):
            told += answer
        until(lambda: any("/batches/" in heard for heard in druid.heard), "a task to be sent")
        hashed = (folder / "users").read_text()
        (folder / "users").write_text(f"{hashed}carl:{FILE_PASSWORD}\n")
        os.kill(gateway.pid, signal.SIGHUP)
        until(lambda: "access stays as it was" in gateway.said, "the reload")
        gateway.stop()
        said = gateway.said
    config = ["--config", folder / "config.toml"]
    environment = {f"HEADRACE__{name}": str(value) for name, value in settings.items()}
    for arguments in (["show"], ["show", "--json"], ["check"], ["check", "--json"]):
        ended = headrace("config", *arguments, *config, settings=environment)
        told += ended.stdout.encode() + ended.stderr.encode()
    for crash in ({"DRUID__URL": f"http://u:{DRUID_PASSWORD}@h"}, {"DRUID__TOKEN": "a b\x7f"}):
        ended = headrace("serve", *config, "--port", 0, settings={**environment, **crash})
        assert ended.status != 0
        told += ended.stdout.encode() + ended.stderr.encode()
    told += (folder / "audit.jsonl").read_bytes()
    everything = "\n".join([told.decode(errors="replace"), said, *druid.heard])
    own = (folder / "data" / "secret").read_bytes()
    secrets = [DRUID_PASSWORD, TRACES_PASSWORD, FILE_PASSWORD, PASSWORD, WRONG_PASSWORD]
    secrets += [*TOKENS.values(), WRONG_TOKEN, URL_TOKEN, own.hex(), base64.b64encode(own).decode()]
    found = {secret for secret in secrets for each in _spellings(secret) if each in everything}
    assert found == set()
    assert "$argon2id$" not in everything
    assert "eyJ" not in everything, "a web token"
    # It was not for want of use: Druid was shown its password, and the log and the page told much.
    assert any(shown_by and shown_by.startswith("Basic ") for shown_by in druid.shown)
    assert len(everything) > 100_000
