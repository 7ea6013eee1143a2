"""The audit log: what is in a line, and what becomes of lines on a disk that is slow or full."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.access.audit import TEXT_MAX, AuditLog, Decision
from gateway.access.audit_file import AuditFile
from gateway.access.settings import AccessSettings, AccessUnusable, AttemptLimits, Rule
from gateway.seams import Credentials, Right
from protocol.errors import Forbidden, TooManyRequests, Unauthorized
from tests.access_world import NOT_ANONYMOUS, basic, opened, until, users_file

FIELDS = ["time", "principal", "how", "peer", "action", "right", "name", "outcome", "reason"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def named(path: Path) -> list[str]:
    return [line["name"] for line in lines(path)]


def decision(name: object) -> Decision:
    return Decision(action="insert", outcome="done", name=str(name))


@contextmanager
def opened_log(path: Path | None, lines_max: int = 10_000) -> Iterator[AuditLog]:
    log = AuditLog(path, lines_max)
    log.open()
    try:
        yield log
    finally:
        log.close()


# ── what is in it ──


async def test_each_decision_that_matters_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    settings = AccessSettings(
        users_file=users_file(tmp_path, alice="secret"),
        rules=(Rule(principal="alice", rights=(Right.INSERT,), names=("EVENTS",)),),
        audit_file=file,
    )
    async with opened(settings) as room:
        permit = await room.permit(basic("alice", "secret"))
        permit.require(Right.INSERT, "EVENTS")
        permit.record("insert", "EVENTS")
        assert not permit.may(Right.QUERY, "EVENTS")
        with pytest.raises(Forbidden):
            permit.require(Right.QUERY, "EVENTS")
        for bad in (basic("alice", "wrong"), basic("hunter2", "x"), Credentials(peer="::1")):
            with pytest.raises(Unauthorized):
                await room.permit(bad)
    found = lines(file)
    assert all(list(line) == FIELDS for line in found)
    told = [tuple(line[field] for field in FIELDS[1:]) for line in found]
    peer, wrong = "192.0.2.1", "unknown user or wrong password"
    assert told == [
        ("alice", "basic", peer, "insert", "", "EVENTS", "done", ""),
        ("alice", "basic", peer, "require", "query", "EVENTS", "forbidden", "no rule grants it"),
        ("alice", "basic", peer, "authenticate", "", "", "refused", wrong),
        ("", "basic", peer, "authenticate", "", "", "refused", wrong),
        ("", "nothing", "::1", "authenticate", "", "", "refused", "nothing was shown"),
    ]


async def test_who_guesses_too_often_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    users = users_file(tmp_path, alice="secret")
    settings = AccessSettings(
        users_file=users,
        rules=(NOT_ANONYMOUS,),
        audit_file=file,
        attempts=AttemptLimits(failure_s=1000.0),
    )
    async with opened(settings) as room:
        for _ in range(settings.attempts.failures_max):
            with pytest.raises(Unauthorized):
                await room.permit(basic("alice", "wrong"))
        with pytest.raises(TooManyRequests):
            await room.permit(basic("alice", "secret"))
    assert [line["outcome"] for line in lines(file)] == ["refused"] * 10 + ["throttled"]
    assert lines(file)[-1]["peer"] == "192.0.2.1"


async def test_a_reload_may_move_it_elsewhere_and_loses_no_line(tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    users = users_file(tmp_path, alice="secret")
    made = [AccessSettings(users_file=users, rules=(NOT_ANONYMOUS,), audit_file=f) for f in files]
    async with opened(made[0]) as room:
        permit = await room.permit(basic("alice", "secret"))
        permit.record("insert", "A")
        assert await room.reload(made[1])
        permit.record("insert", "B")
        unusable = AccessSettings(users_file=users, audit_file=tmp_path / "missing" / "audit")
        assert not await room.reload(unusable)
        permit.record("insert", "C")
    assert [named(file) for file in files] == [["A"], ["B", "C"]]


@pytest.mark.parametrize("name", ["a\nb", '"}\n{"x":1', "\x1b[2J\x00", "\ud800", "é\u2028"])
def test_a_hostile_name_is_one_field_of_one_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / "audit"
    with opened_log(file) as log:
        log.record(decision(name))
    assert named(file) == [name.replace("\ud800", "?")]
    assert file.read_bytes().count(b"\n") == 1


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    with opened_log(file) as log:
        log.record(decision("x" * 10**6))
    assert named(file) == ["x" * (TEXT_MAX - 1) + "…"]


def test_without_a_file_it_goes_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with opened_log(None) as log:
        log.record(decision("EVENTS"))
        log.to_log = False
        log.record(decision("OTHERS"))
    printed = capsys.readouterr().out
    assert "name=EVENTS" in printed
    assert "OTHERS" not in printed


# ── its file ──


def test_it_is_for_its_owner_and_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    for name in ("first", "second"):
        with opened_log(file) as log:
            log.record(decision(name))
    assert named(file) == ["first", "second"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_a_folder_and_a_pipe_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "missing/audit"):
        with pytest.raises(AccessUnusable, match=f"{name}: the audit log cannot be written"):
            AuditLog(tmp_path / name).open()
    # A pipe that somebody reads can be opened.
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(AccessUnusable, match="is not a file"):
        AuditLog(tmp_path / "pipe").open()
    os.close(reader)


async def test_a_file_that_was_moved_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    with opened_log(file) as log:
        log.record(decision("first"))
        await until(lambda: "first" in file.read_text(), "the first line")
        file.rename(tmp_path / "audit.1")
        log.record(decision("second"))
        await until(lambda: "second" in (tmp_path / "audit.1").read_text(), "the second line")
        log.reopen()
        await until(file.exists, "a new file")
        log.record(decision("third"))
    assert named(tmp_path / "audit.1") == ["first", "second"]
    assert named(file) == ["third"]


async def test_where_there_can_be_no_new_file_it_goes_on_in_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    with opened_log(file) as log:
        file.rename(tmp_path / "audit.1")
        file.symlink_to(tmp_path / "audit.2")
        log.reopen()
        log.record(decision("first"))
    assert named(tmp_path / "audit.1") == ["first"]
    assert not (tmp_path / "audit.2").exists()


# ── a disk that is slow or full ──


class Disk:
    """What is written waits for `gate`, and fails while ``full``; some of it may be written."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.full = False
        self.writes = 0
        self._write = os.write

    def write(self, file: int, data: bytes) -> int:
        self.writes += 1
        assert self.gate.wait(30)
        if not self.full:
            return self._write(file, data)
        if self.writes % 2:
            return self._write(file, bytes(data)[:7])
        raise OSError(28, "No space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk()
    monkeypatch.setattr("gateway.access.audit_file.os.write", made.write)
    yield made
    made.gate.set()


async def test_lines_that_find_no_room_are_counted_and_told_in_the_file_and_the_log(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    with opened_log(file, lines_max=5) as log:
        disk.gate.clear()
        log.record(decision("first"))
        await until(lambda: disk.writes == 1, "the thread writes")
        for number in range(25):
            log.record(decision(number))
        assert log.lost == 20
        disk.gate.set()
        await until(lambda: "4" in named(file), "what waited is written")
        log.record(decision("last"))
    assert named(file) == ["first", "", "0", "1", "2", "3", "4", "last"]
    gap = lines(file)[1]
    assert (gap["action"], gap["outcome"]) == ("audit", "lost")
    assert gap["reason"] == "20 lines are missing here"
    assert capsys.readouterr().out.count("lines of the audit log are lost") == 1


async def test_refusals_leave_room_for_what_others_do(tmp_path: Path, disk: Disk) -> None:
    file = tmp_path / "audit"
    with opened_log(file, lines_max=10) as log:
        disk.gate.clear()
        log.record(decision("first"))
        await until(lambda: disk.writes == 1, "the thread writes")
        for _ in range(100):
            log.record(Decision(action="authenticate", outcome="refused"))
        for number in range(5):
            log.record(decision(number))
        assert log.lost == 95
        disk.gate.set()
    assert [name for name in named(file) if name] == ["first", "0", "1", "2", "3", "4"]


async def test_a_full_disk_loses_lines_says_so_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    with opened_log(file) as log:
        disk.full = True
        for number in range(3):
            log.record(decision(number))
            await until(lambda number=number: log.lost == number + 1, "it is lost")  # type: ignore[misc]
        disk.full = False
        log.record(decision("last"))
    told = [line for line in file.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["reason"] for line in told] == ["3 lines are missing here", ""]
    assert json.loads(told[-1])["name"] == "last"
    printed = capsys.readouterr().out
    assert printed.count("lines of the audit log are lost") == 1
    assert "No space left on device" in printed


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path, disk: Disk) -> None:
    file = AuditFile(tmp_path / "audit")
    disk.full = True
    with pytest.raises(OSError, match="No space"):
        file.write(b'{"a":1}...\n')
    disk.full = False
    file.write(b'{"b":2}\n')
    file.close()
    assert (tmp_path / "audit").read_bytes() == b'{"a":1}\n{"b":2}\n'


def test_a_disk_that_never_answers_holds_up_neither_the_loop_nor_the_end(
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gateway.access.audit.CLOSE_S", 0.05)
    with opened_log(tmp_path / "audit", lines_max=10) as log:
        disk.gate.clear()
        for number in range(1000):
            log.record(decision(number))
        assert log.lost >= 1000 - 2 * 10
    assert "the end of the audit log is lost" in capsys.readouterr().out
