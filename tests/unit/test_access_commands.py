"""`headrace access` as a process: the lines that it prints are those that the gateway takes."""

import json
from pathlib import Path

import pytest

from gateway.access.settings import AccessSettings
from gateway.access.users import read_users
from tests.access_world import EVERYTHING, basic, bearer, known_as, opened, written
from tests.commands import Ended, headrace

TOML = """
[access]
users_file = "users"
[[access.rules]]
principal = "edge-*"
rights = ["insert", "query"]
names = ["EVENTS", "LOG_*"]
[[access.rules]]
principal = "alice"
rights = ["admin"]
"""


def access(*arguments: object, stdin: bytes = b"") -> Ended:
    return headrace("access", *arguments, stdin=stdin)


async def test_what_it_prints_goes_into_the_files_and_lets_in(tmp_path: Path) -> None:
    hashed = access("hash-password", "alice", stdin="pä ss:word\n".encode())
    made = access("new-token", "ci")
    assert (hashed.status, made.status, hashed.stderr, made.stderr) == (0, 0, "", "")
    (_, token), (_, line) = made.fields
    settings = AccessSettings(
        users_file=written(tmp_path / "users", hashed.stdout.rstrip("\n")),
        tokens_file=written(tmp_path / "tokens", line),
        rules=(EVERYTHING,),
    )
    async with opened(settings) as room:
        assert await known_as(room, basic("alice", "pä ss:word")) == ("alice", "basic")
        assert await known_as(room, bearer(token)) == ("ci", "bearer")
    assert token not in line
    assert "word" not in hashed.stdout


def test_a_hash_is_of_the_recommended_cost(tmp_path: Path) -> None:
    hashed = access("hash-password", "alice", stdin=b"secret\n").stdout
    users = read_users(written(tmp_path / "users", hashed))
    assert "$m=65536,t=3,p=4$" in users.hashes["alice"]


def test_a_token_as_json(tmp_path: Path) -> None:
    made = json.loads(access("new-token", "ci", "--json").stdout)
    assert made["token"].startswith("hrt_")
    assert made["line"].startswith("ci:")


@pytest.mark.parametrize("name", ["", "a:b", "anonymous", " a", "a\nb"])
def test_a_name_that_no_file_can_hold_is_wrong_usage(name: str) -> None:
    for command in ("hash-password", "new-token"):
        done = access(command, name, stdin=b"secret\n")
        assert (done.status, done.stdout) == (2, "")
        assert "cannot be a name" in done.stderr


def test_an_empty_password_is_wrong_usage() -> None:
    done = access("hash-password", "alice", stdin=b"\n")
    assert (done.status, done.stdout) == (2, "")
    assert "the password is empty" in done.stderr


def test_check_says_what_a_principal_may(tmp_path: Path) -> None:
    config = tmp_path / "headrace.toml"
    config.write_text(TOML)
    done = access("check", "edge-7", "--config", config)
    assert (done.status, done.fields) == (
        0,
        [["insert", "EVENTS LOG_*", "access.rules 1"], ["query", "EVENTS LOG_*", "access.rules 1"]],
    )
    assert access("check", "alice", "--config", config).fields == [["admin", "", "access.rules 2"]]
    one = access("check", "edge-7", "--right", "query", "--name", "LOG_1", "--config", config)
    assert (one.status, len(one.fields)) == (0, 1)
    none = access("check", "edge-7", "--right", "query", "--name", "OTHER", "--config", config)
    assert (none.status, none.stdout) == (1, "")
    assert "no rule in access.rules grants edge-7 query on OTHER" in none.stderr


def test_check_says_where_nobody_is_asked(tmp_path: Path) -> None:
    config = written(tmp_path / "headrace.toml")
    done = access("check", "alice", "--right", "define", "--config", config)
    assert (done.status, done.fields) == (0, [["define", "*", "nobody is asked who it is"]])
    config.write_text("[access]\nuser_file = 'x'\n")
    assert access("check", "alice", "--config", config).status == 78
