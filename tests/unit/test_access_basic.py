"""Users and passwords: the header, the file, the checks and what limits them."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.access import passwords
from gateway.access.authorization import HEADER_MAX, PASSWORD_MAX_BYTES, Basic, Bearer, read
from gateway.access.passwords import Checks, Passwords
from gateway.access.proofs import Refused
from gateway.access.settings import AccessUnusable, AttemptLimits
from gateway.access.users import BadPassword, hash_password, read_users
from protocol.errors import TooManyRequests
from tests.access_world import cheap_hash, until, users_file, written

PEER = "192.0.2.1"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ── the header ──


def test_a_header_is_a_name_and_a_password_or_a_token() -> None:
    assert read("Basic " + encoded(b"alice:a:b c")) == Basic("alice", "a:b c")
    assert read("bASIC   " + encoded("zoë:påss".encode()) + " ") == Basic("zoë", "påss")
    assert read("bearer abc.DEF-~+/==") == Bearer("abc.DEF-~+/==")
    assert read("Bearer a.b.c") == Bearer("a.b.c")
    assert [Bearer(each).is_web_token for each in ("a.b.c", "hrt_abc", "a.b", "a.b.c.d")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic " + encoded(b"alice:\xff\xfe"),
        "Basic " + encoded(b"alice"),
        "Basic " + encoded(b"alice:"),
        "Basic " + encoded(b":secret"),
        "Basic " + encoded(b"alice:secret")[:-1],
        "Basic " + encoded(b"alice:secret") + "\u00e9",
        "Basic " + encoded(b"alice:secret") + ", Bearer x",
        "Basic " + encoded(b"alice:sec\x00ret"),
        "Basic " + encoded(b"al\nice:secret"),
        "Basic " + encoded(b"alice:" + b"x" * (PASSWORD_MAX_BYTES + 1)),
        "Bearer",
        "Bearer a b",
        "Bearer a,b",
        "Bearer \u00e9",
        "Digest abc",
        "alice:secret",
        "Bearer " + "x" * HEADER_MAX,
        "Basic " + encoded(b"alice:" + b"x" * HEADER_MAX),
    ],
    ids=range(22),
)
def test_a_header_of_another_form_is_refused(header: str) -> None:
    with pytest.raises(Refused):
        read(header)


def test_a_password_of_the_greatest_length_is_taken() -> None:
    password = "é" * (PASSWORD_MAX_BYTES // 2)
    assert read("Basic " + encoded(f"alice:{password}".encode())) == Basic("alice", password)


# ── the file ──


def test_users_are_lines_among_comments_and_blank_ones(tmp_path: Path) -> None:
    alice = cheap_hash("secret")
    file = written(tmp_path / "users", "\ufeff# users", "", "  # more", f"alice:{alice}  ", "\t")
    assert read_users(file).hashes == {"alice": alice}


GOOD = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTA"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alice", "a line is name:argon2id-hash"),
        ("alice:", "a line is"),
        (f":{GOOD}", "the name is empty"),
        (f"al\tice:{GOOD}", "cannot be printed"),
        (f"alice :{GOOD}", "blanks around it"),
        (f"{'a' * 300}:{GOOD}", "too long"),
        (f"anonymous:{GOOD}", "whoever shows nothing"),
        (f"bob:{GOOD}", "`bob` stands above"),
        ("alice:hunter2", "not an argon2id hash"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "not an argon2id hash"),
        ("alice:$2b$12$abcdefghijklmnopqrstuv", "not an argon2id hash"),
        ("alice:" + GOOD.replace("argon2id", "argon2i"), "not an argon2id hash"),
        ("alice:" + GOOD.replace("v=19", "v=16"), "not an argon2id hash"),
        (f"alice:{GOOD[:-20]}", "no argon2id hash has these"),
        (f"alice:{GOOD}=", "not an argon2id hash"),
        (f"alice:{GOOD}AA", "broken argon2id hash"),
        (f"alice:{GOOD[:-1]}B", "broken argon2id hash"),
        ("alice:" + GOOD.replace("t=1", "t=0"), "no argon2id hash has these"),
        ("alice:" + GOOD.replace("p=1", "p=9"), "no argon2id hash has these"),
        ("alice:" + GOOD.replace("m=8", "m=9999999"), "costs too much"),
        ("alice:" + GOOD.replace("t=1", "t=99"), "costs too much"),
    ],
)
def test_a_broken_line_is_refused_with_file_and_line_and_without_its_value(
    tmp_path: Path, line: str, words: str
) -> None:
    file = written(tmp_path / "users", "# users", f"bob:{GOOD}", line)
    with pytest.raises(AccessUnusable) as refused:
        read_users(file)
    assert str(refused.value).startswith(f"{file}:3: ")
    assert words in str(refused.value)
    value = line.partition(":")[2]
    assert not value or value not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AccessUnusable, match="missing: there is no such file"):
        read_users(tmp_path / "missing")
    with pytest.raises(AccessUnusable, match="there is no such file"):
        read_users(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"# \n\xff\n")
    with pytest.raises(AccessUnusable, match="binary:2: not UTF-8"):
        read_users(binary)


def test_what_hash_password_makes_is_read_and_fits(tmp_path: Path) -> None:
    users = read_users(written(tmp_path / "users", f"alice:{hash_password('pä ss:word')}"))
    assert passwords.fits(users.hashes["alice"], "pä ss:word")
    assert not passwords.fits(users.hashes["alice"], "pä ss:worD")


@pytest.mark.parametrize("password", ["", "a\x00b", "a\nb", "x" * (PASSWORD_MAX_BYTES + 1)])
def test_a_password_that_no_header_can_carry_is_not_hashed(password: str) -> None:
    with pytest.raises(BadPassword):
        hash_password(password)


# ── the checks ──


class Watched:
    """Passwords are checked for real, one at a time as `let_go` allows; ``seen`` has the hashes."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def fits(self, encoded: str, password: str) -> bool:
        self.seen.append(encoded)
        assert self.gate.wait(30)
        return _FITS(encoded, password)


