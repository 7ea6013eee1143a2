"""New certificates under a running server: new handshakes get them, open connections go on."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from quart import Quart
from structlog.testing import capture_logs

import gateway.tls
from gateway.http.tls import ServerTls, TlsFiles
from gateway.tls import TlsUnusable
from tests.certificates import client_context, serial_of, shown_serial, wrapped, write_pair
from tests.doors import Door, opened_door
from tests.gateways import gateway_process
from tests.peers import Peer
from tests.server.ksqldb import acks, declare, json_lines, numbered, open_inserts, records

DEADLINE_S = 15.0
BEFORE = datetime(2035, 1, 1, tzinfo=UTC)
AFTER = datetime(2036, 1, 1, tzinfo=UTC)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Rotated:
    """A server whose certificate is mounted as Kubernetes mounts it: files behind a linked folder.

    ``..data`` is a link that is exchanged in one step; ``cert.pem`` is a link through it.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.generation = 0
        self.issued = self.rotate(BEFORE)
        for name in ("cert.pem", "key.pem"):
            (folder / name).symlink_to(Path("..data") / name)
        self.tls = ServerTls(TlsFiles(folder / "cert.pem", folder / "key.pem"))

    def rotate(self, expires: datetime = AFTER) -> trustme.LeafCert:
        """The next certificate and key, put in the place of the last in one step."""
        self.generation += 1
        issued = self.authority.issue_cert("localhost", not_after=expires)
        write_pair(self.folder / f"..{self.generation}", issued)
        link = self.folder / "..data_new"
        link.symlink_to(f"..{self.generation}")
        link.replace(self.folder / "..data")
        return issued

    def shown(self, door: Door) -> str:
        return shown_serial(door.address, client_context(self.authority, "h2"))


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


@pytest.fixture
def door(rotated: Rotated) -> Iterator[Door]:
    app = Quart("plain")

    @app.get("/")
    async def root() -> str:
        return "here"

    with opened_door(app, tls=rotated.tls) as opened:
        yield opened


def test_new_handshakes_get_the_new_certificate_and_open_connections_go_on(
    rotated: Rotated, door: Door
) -> None:
    secure = wrapped(door.address, client_context(rotated.authority, "h2"))
    with Peer(door.address, sock=secure) as peer:
        assert peer.open("GET", "/", end=True).read_to_end() == b"here"
        assert rotated.shown(door) == serial_of(rotated.issued)
        renewed = rotated.rotate()
        door.call(rotated.tls.reload)
        assert rotated.shown(door) == serial_of(renewed) != serial_of(rotated.issued)
        assert peer.open("GET", "/", end=True).read_to_end() == b"here"
        assert peer.goaway is None


def test_changed_files_are_noticed_without_a_signal(
    rotated: Rotated, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.tls, "WATCH_S", 0.01)
    watching = door.call(lambda: asyncio.ensure_future(rotated.tls.watch()))
    renewed = rotated.rotate()
    until(lambda: rotated.shown(door) == serial_of(renewed), "the new certificate is shown")
    door.call(watching.cancel)


def test_the_moment_of_expiry_follows_the_certificate(rotated: Rotated) -> None:
    assert rotated.tls.expires_at == BEFORE.timestamp()
    rotated.rotate()
    rotated.tls.reload()
    assert rotated.tls.expires_at == AFTER.timestamp()


def test_an_expiry_that_is_near_is_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logs:
        rotated = Rotated(tmp_path)
        rotated.rotate(datetime(2020, 1, 1, tzinfo=UTC))
        rotated.tls.reload()
    told = [(log["log_level"], log["expires"]) for log in logs if log["event"] == "certificate"]
    assert told == [("info", BEFORE.isoformat()), ("warning", "2020-01-01T00:00:00+00:00")]


@pytest.mark.parametrize("spoilt", ["a half of the pair", "nonsense", "nothing"])
def test_a_bad_new_file_keeps_the_old_certificate_until_it_is_mended(
    rotated: Rotated, door: Door, spoilt: str
) -> None:
    """Files that are written one after the other are half a pair for a moment."""
    data = rotated.folder / "..data"
    renewed = rotated.authority.issue_cert("localhost", not_after=AFTER)
    match spoilt:
        case "a half of the pair":
            (data / "cert.pem").write_bytes(renewed.cert_chain_pems[0].bytes())
        case "nonsense":
            (data / "cert.pem").write_text("nonsense")
        case "nothing":
            (data / "key.pem").unlink()
    with capture_logs() as logs:
        rotated.tls.reload_if_changed()
        rotated.tls.reload_if_changed()
    assert [log["log_level"] for log in logs] == ["error"], "said once for each change"
    assert "http.tls_" in logs[0]["error"]
    with pytest.raises(TlsUnusable):
        rotated.tls.reload()
    assert rotated.shown(door) == serial_of(rotated.issued)
    assert rotated.tls.expires_at == BEFORE.timestamp()
    write_pair(data, renewed)
    rotated.tls.reload_if_changed()
    assert rotated.shown(door) == serial_of(renewed)


def test_files_that_did_not_change_are_not_read_again(rotated: Rotated) -> None:
    with capture_logs() as logs:
        rotated.tls.reload_if_changed()
    assert logs == []


def test_sighup_takes_up_the_new_certificate_under_an_open_stream(tmp_path: Path) -> None:
    files = Rotated(tmp_path / "mounted")
    settings = {
        "HTTP__TLS_CERT_FILE": files.folder / "cert.pem",
        "HTTP__TLS_KEY_FILE": files.folder / "key.pem",
    }
    context = client_context(files.authority, "h2")
    with gateway_process(tmp_path / "data", settings=settings) as gateway:
        with Peer(gateway.address, sock=wrapped(gateway.address, context)) as peer:
            stream = open_inserts(peer, declare(peer))
            stream.send(json_lines(numbered(0, 10)))
            stream.read_lines(10)
            renewed = files.rotate()
            os.kill(gateway.pid, signal.SIGHUP)
            until(
                lambda: shown_serial(gateway.address, context) == serial_of(renewed),
                "the new certificate is shown",
            )
            stream.send(json_lines(numbered(10, 20)), end=True)
            stream.read_to_end()
            assert records(stream) == acks(0, 20)
        assert gateway.complaints == []
