"""curl: HTTP/2 by prior knowledge and by upgrade, HTTP/1.1, whole bodies and live streams."""

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.clients.installed import curl_with_http2
from tests.clients.scripts import EARLIEST, create_stream, fresh, rows, values
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import DELIMITED, acks, insert, json_lines, ksql

V1_JSON = "application/vnd.ksql.v1+json"
H2 = "--http2-prior-knowledge"
ENDS_S = 30.0


class Curl:
    """curl towards one gateway."""

    def __init__(self, url: str) -> None:
        self._path = curl_with_http2()
        self._url = url

    def command(self, path: str, *options: str) -> list[str]:
        base = [self._path, "--silent", "--show-error", "--no-buffer"]
        return [*base, "--max-time", str(ENDS_S), *options, self._url + path]

    def __call__(self, path: str, *options: str, body: bytes | None = None) -> str:
        """The body of the reply."""
        given = [] if body is None else ["--data-binary", "@-"]
        done = subprocess.run(
            self.command(path, *options, *given),
            input=body,
            capture_output=True,
            timeout=ENDS_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@pytest.fixture(scope="module")
def curl(gateway: GatewayProcess) -> Curl:
    return Curl(gateway.url)


@pytest.fixture
def stream(peer: Peer) -> str:
    name = fresh("curl")
    ksql(peer, create_stream(name))
    return name


def sql(text: str, properties: dict[str, str] | None = None) -> bytes:
    return json.dumps({"sql": text, "properties": properties or {}}).encode()


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def readable(pipe: IO[bytes], within_s: float) -> bool:
    """Whether something can be read from it by then."""
    return bool(select.select([pipe], [], [], within_s)[0])


@contextlib.contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """curl with a request that it goes on sending; it is ended whatever happens."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_creates_lists_and_describes(curl: Curl) -> None:
    name = fresh("curl_made")
    for text in (create_stream(name), "LIST STREAMS;", f"DESCRIBE {name};"):
        for version in ("--http1.1", H2):
            options = (version, "-H", f"Accept: {V1_JSON}")
            if version == H2 and text.startswith("CREATE"):
                text = text.replace("CREATE STREAM", "CREATE STREAM IF NOT EXISTS")
            (entity,) = json.loads(
                curl("/ksql", *options, body=json.dumps({"ksql": text}).encode())
            )
            assert name in json.dumps(entity)


def test_it_inserts_and_pulls(curl: Curl, stream: str) -> None:
    body = json.dumps({"target": stream}).encode() + b"\n" + json_lines(rows(0, 20))
    assert documents(curl("/inserts-stream", H2, body=body)) == acks(0, 20)
    query = sql(f"SELECT ID, NAME, PRICE FROM {stream} ORDER BY ID;")
    for version in ("--http1.1", H2):
        header, *found = documents(curl("/query-stream", version, body=query))
        assert header["columnNames"] == ["ID", "NAME", "PRICE"]
        assert found == values(0, 20)


def test_acks_come_while_it_still_sends(curl: Curl, stream: str) -> None:
    # It looks for what came back only when it has something to send: so it is given rows until
    # the first ack is there.
    with running(curl.command("/inserts-stream", H2, "--upload-file", "-", "-X", "POST")) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        sender.stdin.write(json.dumps({"target": stream}).encode() + b"\n")
        sent = 0
        while not readable(sender.stdout, within_s=0.05):
            assert sent < ENDS_S / 0.05, "no ack came while the request was open"
            sender.stdin.write(json_lines(rows(sent, sent + 1)))
            sender.stdin.flush()
            sent += 1
        sender.stdin.close()
        assert documents(sender.stdout.read().decode()) == acks(0, sent)
        assert sender.wait(ENDS_S) == 0


@pytest.mark.parametrize("version", ["--http1.1", H2])
def test_it_subscribes_and_closes(curl: Curl, stream: str, peer: Peer, version: str) -> None:
    query = sql(f"SELECT ID, NAME, PRICE FROM {stream} EMIT CHANGES;", EARLIEST).decode()
    with running(curl.command("/query-stream", version, "--data-binary", query)) as push:
        assert push.stdout is not None
        header = json.loads(push.stdout.readline())
        insert(peer, stream, rows(0, 2))
        assert [json.loads(push.stdout.readline()) for _ in range(2)] == values(0, 2)
        closing = json.dumps({"queryId": header["queryId"]}).encode()
        assert curl("/close-query", version, body=closing) == "{}"
        assert push.stdout.read() == b""
        assert push.wait(ENDS_S) == 0
    gone = json.loads(curl("/close-query", version, body=closing))
    assert gone["message"] == f"No query with id {header['queryId']}"


@pytest.mark.parametrize("version", ["--http1.1", H2])
@pytest.mark.parametrize("path", ["/query-stream", "/query"])
def test_all_three_framings_are_what_was_asked_for(
    curl: Curl, stream: str, peer: Peer, version: str, path: str
) -> None:
    insert(peer, stream, rows(0, 2))
    text = f"SELECT ID FROM {stream} ORDER BY ID;"
    body = json.dumps({"sql": text, "ksql": text}).encode()
    lines = curl(path, version, "-H", f"Accept: {DELIMITED}", body=body)
    assert documents(lines)[1:] == [[0], [1]]
    streamed = json.loads(curl(path, version, "-H", f"Accept: {V1_JSON}", body=body))
    assert streamed[0]["header"]["schema"] == "`ID` BIGINT"
    assert [item["row"]["columns"] for item in streamed[1:3]] == [[0], [1]]
    array = json.loads(curl(path, version, "-H", "Accept: application/json", body=body))
    if path == "/query":
        # There JSON means the other of the two JSON forms (§1.3).
        assert [item["row"]["columns"] for item in array[1:3]] == [[0], [1]]
    else:
        assert array[1:] == [[0], [1]]


def test_an_upgrade_with_a_body_is_answered_on_http1(curl: Curl) -> None:
    # `--http2` over clear text offers an upgrade; with a body a server may go on without it.
    reply = curl("/ksql", "--http2", body=json.dumps({"ksql": "LIST STREAMS;"}).encode())
    assert json.loads(reply)[0]["@type"] == "streams"


def test_a_head_of_a_refusal_tells_status_and_type(curl: Curl) -> None:
    reply = curl("/close-query", H2, "-i", body=b'{"queryId":"nobody"}')
    head, _, body = reply.partition("\r\n\r\n")
    assert head.splitlines()[0] == "HTTP/2 400 "
    assert "content-type: application/json" in head
    assert json.loads(body)["error_code"] == 40000
