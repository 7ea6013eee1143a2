"""The URLs of batches: unguessable, for one task, for a while, and for so many bytes."""

import json
from collections.abc import Iterator

import pytest

from gateway.seams import BatchBytes
from gateway.warehouse.druid.staging import (
    BATCHES_PATH,
    OPENINGS_MAX,
    WHOLE_READS_MAX,
    StagedBatches,
    Staging,
    without_token,
)
from tests.contract.druid_fixture import MemoryBatch

SECRET = b"s" * 32
EXPIRY_S = 100.0
NOW = 1_700_000_000.0


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def staged(clock: Clock) -> StagedBatches:
    return StagedBatches(SECRET, clock)


@pytest.fixture
def batch() -> MemoryBatch:
    return MemoryBatch(b"0123456789" * 100, piece_bytes=64)


def staging(staged: StagedBatches, inline_limit_bytes: int = 100) -> Staging:
    return Staging(staged, "http://gateway:8090/", inline_limit_bytes, EXPIRY_S)


async def token_of(staged: StagedBatches, task_id: str, batch: BatchBytes) -> str:
    source = json.loads(await staging(staged).input_source(task_id, batch))
    [url] = source["uris"]
    assert url.startswith("http://gateway:8090/batches/")
    return str(url.rpartition("/")[2])


def found(staged: StagedBatches, token: str) -> BatchBytes:
    content = staged.find(token)
    assert content is not None
    return content


def read(content: BatchBytes, start: int = 0) -> bytes:
    return b"".join(content.read(start))


async def test_a_token_leads_to_its_batch_whole_and_from_the_middle(
    staged: StagedBatches, batch: MemoryBatch
) -> None:
    token = await token_of(staged, "t-a1", batch)
    content = found(staged, token)
    assert content.size_bytes == 1000
    assert read(content) == b"0123456789" * 100
    assert read(found(staged, token), 995) == b"56789"


async def test_each_task_has_a_token_of_its_own(staged: StagedBatches, batch: MemoryBatch) -> None:
    first, second = [await token_of(staged, task, batch) for task in ("t-a1", "t-a2")]
    assert first != second
    staged.withdraw("t-a1")
    assert staged.find(first) is None
    assert staged.find(second) is not None


async def test_the_url_dies_with_its_task(staged: StagedBatches, batch: MemoryBatch) -> None:
    token = await token_of(staged, "t-a1", batch)
    staging(staged).release("t-a1")
    assert staged.find(token) is None


async def test_the_url_dies_at_its_expiry_though_its_task_runs(
    staged: StagedBatches, batch: MemoryBatch, clock: Clock
) -> None:
    token = await token_of(staged, "t-a1", batch)
    clock.now += EXPIRY_S - 1
    assert staged.find(token) is not None
    clock.now += 1
    assert staged.find(token) is None


async def test_expiry_is_not_lengthened_by_a_restart_nor_by_hand(
    staged: StagedBatches, batch: MemoryBatch, clock: Clock
) -> None:
    token = await token_of(staged, "t-a1", batch)
    clock.now += EXPIRY_S / 2
    restarted = StagedBatches(SECRET, clock)
    assert restarted.find(token) is None, "its task is not known to run"
    staging(restarted).resumed("t-a1", batch)
    assert restarted.find(token) is not None
    expires, _, proof = token.partition(".")
    assert restarted.find(f"{int(expires) + 1}.{proof}") is None
    clock.now += EXPIRY_S / 2
    assert restarted.find(token) is None


async def test_another_secret_makes_other_urls(
    staged: StagedBatches, batch: MemoryBatch, clock: Clock
) -> None:
    token = await token_of(staged, "t-a1", batch)
    other = StagedBatches(b"o" * 32, clock)
    staging(other).resumed("t-a1", batch)
    assert other.find(token) is None


async def test_both_urls_of_a_task_that_was_asked_twice_hold(
    staged: StagedBatches, batch: MemoryBatch, clock: Clock
) -> None:
    """No reply to the first submission: Druid may have it, and its URL with it."""
    first = await token_of(staged, "t-a1", batch)
    clock.now += 5
    second = await token_of(staged, "t-a1", batch)
    assert first != second
    assert [staged.find(token) is not None for token in (first, second)] == [True, True]


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "guessed",
        "9999999999.",
        "9999999999." + "A" * 43,
        "9999999999." + "A" * 42 + "é",
        "-1." + "A" * 43,
        "9" * 400 + "." + "A" * 43,
        "٩٩." + "A" * 43,
        "../../etc/passwd",
    ],
)
async def test_what_is_guessed_leads_nowhere(
    staged: StagedBatches, batch: MemoryBatch, token: str
) -> None:
    await token_of(staged, "t-a1", batch)
    assert staged.find(token) is None


async def test_a_batch_is_read_whole_a_few_times_only(
    staged: StagedBatches, batch: MemoryBatch
) -> None:
    token = await token_of(staged, "t-a1", batch)
    for _ in range(WHOLE_READS_MAX):
        assert len(read(found(staged, token))) == 1000
    assert staged.find(token) is None


async def test_connections_that_break_cost_what_they_carried(
    staged: StagedBatches, batch: MemoryBatch
) -> None:
    """Druid goes on from the middle up to ten times; all of it is one reading."""
    token = await token_of(staged, "t-a1", batch)
    for at in range(0, 640, 64):
        pieces: Iterator[bytes] = found(staged, token).read(at)
        assert len(next(pieces)) == 64
    assert len(read(found(staged, token), 640)) == 360
    assert staged.find(token) is not None


async def test_openings_are_counted_too(staged: StagedBatches, batch: MemoryBatch) -> None:
    token = await token_of(staged, "t-a1", batch)
    for _ in range(OPENINGS_MAX):
        found(staged, token)
    assert staged.find(token) is None


async def test_a_small_batch_travels_inline_and_has_no_url(
    staged: StagedBatches, batch: MemoryBatch
) -> None:
    source = json.loads(await staging(staged, 1000).input_source("t-a1", batch))
    assert source == {"type": "inline", "data": "0123456789" * 100}
    assert staged.find(staged.token("t-a1", EXPIRY_S)) is None


async def test_no_token_is_left_in_what_druid_says(
    staged: StagedBatches, batch: MemoryBatch
) -> None:
    token = await token_of(staged, "t-a1", batch)
    said = f"Cannot read http://gateway:8090{BATCHES_PATH}{token}: 404 (line 3)"
    assert token.partition(".")[2] not in without_token(said)
    assert without_token(said) == "Cannot read http://gateway:8090/batches/…: 404 (line 3)"
