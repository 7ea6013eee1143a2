"""Static bearer tokens."""

import hashlib
import re
from pathlib import Path

import pytest

from gateway.access.settings import AccessUnusable
from gateway.access.tokens import PREFIX, digest, new_token, read_tokens
from tests.access_world import tokens_file, written


def test_a_new_token_is_new_and_can_be_known_for_what_it_is() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(PREFIX + r"[A-Za-z0-9_-]{43}", token) for token in made)


def test_a_file_holds_digests_and_never_a_token(tmp_path: Path) -> None:
    file = tokens_file(tmp_path, ci="hrt_one", edge="hrt_two")
    assert read_tokens(file) == {digest("hrt_one"): "ci", digest("hrt_two"): "edge"}
    assert digest("hrt_one") == hashlib.sha256(b"hrt_one").hexdigest()
    assert read_tokens(None) == {}


def test_a_name_may_have_two_tokens_so_that_one_can_replace_the_other(tmp_path: Path) -> None:
    file = written(tmp_path / "tokens", f"ci:{digest('old')}", f"ci:{digest('new').upper()}")
    assert read_tokens(file) == {digest("old"): "ci", digest("new"): "ci"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ci", "a line is name:sha256-of-token"),
        ("ci:hrt_this-is-the-token-itself", "not the SHA-256 of a token"),
        (f"ci:{'0' * 63}", "not the SHA-256 of a token"),
        (f"ci:{'0' * 63}g", "not the SHA-256 of a token"),
        (f"other:{digest('first')}", "the same token stands above"),
        (f"anonymous:{digest('second')}", "whoever shows nothing"),
    ],
)
def test_a_broken_line_is_refused_with_file_and_line_and_without_its_value(
    tmp_path: Path, line: str, words: str
) -> None:
    file = written(tmp_path / "tokens", f"ci:{digest('first')}", "", line)
    with pytest.raises(AccessUnusable) as refused:
        read_tokens(file)
    assert str(refused.value).startswith(f"{file}:3: ")
    assert words in str(refused.value)
    assert line.partition(":")[2] not in str(refused.value) or ":" not in line
