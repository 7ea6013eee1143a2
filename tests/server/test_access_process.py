"""A gateway that asks who one is: its start, its SIGHUP, its audit log; over real sockets."""

import base64
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.access_world import cheap_hash, users_file, written
from tests.gateways import GatewayProcess, NotReady, gateway_process

DEADLINE_S = 30.0


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def configured(folder: Path) -> Path:
    return written(
        folder / "headrace.toml",
        "[access]",
        f'users_file = "{folder}/users"',
        f'audit_file = "{folder}/audit"',
        "[[access.rules]]",
        'principal = "al*"',
        'rights = ["query"]',
    )


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    users_file(tmp_path, alice="s3cret-1")
    with gateway_process(
        tmp_path / "data", arguments=("--config", str(configured(tmp_path)))
    ) as opened:
        yield opened


def answer(gateway: GatewayProcess, name: str = "", password: str = "") -> tuple[int, str, bytes]:
    """Status, challenges and body of ``GET /info``."""
    connection = http.client.HTTPConnection(*gateway.address, timeout=DEADLINE_S)
    shown = base64.b64encode(f"{name}:{password}".encode()).decode()
    try:
        headers = {"Authorization": f"Basic {shown}"} if name else {}
        connection.request("GET", "/info", headers=headers)
        response = connection.getresponse()
        return response.status, response.getheader("WWW-Authenticate", ""), response.read()
    finally:
        connection.close()


def hang_up(gateway: GatewayProcess) -> None:
    os.kill(gateway.pid, signal.SIGHUP)


def test_who_shows_nothing_good_is_refused_with_a_challenge(gateway: GatewayProcess) -> None:
    assert answer(gateway, "alice", "s3cret-1")[0] == 200
    for shown in ((), ("alice", "s3cret-2"), ("mallory", "s3cret-1")):
        status, challenge, body = answer(gateway, *shown)
        assert (status, challenge) == (401, 'Basic realm="headrace"')
        assert json.loads(body) == {
            "@type": "generic_error",
            "error_code": 40100,
            "message": "Unauthorized: show credentials that this gateway knows.",
        }
    assert "s3cret" not in gateway.said


def test_sighup_takes_up_other_users_and_keeps_the_old_where_the_new_are_bad(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    assert answer(gateway, "alice", "s3cret-1")[0] == 200
    users_file(tmp_path, alf="s3cret-2")
    hang_up(gateway)
    until(lambda: "access was read anew" in gateway.said, "the log says so")
    assert answer(gateway, "alf", "s3cret-2")[0] == 200
    assert answer(gateway, "alice", "s3cret-1")[0] == 401
    written(tmp_path / "users", f"alf:{cheap_hash('s3cret-2')}", "alice:s3cret-1")
    hang_up(gateway)
    until(lambda: "access stays as it was" in gateway.said, "the log says so")
    assert f"{tmp_path}/users:2: not an argon2id hash" in gateway.said
    assert answer(gateway, "alf", "s3cret-2")[0] == 200
    assert "s3cret" not in gateway.said


def test_sighup_goes_on_in_a_new_audit_log(gateway: GatewayProcess, tmp_path: Path) -> None:
    audit, rotated = tmp_path / "audit", tmp_path / "audit.1"
    assert answer(gateway, "alice", "wrong")[0] == 401
    until(lambda: '"refused"' in audit.read_text(), "the refusal is in it")
    audit.rename(rotated)
    hang_up(gateway)
    until(audit.exists, "there is a new one")
    assert answer(gateway)[0] == 401
    assert gateway.stop() == 0
    assert [json.loads(line)["how"] for line in rotated.read_text().splitlines()] == ["basic"]
    assert [json.loads(line)["how"] for line in audit.read_text().splitlines()] == ["nothing"]
    assert json.loads(audit.read_text())["peer"] == "127.0.0.1"


def test_a_users_file_that_cannot_be_used_stops_the_start_by_file_and_line(tmp_path: Path) -> None:
    config = configured(tmp_path)
    written(tmp_path / "users", "# users", "alice:s3cret-1")
    process = GatewayProcess(tmp_path / "data", arguments=("--config", str(config)))
    with pytest.raises(NotReady) as refused:
        process.start()
    assert f"cannot start: {tmp_path}/users:2: not an argon2id hash" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert not process.runs
