"""A real gateway whose configuration changes under it: SIGHUP, what systemd hears, bad starts."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import headrace
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    declare,
    header_of,
    insert,
    json_lines,
    numbered,
    open_inserts,
    open_query,
    records,
    until,
)

RELOADED = "the configuration was reloaded"
REFUSED = "the configuration was not reloaded"
SECRET = "s3cr3t-XyZZy-0451"


class Configured:
    """A gateway and its file."""

    def __init__(self, file: Path, running: GatewayProcess) -> None:
        self.file = file
        self.running = running

    def reload(self, text: str, says: str = RELOADED) -> None:
        """Write the file anew, send SIGHUP and wait until the log tells of it once more."""
        before = self.running.said.count(says)
        self.file.write_text(text)
        os.kill(self.running.pid, signal.SIGHUP)
        until(lambda: self.running.said.count(says) > before, f"the log says: {says}")


@contextlib.contextmanager
def configured(folder: Path, text: str) -> Iterator[Configured]:
    file = folder / "headrace.toml"
    file.write_text(text)
    with gateway_process(folder / "data", arguments=["--config", str(file)]) as running:
        yield Configured(file, running)
        assert running.stop() == 0
        assert "Traceback" not in running.said


SLOW = "[ingest]\nbatch_age_s = '1h'\n[query]\npush_queries_max = 1\n"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Configured]:
    """A gateway whose batches wait for an hour, and which allows one push query."""
    with configured(tmp_path, SLOW) as running:
        yield running


def test_a_reload_changes_the_age_of_batches_under_a_stream_that_is_open(own: Configured) -> None:
    with own.running.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name)
        stream.send(json_lines(numbered(0, 3)))
        own.reload(SLOW)
        assert records(stream) == [], "an hour is not over"
        own.reload("[ingest]\nbatch_age_s = '10 ms'\n")
        stream.read_lines(3)
        stream.send(json_lines(numbered(3, 5)), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 5)
    assert "ingest.batch_age_s" in own.running.said


def test_a_reload_changes_how_many_push_queries_there_may_be_and_ends_none(
    own: Configured,
) -> None:
    with own.running.peer() as peer:
        name = declare(peer)
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        first = open_query(peer, sql)
        header_of(first)
        assert b"push_queries_max" in ask(peer, "POST", "/query-stream", {"sql": sql}).body
        own.reload("[ingest]\nbatch_age_s = 0.01\n[query]\npush_queries_max = 2\n")
        second = open_query(peer, sql)
        header_of(second)
        insert(peer, name, numbered(0, 2))
        for stream in (first, second):
            stream.read_lines(3)
            assert records(stream)[1:] == [[0], [1]]


def test_a_reload_makes_room_for_rows_that_are_held_back(tmp_path: Path) -> None:
    limits = "[http]\nrow_limit_bytes = 1000\n[ingest]\nbatch_bytes_max = 2000\nstall_s = '1h'\n"
    tight = configured(tmp_path, f"{limits}spool_limit_bytes = 3000\n")
    with tight as own, own.running.peer() as peer:
        stream = open_inserts(peer, declare(peer))
        for first in range(0, 100, 10):
            stream.send(json_lines(numbered(first, first + 10)))
        stream.read_lines(1)
        until(lambda: not takes_rows(own), "the spool is full")
        assert len(stream.lines) < 100
        own.reload(f"{limits}spool_limit_bytes = '1 MiB'\n")
        stream.send(b"", end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 100)


def takes_rows(own: Configured) -> bool:
    with own.running.peer() as peer:
        details = ask(peer, "GET", "/healthcheck").document["details"]
    return bool(details["spool"]["isHealthy"])


def test_a_file_that_cannot_be_used_changes_nothing_and_its_line_is_logged(
    own: Configured,
) -> None:
    with own.running.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name, ack="spooled")
        stream.send(json_lines(numbered(0, 1)))
        stream.read_lines(1)
        bad = f"[query]\npush_queries_max = 9\n[druid]\npasword = '{SECRET}'\ntoken = 3\n"
        own.reload(bad, says=REFUSED)
        own.reload("[query]\npush_queries_max = \n", says=REFUSED)
        own.file.unlink()
        stream.send(json_lines(numbered(1, 2)))
        stream.read_lines(1)
        header_of(open_query(peer, f"SELECT id FROM {name} EMIT CHANGES;"))
        sql = f"SELECT id FROM {name} EMIT CHANGES;"
        assert not is_accepted(own, sql), "still one at most"
        stream.send(b"", end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 2)
    said = own.running.said
    for place in ("headrace.toml:4:1: druid.pasword", "headrace.toml:5:1: druid.token"):
        assert place in said
    assert "headrace.toml:2:20" in said
    assert SECRET not in said


def test_what_needs_a_restart_is_named_each_time_until_there_was_one(own: Configured) -> None:
    changed = SLOW + "[http]\nstreams_max = 7\n"
    own.reload(changed)
    own.reload(changed)
    told = [line for line in own.running.said.splitlines() if "need a restart" in line]
    assert len(told) == 2
    assert all("http.streams_max" in line for line in told)


def test_a_key_that_contradicts_one_that_stays_changes_nothing(own: Configured) -> None:
    own.reload("[http]\nrow_limit_bytes = 1000\n[ingest]\nbatch_bytes_max = 2000\n", says=REFUSED)
    assert "a row must fit into a batch" in own.running.said
    own.reload(SLOW)


def test_signals_that_come_in_a_row_are_all_heeded(own: Configured) -> None:
    for _ in range(50):
        os.kill(own.running.pid, signal.SIGHUP)
    own.reload("[query]\npush_queries_max = 2\n")
    with own.running.peer() as peer:
        assert ask(peer, "GET", "/info").status == 200
    until(lambda: "query.push_queries_max" in own.running.said, "the last one counts")


def test_the_level_of_the_log_follows(own: Configured) -> None:
    with own.running.peer() as peer:
        sql = f"SELECT id FROM {declare(peer)} EMIT CHANGES;"
        header_of(open_query(peer, sql))
        own.reload(SLOW)
        before = own.running.said.count(RELOADED)
        own.file.write_text("[log]\nlevel = 'error'\n[query]\npush_queries_max = 2\n")
        os.kill(own.running.pid, signal.SIGHUP)
        until(lambda: is_accepted(own, sql), "the new limit holds")
        own.reload("[query]\nzzz = 1\n", says=REFUSED)
        assert own.running.said.count(RELOADED) == before, "that was no error"


def is_accepted(own: Configured, sql: str) -> bool:
    with own.running.peer() as peer:
        stream = open_query(peer, sql)
        stream.read_headers()
        return stream.status == 200


# ── the start ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[http]\nprot = 1\n", "h.toml:2:1: http.prot: there is no such key"),
        ("[http]\nport = \n", "h.toml:2:8: is not TOML"),
        ("[ingest]\n\nbatch_age_s = '3 weeks'\n", "h.toml:3:1: ingest.batch_age_s"),
        ("[ingest]\nbatch_bytes_max = 1\n", "h.toml:2:1: http.row_limit_bytes"),
        ("[druid]\ntoken_file = '/none'\n", "h.toml:2:1: druid.token_file: /none cannot be read"),
    ],
)
def test_a_bad_file_stops_the_start_with_78_and_the_line(
    tmp_path: Path, text: str, place: str
) -> None:
    file = tmp_path / "h.toml"
    file.write_text(text)
    data = tmp_path / "data"
    ended = headrace("serve", "--config", file, "--data-dir", data, "--port", 0, folder=tmp_path)
    assert (ended.status, ended.stdout) == (78, "")
    assert place in ended.stderr
    assert not data.exists(), "nothing was touched"


def test_an_unknown_variable_stops_the_start(tmp_path: Path) -> None:
    settings = {"HEADRACE__INGEST__BATCH_AGES": SECRET}
    ended = headrace("serve", "--data-dir", tmp_path / "data", settings=settings)
    assert ended.status == 78
    assert "HEADRACE__INGEST__BATCH_AGES: " in ended.stderr
    assert "HEADRACE__INGEST__BATCH_AGE_S?" in ended.stderr
    assert SECRET not in ended.stderr


# ── systemd ──────────────────────────────────────────────────────────────────────────────────


def test_systemd_hears_of_ready_of_reloads_of_the_loop_and_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")

        def heard(kind: bytes) -> bytes:
            while not (message := manager.recv(4096)).startswith(kind):
                assert message == b"WATCHDOG=1", message
            return message

        with configured(tmp_path, SLOW) as own:
            assert own.running.url.encode() in heard(b"READY=1\n")
            heard(b"WATCHDOG=1")
            os.kill(own.running.pid, signal.SIGHUP)
            assert b"MONOTONIC_USEC=" in heard(b"RELOADING=1\n")
            heard(b"READY=1\n")
            heard(b"WATCHDOG=1")
            own.running.terminate()
            heard(b"STOPPING=1\n")
            assert own.running.wait() == 0
            own.running.start()  # the fixture stops it in peace
            heard(b"READY=1\n")


# ── what holds ───────────────────────────────────────────────────────────────────────────────


def test_a_secret_in_the_configuration_is_in_no_log(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    text = f"[log]\nlevel = 'debug'\n[druid]\ntoken_file = '{tmp_path / 'token'}'\n"
    text += f"[traces]\notlp_url = 'http://u:{SECRET}@127.0.0.1:1/'\n"
    with configured(tmp_path, text) as own:
        with own.running.peer() as peer:
            name = declare(peer)
            stream = peer.open("POST", "/inserts-stream")
            stream.send(arguments_line(name) + json_lines(numbered(0, 1)), end=True)
            stream.read_to_end()
            assert records(stream) == acks(0, 1)
        own.reload(text.replace("debug", "info"))
        assert SECRET not in own.running.said
    shown = json.loads(headrace("config", "show", "--json", tmp_path / "headrace.toml").stdout)
    assert shown["traces.otlp_url"]["value"] == "http://***@127.0.0.1:1/"
