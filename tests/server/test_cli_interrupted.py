"""Loads that are interrupted: by ^C, by SIGKILL, by a gateway that goes away. No row twice."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.commands import Ended, command_line, environment, headrace
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import count, declare, json_lines, numbered, query, until
from tests.terminal import INTERRUPT, on_a_terminal

ROWS = 60_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.ndjson"
    file.write_bytes(json_lines(numbered(0, ROWS)))
    return file


class Running:
    """A load that runs."""

    def __init__(self, gateway: GatewayProcess, *arguments: object, stdin: int | None = None):
        command = command_line(["insert", *arguments, "--url", gateway.url])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=pipe, stderr=pipe, env=environment({})
        )

    def ended(self) -> Ended:
        stdout, stderr = self.process.communicate(timeout=60)
        return Ended(self.process.returncode, stdout.decode(), stderr.decode())


class Fed:
    """A file that reaches the load through a pipe: what is in the pipe not yet cannot be sent."""

    def __init__(self, file: Path) -> None:
        self.reader, writer = os.pipe()
        self._pipe = os.fdopen(writer, "wb")
        text = file.read_bytes()
        half = text.index(b"\n", len(text) // 2) + 1
        self._halves = text[:half], text[half:]

    def first_half(self) -> None:
        """The load has the other side of the pipe by now."""
        os.close(self.reader)
        self._pipe.write(self._halves[0])
        self._pipe.flush()

    def second_half(self) -> None:
        """And the end."""
        self._pipe.write(self._halves[1])
        self.close()

    def close(self) -> None:
        self._pipe.close()


def has_begun(peer: Peer, stream: str) -> None:
    until(lambda: count(peer, stream) > 0, "the first rows of the load")


def each_once(peer: Peer, stream: str) -> tuple[int, int]:
    """Rows, and rows that differ."""
    rows = query(peer, f"SELECT COUNT(*), COUNT(DISTINCT id) FROM {stream};").rows
    return rows[0][0], rows[0][1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_load_that_is_interrupted_goes_on_where_it_stopped(
    gateway: GatewayProcess, peer: Peer, stream_name: str, file: Path, number: signal.Signals
) -> None:
    fed = Fed(file)
    running = Running(gateway, stream_name, "--channel", "load", stdin=fed.reader)
    fed.first_half()
    has_begun(peer, stream_name)
    running.process.send_signal(number)
    done = running.ended()
    fed.close()
    if number is signal.SIGKILL:
        assert done.status == -number
    else:
        assert done.status == 128 + number
        assert done.stderr.startswith("headrace: interrupted: ")
        assert "run the same command again" in done.stderr
    again = headrace("insert", stream_name, file, "--channel", "load", "--url", gateway.url)
    assert (again.status, again.stderr) == (0, "")
    counted = dict(again.fields)
    assert int(counted["skipped"]) > 0
    assert int(counted["skipped"]) + int(counted["acked"]) == ROWS
    assert each_once(peer, stream_name) == (ROWS, ROWS)


def test_without_a_channel_an_interrupted_load_says_what_is_not_known(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    running = Running(gateway, stream_name, stdin=subprocess.PIPE)
    pipe = running.process.stdin
    assert pipe is not None
    pipe.write(json_lines(numbered(0, 10)))
    pipe.flush()
    has_begun(peer, stream_name)
    running.process.send_signal(signal.SIGINT)
    assert running.process.stderr is not None
    said = running.process.stderr.read().decode()
    assert running.process.wait(60) == 130
    assert "it is not known" in said
    assert "--channel" in said
    running.ended()


def test_a_load_on_a_channel_survives_a_restart_of_the_gateway(tmp_path: Path, file: Path) -> None:
    with gateway_process(tmp_path / "data") as gateway:
        with gateway.peer() as peer:
            stream = declare(peer)
            fed = Fed(file)
            running = Running(gateway, stream, "--channel", "load", stdin=fed.reader)
            fed.first_half()
            has_begun(peer, stream)
        gateway.keep_port()
        gateway.kill()
        gateway.start()
        # What comes now cannot have been sent before.
        fed.second_half()
        done = running.ended()
        assert (done.status, done.stderr) == (0, "")
        assert dict(done.fields)["acked"] == str(ROWS)
        with gateway.peer() as peer:
            assert each_once(peer, stream) == (ROWS, ROWS)


def test_a_gateway_that_stays_away_is_exit_code_75_and_the_load_can_be_taken_up(
    tmp_path: Path, file: Path
) -> None:
    with gateway_process(tmp_path / "data") as gateway:
        with gateway.peer() as peer:
            stream = declare(peer)
            fed = Fed(file)
            options = ("--channel", "load", "--retry-s", 0.5)
            running = Running(gateway, stream, *options, stdin=fed.reader)
            fed.first_half()
            has_begun(peer, stream)
        gateway.keep_port()
        gateway.kill()
        done = running.ended()
        assert (done.status, done.stdout) == (75, "")
        assert "run the same command again" in done.stderr
        fed.close()
        gateway.start()
        again = headrace("insert", stream, file, "--channel", "load", "--url", gateway.url)
        assert (again.status, again.stderr) == (0, "")
        assert int(dict(again.fields)["acked"]) >= ROWS // 2
        with gateway.peer() as peer:
            assert each_once(peer, stream) == (ROWS, ROWS)


def test_on_a_terminal_a_bar_shows_how_far_it_is_and_interrupt_takes_it_away(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb") as pipe:
        command = ("insert", stream_name, "--channel", "c", "--url", gateway.url)
        with on_a_terminal(*command, stdin=stdin.fileno()) as terminal:
            pipe.write(json_lines(numbered(0, 1234)))
            pipe.flush()
            terminal.expect(r"standard input → S_\d+")
            terminal.expect(r"1,234 rows sent +1,234 acked +[\d,]+ rows/s +\d+\.\d kB")
            terminal.type(INTERRUPT)
            terminal.expect(r"headrace: interrupted: 1,234 rows are acked; run the same command")
            assert terminal.wait() == 130
    assert count(peer, stream_name) == 1234


def test_away_from_a_terminal_nothing_is_shown_while_it_runs(
    gateway: GatewayProcess, stream_name: str, file: Path
) -> None:
    done = headrace("insert", stream_name, file, "--ack", "spooled", "--url", gateway.url)
    assert (done.status, done.stderr) == (0, "")
    names = ["stream", "acked", "refused", "duplicates", "skipped", "seconds", "rowsPerSecond"]
    assert [line[0] for line in done.fields] == names


def test_rows_that_are_refused_anew_are_told_once(tmp_path: Path) -> None:
    rows = [json_lines(numbered(number, number + 1)) for number in range(223)]
    for number in range(0, len(rows), 10):
        rows[number] = b"nonsense\n"
    rejected = tmp_path / "rejected"
    options = ("--channel", "load", "--on-error", "continue", "--rejected", rejected)

    def told() -> list[int]:
        lines = rejected.read_bytes().splitlines() if rejected.exists() else []
        return [json.loads(line)["line"] for line in lines]

    # What is no batch of a hundred rows yet is only spooled, for longer than all of this takes. The
    # first 112 lines are a batch, and so are all the others, however they are cut.
    settings = {"INGEST__BATCH_ROWS_MAX": 100, "INGEST__BATCH_AGE_S": 30}
    with gateway_process(tmp_path / "data", settings=settings) as gateway, gateway.peer() as peer:
        stream = declare(peer)
        running = Running(gateway, stream, *options, "--ack", "spooled", stdin=subprocess.PIPE)
        pipe = running.process.stdin
        assert pipe is not None
        pipe.write(b"".join(rows[:112]))
        pipe.flush()
        until(lambda: count(peer, stream) == 100, "the first batch")
        pipe.write(b"".join(rows[112:205]))
        pipe.flush()
        until(lambda: 201 in told(), "the refusals of rows that are only spooled")
        running.process.kill()
        running.ended()
        before = len(told())
        text = b"".join(rows)
        again = headrace("insert", stream, *options, "--url", gateway.url, stdin=text)
        counted = dict(again.fields)
        assert (again.status, 100 < int(counted["skipped"]) <= 112) == (1, True)
        assert told() == list(range(1, len(rows), 10))
        assert int(counted["refused"]) > len(told()) - before, "none was refused anew"
        assert each_once(peer, stream) == (200, 200)