_FITS = passwords.fits


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched()
    monkeypatch.setattr(passwords, "fits", made.fits)
    yield made
    made.gate.set()


@asynccontextmanager
async def checking(
    folder: Path, limits: AttemptLimits | None = None
) -> AsyncIterator[tuple[Passwords, Checks]]:
    limits = limits or AttemptLimits()
    checks = Checks(limits)
    try:
        users = read_users(users_file(folder, alice="secret", bob="hidden"))
        yield Passwords(users, checks, limits), checks
    finally:
        await checks.close()


async def test_a_right_password_is_checked_once_and_then_remembered(
    tmp_path: Path, watched: Watched
) -> None:
    async with checking(tmp_path) as (checked, _):
        for _ in range(5):
            assert await checked.is_right(Basic("alice", "secret"), PEER)
        assert watched.seen == [checked.users.hashes["alice"]]


async def test_a_wrong_one_is_checked_each_time_and_never_remembered(
    tmp_path: Path, watched: Watched
) -> None:
    async with checking(tmp_path) as (checked, _):
        for wrong in ("hidden", "Secret", "secret ", "secret"[:-1]):
            assert not await checked.is_right(Basic("alice", wrong), PEER)
        assert not await checked.is_right(Basic("alice", "hidden"), PEER)
        assert len(watched.seen) == 5
        assert await checked.is_right(Basic("alice", "secret"), PEER)


async def test_an_unknown_name_is_checked_against_a_hash_of_the_same_cost(
    tmp_path: Path, watched: Watched
) -> None:
    async with checking(tmp_path) as (checked, _):
        for password in ("secret", "x"):
            assert not await checked.is_right(Basic("mallory", password), PEER)
        first, second = watched.seen
        assert first == second
        assert first not in checked.users.hashes.values()
        costs = {each.split("$")[3] for each in checked.users.hashes.values()}
        assert {first.split("$")[3]} == costs
        assert len(first) == len(checked.users.hashes["alice"])


def test_without_users_the_stand_in_costs_what_a_new_hash_would(tmp_path: Path) -> None:
    encoded, exists = read_users(written(tmp_path / "users", "# none")).hash_of("alice")
    assert not exists
    assert encoded.split("$")[3] == hash_password("x").split("$")[3]
    assert not passwords.fits(encoded, "x")


async def test_the_same_credential_shown_many_times_at_once_is_checked_once(
    tmp_path: Path, watched: Watched
) -> None:
    async with checking(tmp_path) as (checked, _):
        watched.gate.clear()
        asked = [
            asyncio.create_task(checked.is_right(Basic("alice", "secret"), f"198.51.100.{number}"))
            for number in range(200)
        ]
        await until(lambda: bool(watched.seen), "a check begins")
        asked[0].cancel()
        watched.gate.set()
        assert all(await asyncio.gather(*asked[1:]))
        assert len(watched.seen) == 1


