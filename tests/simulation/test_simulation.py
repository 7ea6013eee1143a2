"""The ingest room in thousands of worlds, each with faults of its own, on virtual time."""

import asyncio
import os

import pytest

from tests.simulation.loop import Deadlock, Dice, VirtualLoop, run_virtually
from tests.simulation.world import Verdict, simulate

SEEDS = int(os.environ.get("HEADRACE_SIMULATION_SEEDS", "2000"))
SHARES = 8


def told(verdict: Verdict) -> str:
    wrong = "\n  ".join(verdict.violations)
    return f"replay: python -m tests.simulation --seed {verdict.seed}\n  {wrong}"


@pytest.mark.parametrize("share", range(SHARES))
def test_every_row_is_committed_exactly_once_whatever_fails(share: int) -> None:
    verdicts = [simulate(seed) for seed in range(share, SEEDS, SHARES)]
    failed = [told(verdict) for verdict in verdicts if verdict.violations]
    assert not failed, f"{len(failed)} of {len(verdicts)} seeds failed\n" + "\n".join(failed[:5])
    assert sum(verdict.published for verdict in verdicts) > 10 * len(verdicts)
    assert sum(verdict.crashes for verdict in verdicts) > len(verdicts) / 2


def test_a_seed_gives_the_same_trace_each_time() -> None:
    for seed in range(30):
        assert simulate(seed).digest == simulate(seed).digest
    assert len({simulate(seed).digest for seed in range(30)}) == 30


def test_a_seed_that_is_shown_gives_the_same_trace_as_one_that_is_not() -> None:
    shown: list[str] = []
    assert simulate(7, shown.append).digest == simulate(7).digest
    assert any("log:" in line for line in shown)


def test_waiting_takes_no_time_and_keeps_its_order() -> None:
    loop = VirtualLoop(Dice(0))
    woken: list[tuple[str, float]] = []

    async def wait(name: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        woken.append((name, loop.time()))

    async def main() -> None:
        await asyncio.gather(wait("year", 365 * 86400.0), wait("day", 86400.0), wait("none", 0.0))

    run_virtually(loop, main())
    assert [name for name, _ in woken] == ["none", "day", "year"]
    assert [at for _, at in woken] == pytest.approx([0.0, 86400.0, 365 * 86400.0])


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    loop = VirtualLoop(Dice(0))

    async def main() -> None:
        await loop.create_future()

    with pytest.raises(Deadlock):
        run_virtually(loop, main())


def test_what_a_thread_raises_comes_back_to_who_asked() -> None:
    loop = VirtualLoop(Dice(0))

    async def main() -> None:
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 7, 0)

    run_virtually(loop, main())