async def test_a_check_that_nobody_waits_for_any_more_is_remembered_all_the_same(
    tmp_path: Path, watched: Watched
) -> None:
    async with checking(tmp_path) as (checked, _):
        watched.gate.clear()
        asked = asyncio.create_task(checked.is_right(Basic("alice", "secret"), PEER))
        await until(lambda: bool(watched.seen), "a check begins")
        asked.cancel()
        watched.gate.set()
        await until(lambda: bool(checked._verified), "it is remembered")
        assert await checked.is_right(Basic("alice", "secret"), PEER)
        assert len(watched.seen) == 1


async def test_checks_past_the_queue_are_refused_at_once_and_leave_nothing_behind(
    tmp_path: Path, watched: Watched
) -> None:
    limits = AttemptLimits(threads=1, waiting_max=2, failures_max=3)
    async with checking(tmp_path, limits) as (checked, _):
        watched.gate.clear()
        peers = [f"198.51.100.{number}" for number in range(4)]
        asked = [
            asyncio.create_task(checked.is_right(Basic("alice", f"guess {peer}"), peer))
            for peer in peers[:3]
        ]
        await until(lambda: len(checked._under_way) == 3, "the queue is full")
        for _ in range(10):
            with pytest.raises(TooManyRequests, match="being checked") as refused:
                await checked.is_right(Basic("alice", "secret"), peers[3])
            assert refused.value.retry_after_s > 0
        watched.gate.set()
        assert await asyncio.gather(*asked) == [False] * 3
        # What was not checked was not wrong either: that peer has all its attempts left.
        assert await checked.is_right(Basic("alice", "secret"), peers[3])


async def test_who_was_wrong_too_often_waits_and_nobody_else_does(
    tmp_path: Path, watched: Watched
) -> None:
    limits = AttemptLimits(failures_max=3, failure_s=1000.0)
    async with checking(tmp_path, limits) as (checked, _):
        assert await checked.is_right(Basic("bob", "hidden"), PEER)
        for number in range(3):
            assert not await checked.is_right(Basic("alice", f"guess {number}"), PEER)
        for _ in range(3):
            with pytest.raises(TooManyRequests, match="wrong passwords") as refused:
                await checked.is_right(Basic("alice", "secret"), f"{PEER}:4711")
            assert 900 < refused.value.retry_after_s <= 1000
        assert len(watched.seen) == 4
        assert await checked.is_right(Basic("bob", "hidden"), PEER)
        assert await checked.is_right(Basic("alice", "secret"), "192.0.2.2")


async def test_guesses_that_run_at_the_same_time_count_as_well(
    tmp_path: Path, watched: Watched
) -> None:
    limits = AttemptLimits(failures_max=3, failure_s=1000.0)
    async with checking(tmp_path, limits) as (checked, _):
        watched.gate.clear()
        guesses = [checked.is_right(Basic("alice", f"guess {n}"), "2001:db8::1") for n in range(20)]
        asked = [asyncio.create_task(each) for each in guesses]
        await until(lambda: sum(each.done() for each in asked) == 17, "the others are refused")
        watched.gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert found.count(False) == 3
        with pytest.raises(TooManyRequests):
            await checked.is_right(Basic("alice", "secret"), "2001:db8::ffff")


async def test_what_is_remembered_is_bounded_and_ends(tmp_path: Path, watched: Watched) -> None:
    limits = AttemptLimits(verified_max=1)
    async with checking(tmp_path, limits) as (checked, _):
        for shown in (Basic("alice", "secret"), Basic("bob", "hidden"), Basic("alice", "secret")):
            assert await checked.is_right(shown, PEER)
            assert len(checked._verified) == 1
        assert len(watched.seen) == 3
    async with checking(tmp_path, AttemptLimits(verified_s=0.0)) as (checked, _):
        for _ in range(2):
            assert await checked.is_right(Basic("alice", "secret"), PEER)
        assert len(watched.seen) == 5


async def test_what_is_remembered_is_no_password(tmp_path: Path) -> None:
    async with checking(tmp_path) as (checked, _):
        assert await checked.is_right(Basic("alice", "secret"), PEER)
        (kept,) = checked._verified
        assert len(kept) == 32
        assert b"secret" not in kept


async def test_a_fault_of_the_check_is_a_refusal_told_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = GOOD.replace("m=8", "m=4")
    assert not await asyncio.to_thread(passwords.fits, broken, "secret")
    printed = capsys.readouterr()
    assert "could not be checked" in printed.out + printed.err
    assert "secret" not in printed.out + printed.err
